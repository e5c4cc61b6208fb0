//! Stock tract on an ONNX file.

use peers::{Arguments, Result, measure, picture};
use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;

fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    measure(&arguments, || {
        if arguments.threads > 1 {
            set_default_executor(Executor::multithread(arguments.threads));
        }
        let model = tract_onnx::onnx()
            .model_for_path(&arguments.model)?
            .into_optimized()?
            .into_runnable()?;
        let input = Tensor::from_shape(&[1, 3, 224, 224], &picture())?;
        Ok(move || {
            let outputs = model.run(tvec!(input.clone().into()))?;
            Ok(outputs[0]
                .to_plain_array_view::<f32>()?
                .iter()
                .copied()
                .collect())
        })
    })
}
