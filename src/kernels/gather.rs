//! Finds the inputs of a few output pixels: by pointers into the activations where the backend reads
//! those as they lie, else by gathering a tile's worth of rows, converted, padding filled in.
#![allow(unsafe_code)] // pointers into activations

use std::ops::Range;

use super::scratch::Scratch;
use super::{Conv, Geometry, Storage};

/// What a backend multiplies.
pub trait Value: Copy + Default + Send + 'static {
    /// Whether activations are such values as they lie in memory.
    const AS_STORED: bool;

    /// `to[i] = from[i] ^ flip`, converted; both are equally long.
    fn convert(from: &[u8], flip: u8, to: &mut [Self]);
}

impl Value for u8 {
    const AS_STORED: bool = true;

    /// Eight at a time, the last eight overlapping those before them: rows of a picture are short.
    #[inline(always)]
    fn convert(from: &[u8], flip: u8, to: &mut [Self]) {
        assert_eq!(from.len(), to.len());
        let Some(last) = from.len().checked_sub(8) else {
            to.iter_mut()
                .zip(from)
                .for_each(|(to, from)| *to = from ^ flip);
            return;
        };
        let flips = u64::from_ne_bytes([flip; 8]);
        let (from, to) = (from.as_ptr().cast::<u64>(), to.as_mut_ptr().cast::<u64>());
        let mut at = 0;
        loop {
            // SAFETY: `at` is at most `last`, eight bytes before the end of both.
            unsafe {
                let word = from.byte_add(at).read_unaligned();
                to.byte_add(at).write_unaligned(word ^ flips);
            }
            if at == last {
                break;
            }
            at = last.min(at + 8);
        }
    }
}

/// Widened for instructions that multiply 16-bit numbers.
impl Value for i16 {
    const AS_STORED: bool = false;

    #[inline(always)]
    fn convert(from: &[u8], flip: u8, to: &mut [Self]) {
        for (to, &from) in to.iter_mut().zip(from) {
            *to = Self::from(from ^ flip);
        }
    }
}

/// A tile's inputs: `[taps][pixels]` pointers to runs of `depth` values.
pub struct Rows<V> {
    pub pointers: *const *const V,
    pub taps: usize,
    pub depth: usize,
}

/// Finds the inputs of output pixels `pixels`; they stay valid until `scratch` or `x` is used again.
#[inline(always)]
pub fn rows<V: Value>(
    conv: &Conv,
    storage: Storage,
    kc: usize,
    x: &[u8],
    pixels: Range<usize>,
    scratch: &mut Scratch,
) -> Rows<V> {
    let g = &conv.geometry;
    let flip = conv.input.flip() ^ storage.flip();
    let taps = g.kernel_h * g.kernel_w;
    let count = taps * pixels.len();
    if V::AS_STORED && flip == 0 && g.in_c.is_multiple_of(kc) && Scratch::holds_pointers(count) {
        let pointers = scratch.pointers::<u8>(count);
        point(g, &conv.border, x, pixels, pointers);
        return Rows {
            pointers: pointers.as_ptr().cast(),
            taps,
            depth: g.in_c,
        };
    }
    let depth = g.depth().next_multiple_of(kc);
    let n = pixels.len();
    let rows = scratch.rows::<V>(n * depth);
    for (pixel, row) in pixels.zip(rows.chunks_exact_mut(depth)) {
        window(g, &conv.border, flip, x, pixel, row);
    }
    let start = rows.as_ptr();
    let pointers = scratch.pointers::<V>(n);
    for (p, pointer) in pointers.iter_mut().enumerate() {
        *pointer = start.wrapping_add(p * depth);
    }
    Rows {
        pointers: pointers.as_ptr(),
        taps: 1,
        depth,
    }
}

/// Points at each pixel's channels under each tap, or at the border.
#[inline(always)]
fn point(g: &Geometry, border: &[u8], x: &[u8], pixels: Range<usize>, out: &mut [*const u8]) {
    assert!(x.len() == g.input_len() && border.len() == g.in_c);
    let n = pixels.len();
    if g.is_pointwise() {
        for (pixel, out) in pixels.zip(out) {
            *out = x.as_ptr().wrapping_add(pixel * g.in_c);
        }
        return;
    }
    let (mut oy, mut ox) = (pixels.start / g.out_w(), pixels.start % g.out_w());
    for p in 0..n {
        // above and left of the picture these wrap around, and are beyond it
        let top = (oy * g.stride_h).wrapping_sub(g.pad.top);
        let left = (ox * g.stride_w).wrapping_sub(g.pad.left);
        let mut at = p;
        for ky in 0..g.kernel_h {
            let row = top.wrapping_add(ky);
            let start = row
                .wrapping_mul(g.in_w)
                .wrapping_add(left)
                .wrapping_mul(g.in_c);
            let mut pointer = x.as_ptr().wrapping_add(start);
            for kx in 0..g.kernel_w {
                let inside = row < g.in_h && left.wrapping_add(kx) < g.in_w;
                out[at] = if inside { pointer } else { border.as_ptr() };
                pointer = pointer.wrapping_add(g.in_c);
                at += n;
            }
        }
        ox += 1;
        if ox == g.out_w() {
            (oy, ox) = (oy + 1, 0);
        }
    }
}

/// Writes the window of output pixel `pixel` to `row` in the weights' order (kernel row, kernel
/// column, channel); what is left of `row` becomes zero.
#[inline(always)]
fn window<V: Value>(g: &Geometry, border: &[u8], flip: u8, x: &[u8], pixel: usize, row: &mut [V]) {
    let (oy, ox) = (pixel / g.out_w(), pixel % g.out_w());
    // kernel columns [first, last) see the picture, the others padding; they are neighbours in memory
    let first = g.pad.left.saturating_sub(ox * g.stride_w).min(g.kernel_w);
    let last = (g.in_w + g.pad.left)
        .saturating_sub(ox * g.stride_w)
        .min(g.kernel_w)
        .max(first);
    let run = g.kernel_w * g.in_c;
    let (body, tail) = row.split_at_mut(g.kernel_h * run);
    tail.fill(V::default());
    let top = (oy * g.stride_h).wrapping_sub(g.pad.top);
    for (ky, out) in body.chunks_exact_mut(run).enumerate() {
        let iy = top.wrapping_add(ky);
        if iy >= g.in_h {
            fill(border, flip, out);
            continue;
        }
        let start = (iy * g.in_w + ox * g.stride_w + first).wrapping_sub(g.pad.left) * g.in_c;
        let (from, to) = (first * g.in_c, last * g.in_c);
        if first > 0 || last < g.kernel_w {
            fill(border, flip, &mut out[..from]);
            fill(border, flip, &mut out[to..]);
        }
        if from < to {
            V::convert(&x[start..start + to - from], flip, &mut out[from..to]);
        }
    }
}

/// Fills whole pixels with padding.
#[inline(always)]
fn fill<V: Value>(border: &[u8], flip: u8, pixels: &mut [V]) {
    for pixel in pixels.chunks_exact_mut(border.len()) {
        V::convert(border, flip, pixel);
    }
}
