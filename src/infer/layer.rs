//! What our operators have in common: each writes one tensor, which may be one that was used before. tract's own
//! operators return a new tensor each time; a stream would then map and zero megabytes for every frame.

use std::sync::Arc;

use tract_nnef::internal::*;

use super::qadd::QAdd;
use super::qcast::{Dequantize, Quantize};
use super::qconv::QConv;
use super::qdense::QDense;
use super::qgroup::QGroupConv;
use super::qpool::{QAverage, QGlobalAverage, QMaxPool};
use crate::kernels::Pool;

/// One of our operators.
pub trait Layer {
    /// What [`Self::run`] writes for these inputs.
    ///
    /// # Errors
    /// If the inputs are none of this operator's.
    fn output(&self, inputs: &[TValue]) -> TractResult<(DatumType, TVec<usize>)>;

    /// Computes the layer into a tensor as [`Self::output`] describes it, whatever it held before.
    ///
    /// # Errors
    /// If an input has another type than the plan was made for.
    fn run(&self, pool: &Pool, inputs: &[TValue], out: &mut Tensor) -> TractResult<()>;
}

/// The node's operator, if it is one of ours.
pub fn of(node: &TypedNode) -> Option<&dyn Layer> {
    macro_rules! first_of {
        ($($operator:ty),*) => {
            None$(.or_else(|| node.op_as::<$operator>().map(|op| op as &dyn Layer)))*
        };
    }
    first_of!(
        QConv,
        QMaxPool,
        QGlobalAverage,
        QDense,
        QGroupConv,
        QAdd,
        QAverage,
        Quantize,
        Dequantize
    )
}

/// What tract wants of every operator and is the same for all of ours.
macro_rules! operator {
    ($operator:ty, $name:literal) => {
        impl Op for $operator {
            fn name(&self) -> StaticName {
                $name.into()
            }

            op_as_typed_op!();
        }

        impl EvalOp for $operator {
            op_out_of_plan!();

            fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
                layer::evaluate(self, &inputs)
            }
        }
    };
}
pub(super) use operator;

/// A layer for whoever evaluates a graph without [`Buffers`]: on one thread, into a new tensor.
///
/// # Errors
/// As [`Layer::run`].
pub fn evaluate(layer: &dyn Layer, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
    let value = Buffers::default().run(&Pool::serial(), layer, inputs)?;
    Ok(tvec!(value))
}

/// The tensors that layers write in turn. One is used again, under any shape of the same size, when nobody else
/// holds it; the sizes in a ResNet repeat so often that a dozen serve all its layers.
#[derive(Debug, Default)]
pub struct Buffers(Vec<Arc<Tensor>>);

impl Buffers {
    /// Runs a layer into a free tensor. Dropping the value frees the tensor.
    ///
    /// # Errors
    /// As [`Layer::run`], and if there is no memory for a tensor that is needed for the first time.
    pub fn run(
        &mut self,
        pool: &Pool,
        layer: &dyn Layer,
        inputs: &[TValue],
    ) -> TractResult<TValue> {
        let (datum_type, shape) = layer.output(inputs)?;
        let buffer = self.free(datum_type, &shape)?;
        let tensor = Arc::get_mut(buffer).context("a free tensor is in use")?;
        tensor.set_shape(&shape)?;
        layer.run(pool, inputs, tensor)?;
        Ok(buffer.clone().into_tvalue())
    }

    fn free(&mut self, datum_type: DatumType, shape: &[usize]) -> TractResult<&mut Arc<Tensor>> {
        let fits = |tensor: &mut Arc<Tensor>| {
            tensor.datum_type() == datum_type
                && tensor.len() == shape.iter().product::<usize>()
                && Arc::get_mut(tensor).is_some()
        };
        let index = match self.0.iter_mut().position(fits) {
            Some(index) => index,
            None => {
                self.0.push(Arc::new(Tensor::zero_dt(datum_type, shape)?));
                self.0.len() - 1
            }
        };
        Ok(&mut self.0[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the sum of its inputs' lengths.
    struct Lengths(TVec<usize>);

    impl Layer for Lengths {
        fn output(&self, _: &[TValue]) -> TractResult<(DatumType, TVec<usize>)> {
            Ok((u8::datum_type(), self.0.clone()))
        }

        fn run(&self, _: &Pool, _: &[TValue], out: &mut Tensor) -> TractResult<()> {
            out.as_bytes_mut().fill(1);
            Ok(())
        }
    }

    fn run(buffers: &mut Buffers, shape: &[usize]) -> TValue {
        let layer = Lengths(shape.into());
        buffers.run(&Pool::serial(), &layer, &[]).unwrap()
    }

    #[test]
    fn a_tensor_is_used_again_once_nobody_holds_it() {
        let mut buffers = Buffers::default();
        let first = run(&mut buffers, &[2, 6]);
        let second = run(&mut buffers, &[2, 6]);
        assert_eq!(buffers.0.len(), 2);
        drop(first);
        let third = run(&mut buffers, &[3, 4]);
        assert_eq!((buffers.0.len(), third.shape()), (2, &[3, 4][..]));
        assert_eq!(second.shape(), [2, 6]);
        drop(second);
        run(&mut buffers, &[13]);
        assert_eq!(buffers.0.len(), 3);
    }
}
