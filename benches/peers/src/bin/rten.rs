//! rten on an ONNX file.

use std::sync::Arc;

use peers::{Arguments, Result, measure, picture};
use rten::{ModelOptions, RunOptions, ThreadPool};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    measure(&arguments, || {
        let pool = Arc::new(ThreadPool::with_num_threads(arguments.threads));
        let model = ModelOptions::with_all_ops()
            .prepack_weights(true)
            .load_file(&arguments.model)?;
        let input = NdTensor::from_data([1, 3, 224, 224], picture());
        Ok(move || {
            let options = RunOptions::default().with_thread_pool(Some(pool.clone()));
            let output: NdTensor<f32, 2> = model
                .run_one(input.view().into(), Some(options))?
                .try_into()?;
            Ok(output.to_vec())
        })
    })
}
