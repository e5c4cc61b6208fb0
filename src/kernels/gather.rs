//! Brings the inputs of a few output pixels together: a tile's worth of rows, widened to 16 bits,
//! padding filled in. Only this tile-sized scratch exists; no picture is ever unrolled (im2col).

use super::Geometry;

/// Writes the window of output pixel `pixel` to `row` in the weights' order (kernel row, kernel
/// column, channel), widened; what is left of `row` becomes zero.
#[inline(always)]
pub fn window(g: &Geometry, border: &[u8], x: &[u8], pixel: usize, row: &mut [i16]) {
    let (oy, ox) = (pixel / g.out_w(), pixel % g.out_w());
    // kernel columns [first, last) see the picture, the others padding; they are neighbours in memory
    let first = g.pad.left.saturating_sub(ox * g.stride_w).min(g.kernel_w);
    let last = (g.in_w + g.pad.left)
        .saturating_sub(ox * g.stride_w)
        .min(g.kernel_w)
        .max(first);
    let run = g.kernel_w * g.in_c;
    let (body, tail) = row.split_at_mut(g.kernel_h * run);
    tail.fill(0);
    for (ky, out) in body.chunks_exact_mut(run).enumerate() {
        let Some(iy) = Geometry::source(oy, ky, g.stride_h, g.pad.top, g.in_h) else {
            fill(border, out);
            continue;
        };
        let (before, rest) = out.split_at_mut(first * g.in_c);
        let (inside, after) = rest.split_at_mut((last - first) * g.in_c);
        fill(border, before);
        fill(border, after);
        if !inside.is_empty() {
            let start = (iy * g.in_w + ox * g.stride_w + first - g.pad.left) * g.in_c;
            widen(&x[start..start + inside.len()], inside);
        }
    }
}

/// Fills whole pixels with padding.
#[inline(always)]
fn fill(border: &[u8], pixels: &mut [i16]) {
    for pixel in pixels.chunks_exact_mut(border.len()) {
        widen(border, pixel);
    }
}

#[inline(always)]
pub fn widen(from: &[u8], to: &mut [i16]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = i16::from(from);
    }
}
