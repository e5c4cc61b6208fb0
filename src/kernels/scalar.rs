//! The reference: every other backend must give these bits. Written to be read, not to be fast.

use super::{Conv, Dense, Geometry, PackedWeights};

/// One convolution: `x` is `[in_h][in_w][in_c]`, `y` and `residual` are `[out_h][out_w][out_c]`.
pub fn conv(
    (conv, weights): (&Conv, &PackedWeights),
    x: &[u8],
    residual: Option<&[u8]>,
    y: &mut [u8],
) {
    let g = &conv.geometry;
    for pixel in 0..g.out_pixels() {
        for o in 0..g.out_c {
            let at = pixel * g.out_c + o;
            let acc = sum_of_products((conv, weights), x, pixel, o);
            y[at] = conv.requant.apply(acc, o, residual.map(|r| r[at]));
        }
    }
}

/// `sum(w * x)` over one window, padding read as the border.
fn sum_of_products(
    (conv, weights): (&Conv, &PackedWeights),
    x: &[u8],
    pixel: usize,
    o: usize,
) -> i32 {
    let g = &conv.geometry;
    let (oy, ox) = (pixel / g.out_w(), pixel % g.out_w());
    let mut acc = 0i32;
    for ky in 0..g.kernel_h {
        for kx in 0..g.kernel_w {
            let iy = Geometry::source(oy, ky, g.stride_h, g.pad.top, g.in_h);
            let ix = Geometry::source(ox, kx, g.stride_w, g.pad.left, g.in_w);
            for c in 0..g.in_c {
                let value = match (iy, ix) {
                    (Some(iy), Some(ix)) => i32::from(x[(iy * g.in_w + ix) * g.in_c + c]),
                    _ => i32::from(conv.border[c]),
                };
                let weight = weights.at(o, (ky * g.kernel_w + kx) * g.in_c + c);
                acc = acc.wrapping_add(value * i32::from(weight));
            }
        }
    }
    acc
}

/// The last layer: `x` is `[depth]`, `y` is `[classes]`, `y = f32(sum(w * x) + bias) * multiplier`.
#[allow(clippy::cast_precision_loss)] // the rule's own rounding
pub fn dense(dense: &Dense, x: &[u8], y: &mut [f32]) {
    for (o, y) in y.iter_mut().enumerate() {
        let acc = x.iter().enumerate().fold(0i32, |acc, (k, &v)| {
            acc.wrapping_add(i32::from(v) * i32::from(dense.weights.at(o, k)))
        });
        *y = acc.wrapping_add(dense.bias[o]) as f32 * dense.multiplier[o];
    }
}
