//! Pooling as tract operators: maximum and average over windows, average over the picture.

use tract_nnef::internal::*;

use super::layer::{self, Layer, operator};
use super::qconv::nhwc;
use crate::kernels::pool::{self, GlobalAverage, WindowAverage};
use crate::kernels::{Geometry, Pool, Quant, Storage};

/// Maximum over windows: u8 `[1, h, w, c]` to u8 `[1, oh, ow, c]`, the same scale and zero point.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QMaxPool {
    pub geometry: Geometry,
    /// How the backend of the layers around it keeps activations.
    pub storage: Storage,
}

operator!(QMaxPool, "QMaxPool");

impl Layer for QMaxPool {
    fn output(&self, _: &[TValue]) -> TractResult<(DatumType, TVec<usize>)> {
        let g = &self.geometry;
        Ok((u8::datum_type(), tvec!(1, g.out_h(), g.out_w(), g.in_c)))
    }

    fn run(&self, pool: &Pool, inputs: &[TValue], out: &mut Tensor) -> TractResult<()> {
        let x = inputs[0].try_as_plain_ram()?.as_slice::<u8>()?;
        let mut out = out.try_as_plain_ram_mut()?;
        pool::max(
            pool,
            self.storage,
            &self.geometry,
            x,
            out.as_slice_mut::<u8>()?,
        );
        Ok(())
    }
}

impl TypedOp for QMaxPool {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        pooled(&self.geometry, inputs[0])
    }

    as_op!();
}

/// Average over all pixels, requantized: u8 `[1, h, w, c]` to u8 `[1, 1, 1, c]`.
#[derive(Debug, Clone)]
pub struct QGlobalAverage {
    pub input: Quant,
    pub output: Quant,
    storage: Storage,
    average: GlobalAverage,
}

impl PartialEq for QGlobalAverage {
    fn eq(&self, other: &Self) -> bool {
        (self.input, self.output, self.storage, self.average.pixels())
            == (
                other.input,
                other.output,
                other.storage,
                other.average.pixels(),
            )
    }
}

impl Eq for QGlobalAverage {}

impl QGlobalAverage {
    /// Prepares the average of pictures of `pixels` pixels.
    ///
    /// # Errors
    /// If there are none, or absurdly many.
    pub fn new(pixels: usize, input: Quant, output: Quant, storage: Storage) -> TractResult<Self> {
        let average = GlobalAverage::new(pixels, input, output)
            .with_context(|| format!("a picture of {pixels} pixels cannot be averaged"))?;
        Ok(Self {
            input,
            output,
            storage,
            average,
        })
    }

    /// How the values that it reads and writes are stored.
    #[must_use]
    pub fn storage(&self) -> Storage {
        self.storage
    }
}

operator!(QGlobalAverage, "QGlobalAverage");

impl Layer for QGlobalAverage {
    fn output(&self, inputs: &[TValue]) -> TractResult<(DatumType, TVec<usize>)> {
        let &[_, _, _, c] = inputs[0].shape() else {
            bail!("expected NHWC")
        };
        Ok((u8::datum_type(), tvec!(1, 1, 1, c)))
    }

    fn run(&self, _: &Pool, inputs: &[TValue], out: &mut Tensor) -> TractResult<()> {
        let x = inputs[0].try_as_plain_ram()?.as_slice::<u8>()?;
        let mut out = out.try_as_plain_ram_mut()?;
        self.average.run(self.storage, x, out.as_slice_mut::<u8>()?);
        Ok(())
    }
}

impl TypedOp for QGlobalAverage {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [h, w, c] = nhwc(inputs[0])?;
        ensure!(
            h * w == self.average.pixels(),
            "an average prepared for another size than {h} x {w}"
        );
        Ok(tvec!(u8::fact([1, 1, 1, c])))
    }

    as_op!();
}

/// Average over windows, requantized: u8 `[1, h, w, c]` to u8 `[1, oh, ow, c]`.
#[derive(Debug, Clone, PartialEq)]
pub struct QAverage {
    pub geometry: Geometry,
    /// Whether padding counts as zeros, or not at all.
    pub count_padding: bool,
    pub input: Quant,
    pub output: Quant,
    storage: Storage,
    average: WindowAverage,
}

impl Eq for QAverage {}

impl QAverage {
    #[must_use]
    pub fn new(
        (geometry, count_padding): (Geometry, bool),
        (input, output): (Quant, Quant),
        storage: Storage,
    ) -> Self {
        Self {
            geometry,
            count_padding,
            input,
            output,
            storage,
            average: WindowAverage::new(geometry, count_padding, input, output),
        }
    }
}

operator!(QAverage, "QAverage");

impl Layer for QAverage {
    fn output(&self, _: &[TValue]) -> TractResult<(DatumType, TVec<usize>)> {
        let g = &self.geometry;
        Ok((u8::datum_type(), tvec!(1, g.out_h(), g.out_w(), g.in_c)))
    }

    fn run(&self, pool: &Pool, inputs: &[TValue], out: &mut Tensor) -> TractResult<()> {
        let x = inputs[0].try_as_plain_ram()?.as_slice::<u8>()?;
        let mut out = out.try_as_plain_ram_mut()?;
        self.average
            .run(pool, self.storage, x, out.as_slice_mut::<u8>()?);
        Ok(())
    }
}

impl TypedOp for QAverage {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        pooled(&self.geometry, inputs[0])
    }

    as_op!();
}

/// The output of a pooling that was prepared for `g`.
fn pooled(g: &Geometry, input: &TypedFact) -> TractResult<TVec<TypedFact>> {
    let input = nhwc(input)?;
    ensure!(
        input == [g.in_h, g.in_w, g.in_c] && g.in_c == g.out_c,
        "pooling of {input:?} prepared for {g:?}"
    );
    Ok(tvec!(u8::fact([1, g.out_h(), g.out_w(), g.in_c])))
}
