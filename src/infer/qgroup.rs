//! A convolution in groups (ResNeXt: Xie et al., "Aggregated Residual Transformations", 2017) as a tract operator.
//!
//! Groups of four channels would leave most of a kernel's lanes idle. So neighbouring groups are joined until their
//! outputs fill a block of channels, with zeros for the weights between them, and each such part is an ordinary
//! convolution of some channels, which are copied out and in again.

use std::sync::{Arc, Mutex, PoisonError};

use tract_nnef::internal::*;

use super::layer::{self, Layer, operator};
use super::qconv::{ConvParams, QConv, nhwc};
use super::weights::Weights;
use crate::kernels::{Backend, Budget, Geometry, Pool, Scale};

/// Output channels that a part has at least, where there are so many.
const PART: usize = 64;

/// u8 `[1, h, w, c]` to u8 `[1, oh, ow, oc]`; each of `groups` equal parts of the output sees its part of the input.
#[derive(Debug, Clone)]
pub struct QGroupConv {
    pub name: String,
    pub params: ConvParams,
    pub groups: usize,
    /// i8 `[out][kernel rows][kernel columns][in / groups]`.
    pub weights: Arc<Tensor>,
    pub bias: Arc<[i32]>,
    pub scales: Arc<[Scale]>,
    geometry: Geometry,
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    convs: Vec<QConv>,
    /// One part's input and output.
    room: Mutex<(Vec<u8>, Vec<u8>)>,
}

impl PartialEq for QGroupConv {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.parts, &other.parts)
    }
}

impl Eq for QGroupConv {}

impl QGroupConv {
    /// Prepares a convolution for inputs of `input` rows, columns and channels.
    ///
    /// # Errors
    /// If shapes, counts or scales do not fit together, or a residual or border is asked for.
    pub fn new(
        (name, params, groups): (String, ConvParams, usize),
        weights: Tensor,
        (bias, scales): (Arc<[i32]>, Arc<[Scale]>),
        input: [usize; 3],
        backend: Backend,
    ) -> TractResult<Self> {
        let &[out, rows, columns, per_group] = weights.shape() else {
            bail!("{name}: weights of shape {:?}", weights.shape());
        };
        ensure!(
            groups > 0 && out % groups == 0 && per_group.checked_mul(groups) == Some(input[2]),
            "{name}: {groups} groups of {per_group} channels for {} inputs and {out} outputs",
            input[2]
        );
        ensure!(
            params.residual.is_none() && params.border.is_empty() && !params.picture,
            "{name}: in groups only plain convolutions are run"
        );
        ensure!(
            bias.len() == out && scales.len() == out,
            "{name}: {} biases and {} scales for {out} channels",
            bias.len(),
            scales.len()
        );
        let geometry = Geometry::new(
            (input[0], input[1]),
            (input[2], out),
            (rows, columns),
            params.stride,
            params.pad,
        )?;
        let mut convs = Vec::new();
        let joined = joined(groups, out / groups);
        let plain = weights.try_as_plain_ram()?.as_slice::<i8>()?;
        for first in (0..groups).step_by(joined) {
            let outputs = first * (out / groups)..(first + joined) * (out / groups);
            let shape = [outputs.len(), rows, columns, joined * per_group];
            let filter = rows * columns * per_group;
            let own = &plain[outputs.start * filter..outputs.end * filter];
            let dense = Tensor::from_shape(&shape, &among_zeros(own, joined, per_group))?;
            convs.push(QConv::new(
                format!("{name}_{first}"),
                params.clone(),
                Weights::new(&dense, backend)?,
                (bias[outputs.clone()].into(), scales[outputs].into()),
                (input[0], input[1]),
                &Budget::none(),
            )?);
        }
        let room = Mutex::default();
        Ok(Self {
            name,
            params,
            groups,
            weights: Arc::new(weights),
            bias,
            scales,
            geometry,
            parts: Arc::new(Parts { convs, room }),
        })
    }

    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }
}

/// How many groups of `outputs` channels make a part: the least divisor that fills it.
fn joined(groups: usize, outputs: usize) -> usize {
    let mut divisors = (1..=groups).filter(|n| groups.is_multiple_of(*n));
    divisors.find(|n| n * outputs >= PART).unwrap_or(groups)
}

/// The filters of `groups` groups as those of one: zeros where a filter sees another group's channels.
fn among_zeros(filters: &[i8], groups: usize, per_group: usize) -> Vec<i8> {
    let mut dense = vec![0; filters.len() * groups];
    let per_filters = filters.len() / groups.max(1);
    let taps = filters.chunks_exact(per_group.max(1));
    for (at, (tap, wide)) in taps
        .zip(dense.chunks_exact_mut((per_group * groups).max(1)))
        .enumerate()
    {
        let group = at * per_group / per_filters.max(1);
        wide[group * per_group..][..per_group].copy_from_slice(tap);
    }
    dense
}

/// Copies `width` bytes of every row of `from` to those of `to`, whose rows are as long as given and start where given.
fn copy(
    width: usize,
    (from, from_row, from_at): (&[u8], usize, usize),
    (to, to_row, to_at): (&mut [u8], usize, usize),
) {
    for (from, to) in from.chunks_exact(from_row).zip(to.chunks_exact_mut(to_row)) {
        to[to_at..to_at + width].copy_from_slice(&from[from_at..from_at + width]);
    }
}

operator!(QGroupConv, "QGroupConv");

