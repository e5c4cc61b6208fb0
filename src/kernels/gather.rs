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

    /// The windows of output pixels, in rows of `depth` values.
    #[inline(always)]
    fn windows(
        g: &Geometry,
        border: &[u8],
        flip: u8,
        x: &[u8],
        (pixels, depth): (Range<usize>, usize),
        rows: &mut [Self],
    ) {
        for (pixel, row) in pixels.zip(rows.chunks_exact_mut(depth)) {
            window(g, border, flip, x, pixel, row);
        }
    }
}

impl Value for u8 {
    const AS_STORED: bool = true;

    /// A function of its own: amid a kernel there are no registers left for it.
    #[inline(never)]
    fn windows(
        g: &Geometry,
        border: &[u8],
        flip: u8,
        x: &[u8],
        (pixels, depth): (Range<usize>, usize),
        rows: &mut [Self],
    ) {
        let (run, line) = (g.kernel_w * g.in_c, g.in_w * g.in_c);
        for (pixel, row) in pixels.zip(rows.chunks_exact_mut(depth)) {
            let top = (pixel / g.out_w() * g.stride_h).wrapping_sub(g.pad.top);
            let left = (pixel % g.out_w() * g.stride_w).wrapping_sub(g.pad.left);
            let inside = |at: usize, kernel: usize, size: usize| at < size && at + kernel <= size;
            if run >= 16 && inside(top, g.kernel_h, g.in_h) && inside(left, g.kernel_w, g.in_w) {
                let from = &x[(top * g.in_w + left) * g.in_c..];
                assert!(
                    from.len() >= (g.kernel_h - 1) * line + run && row.len() >= g.kernel_h * run
                );
                let (mut from, mut to) = (from.as_ptr(), row.as_mut_ptr());
                for _ in 0..g.kernel_h {
                    // SAFETY: asserted above: runs a line apart in `x`, one behind the other in `row`.
                    unsafe { flip_run(from, flip, to, run) };
                    (from, to) = (from.wrapping_add(line), to.wrapping_add(run));
                }
            } else {
                window(g, border, flip, x, pixel, row);
            }
        }
    }

    /// In overlapping pieces: rows of a picture are short and of odd lengths.
    #[inline(always)]
    fn convert(from: &[u8], flip: u8, to: &mut [Self]) {
        assert_eq!(from.len(), to.len());
        if from.len() < 16 {
            to.iter_mut()
                .zip(from)
                .for_each(|(to, from)| *to = from ^ flip);
        } else {
            // SAFETY: both are that long.
            unsafe { flip_run(from.as_ptr(), flip, to.as_mut_ptr(), from.len()) };
        }
    }
}

/// # Safety
/// `len`, at least sixteen, bytes are readable and writable.
#[inline(always)]
unsafe fn flip_run(from: *const u8, flip: u8, to: *mut u8, len: usize) {
    let last = len - 16;
    let mut at = 0;
    // SAFETY: sixteen bytes from any `at` up to `last` are within `len`.
    unsafe {
        while at < last {
            flip_sixteen(from.add(at), flip, to.add(at));
            at += 16;
        }
        flip_sixteen(from.add(last), flip, to.add(last));
    }
}

/// # Safety
/// Sixteen bytes are readable and writable.
#[inline(always)]
unsafe fn flip_sixteen(from: *const u8, flip: u8, to: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        let piece = from.cast::<[u8; 16]>().read();
        to.cast::<[u8; 16]>().write(piece.map(|byte| byte ^ flip));
    }
}

/// Widened for instructions that multiply 16-bit numbers.
impl Value for i16 {
    const AS_STORED: bool = false;

    /// Sixteen at a time, the last sixteen overlapping those before them.
    #[inline(always)]
    fn convert(from: &[u8], flip: u8, to: &mut [Self]) {
        assert_eq!(from.len(), to.len());
        let Some(last) = from.len().checked_sub(16) else {
            for (to, &from) in to.iter_mut().zip(from) {
                *to = Self::from(from ^ flip);
            }
            return;
        };
        let mut at = 0;
        loop {
            // SAFETY: sixteen values from any `at` up to `last` are within both.
            unsafe {
                let piece = from.as_ptr().add(at).cast::<[u8; 16]>().read();
                let wide = piece.map(|byte| Self::from(byte ^ flip));
                to.as_mut_ptr()
                    .add(at)
                    .cast::<[Self; 16]>()
                    .write_unaligned(wide);
            }
            if at == last {
                return;
            }
            at = last.min(at + 16);
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
    let (rows, pointers) = scratch.rows_and_pointers::<V>(n * depth, n);
    V::windows(g, &conv.border, flip, x, (pixels, depth), rows);
    let start = rows.as_ptr();
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
/// column, channel). What is left of `row` stays as it is: weights are zero there.
#[inline(always)]
fn window<V: Value>(g: &Geometry, border: &[u8], flip: u8, x: &[u8], pixel: usize, row: &mut [V]) {
    // above and left of the picture these wrap around, and are beyond it
    let top = (pixel / g.out_w() * g.stride_h).wrapping_sub(g.pad.top);
    let left = (pixel % g.out_w() * g.stride_w).wrapping_sub(g.pad.left);
    let run = g.kernel_w * g.in_c;
    let inside = left < g.in_w && left + g.kernel_w <= g.in_w;
    for (ky, out) in row.chunks_exact_mut(run).take(g.kernel_h).enumerate() {
        let y = top.wrapping_add(ky);
        if y >= g.in_h {
            fill(border, flip, out);
        } else if inside {
            V::convert(&x[(y * g.in_w + left) * g.in_c..][..run], flip, out);
        } else {
            edge(
                g,
                border,
                flip,
                &x[y * g.in_w * g.in_c..][..g.in_w * g.in_c],
                left,
                out,
            );
        }
    }
}

/// A run of a window that the picture's left or right edge cuts: `line` is a row of the picture.
#[cold]
#[inline(never)]
fn edge<V: Value>(g: &Geometry, border: &[u8], flip: u8, line: &[u8], left: usize, out: &mut [V]) {
    for (kx, out) in out.chunks_exact_mut(g.in_c).enumerate() {
        let column = left.wrapping_add(kx);
        let inside = column < g.in_w;
        let from = if inside {
            &line[column * g.in_c..][..g.in_c]
        } else {
            border
        };
        V::convert(from, flip, out);
    }
}

/// Fills whole pixels with padding.
#[inline(always)]
fn fill<V: Value>(border: &[u8], flip: u8, pixels: &mut [V]) {
    for pixel in pixels.chunks_exact_mut(border.len()) {
        V::convert(border, flip, pixel);
    }
}