impl Layer for QGroupConv {
    fn output(&self, _: &[TValue]) -> TractResult<(DatumType, TVec<usize>)> {
        let g = &self.geometry;
        Ok((u8::datum_type(), tvec!(1, g.out_h(), g.out_w(), g.out_c)))
    }

    fn run(&self, pool: &Pool, inputs: &[TValue], out: &mut Tensor) -> TractResult<()> {
        let x = inputs[0].try_as_plain_ram()?.as_slice::<u8>()?;
        let mut out = out.try_as_plain_ram_mut()?;
        let (y, g) = (out.as_slice_mut::<u8>()?, &self.geometry);
        let mut room = self
            .parts
            .room
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (part_x, part_y) = &mut *room;
        for (i, conv) in self.parts.convs.iter().enumerate() {
            let part = conv.geometry();
            part_x.resize(part.input_len(), 0);
            part_y.resize(part.output_len(), 0);
            copy(
                part.in_c,
                (x, g.in_c, i * part.in_c),
                (part_x, part.in_c, 0),
            );
            conv.apply(pool, part_x, None, part_y);
            copy(
                part.out_c,
                (part_y, part.out_c, 0),
                (y, g.out_c, i * part.out_c),
            );
        }
        Ok(())
    }
}

impl TypedOp for QGroupConv {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let (g, input) = (&self.geometry, nhwc(inputs[0])?);
        ensure!(
            input == [g.in_h, g.in_w, g.in_c],
            "{}: input of {input:?} where {:?} was expected",
            self.name,
            [g.in_h, g.in_w, g.in_c]
        );
        Ok(tvec!(u8::fact([1, g.out_h(), g.out_w(), g.out_c])))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::dispatch::available;
    use crate::kernels::{Padding, Quant};
    use crate::random::Random;

    #[test]
    fn groups_are_joined_until_they_fill_a_block() {
        assert_eq!(joined(32, 4), 16);
        assert_eq!(joined(32, 32), 2);
        assert_eq!(joined(8, 4), 8);
        assert_eq!(joined(3, 100), 1);
    }

    /// One value of the output by its definition.
    fn expected(op: &QGroupConv, x: &[u8], (oy, ox, o): (usize, usize, usize)) -> f32 {
        let (g, p) = (op.geometry(), &op.params);
        let per_group = g.in_c / op.groups;
        let weights = op.weights.try_as_plain_ram().unwrap();
        let weights = weights.as_slice::<i8>().unwrap();
        let mut acc = op.bias[o];
        for (ky, kx, c) in (0..g.kernel_h * g.kernel_w * per_group).map(|i| {
            (
                i / (g.kernel_w * per_group),
                i / per_group % g.kernel_w,
                i % per_group,
            )
        }) {
            let iy = Geometry::source(oy, ky, g.stride_h, g.pad.top, g.in_h);
            let ix = Geometry::source(ox, kx, g.stride_w, g.pad.left, g.in_w);
            if let (Some(iy), Some(ix)) = (iy, ix) {
                let channel = o / (g.out_c / op.groups) * per_group + c;
                let value =
                    i32::from(x[(iy * g.in_w + ix) * g.in_c + channel]) - p.input.zero.get();
                let at = ((o * g.kernel_h + ky) * g.kernel_w + kx) * per_group + c;
                acc += value * i32::from(weights[at]);
            }
        }
        #[allow(clippy::cast_precision_loss)]
        let t = acc as f32 * (p.input.scale.get() * op.scales[o].get() / p.output.scale.get());
        t
    }

    #[test]
    fn every_backend_convolves_in_groups_as_the_definition_says() {
        let mut random = Random::new(5);
        for (channels, outputs, groups, stride) in [(12, 12, 3, 1), (128, 128, 32, 2), (6, 4, 2, 1)]
        {
            let shape = [outputs, 3, 3, channels / groups];
            let len = shape.iter().product::<usize>();
            let weights: Vec<i8> = (0..len)
                .map(|_| (random.byte() % 255).wrapping_sub(127).cast_signed())
                .collect();
            let params = ConvParams {
                stride: (stride, stride),
                pad: Padding::all(1),
                border: Vec::new(),
                relu: false,
                input: Quant::new(0.02, 7).unwrap(),
                output: Quant::new(0.5, 128).unwrap(),
                residual: None,
                picture: false,
            };
            let x: Vec<u8> = (0..7 * 6 * channels).map(|_| random.byte()).collect();
            for isa in available() {
                let backend = Backend::new(isa).unwrap();
                let op = QGroupConv::new(
                    ("g".into(), params.clone(), groups),
                    Tensor::from_shape(&shape, &weights).unwrap(),
                    (
                        vec![9; outputs].into(),
                        vec![Scale::new(0.01).unwrap(); outputs].into(),
                    ),
                    [7, 6, channels],
                    backend,
                )
                .unwrap();
                let flip = backend.storage().flip();
                let stored: Vec<u8> = x.iter().map(|x| x ^ flip).collect();
                let input = Tensor::from_shape(&[1, 7, 6, channels], &stored).unwrap();
                let y = layer::evaluate(&op, &[input.into_tvalue()]).unwrap();
                let g = op.geometry();
                for (at, y) in y[0].as_bytes().iter().enumerate() {
                    let place = (
                        at / g.out_c / g.out_w(),
                        at / g.out_c % g.out_w(),
                        at % g.out_c,
                    );
                    let t = expected(&op, &x, place);
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped
                    let want = (t.clamp(-128.0, 127.0).round_ties_even() + 128.0) as u8;
                    assert_eq!(y ^ flip, want, "{isa} {shape:?} at {place:?}");
                }
            }
        }
    }
}
