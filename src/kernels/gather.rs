//! Finds the inputs of a few output pixels: by pointers into the activations where the backend can read
//! those as they lie, else by gathering a tile's worth of rows, flipped, padding filled in.
#![allow(unsafe_code)] // pointers into activations

use std::ops::Range;

use super::scratch::Scratch;
use super::{Conv, Geometry, Storage};

/// Writes the windows of output pixels, in rows of `depth` values. A function of its own: amid a kernel there are
/// no registers left for it.
#[inline(never)]
fn windows(
    g: &Geometry,
    border: &[u8],
    flip: u8,
    x: &[u8],
    (pixels, depth): (Range<usize>, usize),
    rows: &mut [u8],
) {
    let (run, line) = (g.kernel_w * g.in_c, g.in_w * g.in_c);
    for (pixel, row) in pixels.zip(rows.chunks_exact_mut(depth)) {
        let top = (pixel / g.out_w() * g.stride_h).wrapping_sub(g.pad.top);
        let left = (pixel % g.out_w() * g.stride_w).wrapping_sub(g.pad.left);
        let inside = |at: usize, kernel: usize, size: usize| at < size && at + kernel <= size;
        if run >= 16 && inside(top, g.kernel_h, g.in_h) && inside(left, g.kernel_w, g.in_w) {
            let from = &x[(top * g.in_w + left) * g.in_c..];
            assert!(from.len() >= (g.kernel_h - 1) * line + run && row.len() >= g.kernel_h * run);
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

/// `to[i] = from[i] ^ flip`; both are equally long. In overlapping pieces: rows of a picture are short and of odd
/// lengths.
#[inline(always)]
fn convert(from: &[u8], flip: u8, to: &mut [u8]) {
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

/// A tile's inputs: `[taps][pixels]` pointers to runs of `depth` values.
pub struct Rows {
    pub pointers: *const *const u8,
    pub taps: usize,
    pub depth: usize,
    /// What the backend wants beside them.
    pub workspace: *mut u8,
}

/// Finds the inputs of output pixels `pixels`; they stay valid until `scratch` or `x` is used again. `workspace` says
/// how many bytes the backend wants for runs of so many values in all.
#[inline(always)]
pub fn rows(
    conv: &Conv,
    (storage, kc, workspace): (Storage, usize, fn(usize) -> usize),
    x: &[u8],
    pixels: Range<usize>,
    scratch: &mut Scratch,
) -> Rows {
    let g = &conv.geometry;
    let flip = conv.input.flip() ^ storage.flip();
    let taps = g.kernel_h * g.kernel_w;
    let count = taps * pixels.len();
    if flip == 0 && g.in_c.is_multiple_of(kc) && Scratch::holds_pointers(count) {
        let (space, pointers) = scratch.rows_and_pointers(workspace(g.depth()), count);
        point(g, &conv.border, x, pixels, pointers);
        return Rows {
            pointers: pointers.as_ptr(),
            taps,
            depth: g.in_c,
            workspace: space.as_mut_ptr(),
        };
    }
    let depth = g.depth().next_multiple_of(kc);
    let n = pixels.len();
    // behind the rows, aligned for vectors
    let values = (n * depth).next_multiple_of(64);
    let (rows, pointers) = scratch.rows_and_pointers(values + workspace(depth), n);
    let (rows, space) = rows.split_at_mut(values);
    windows(
        g,
        &conv.border,
        flip,
        x,
        (pixels, depth),
        &mut rows[..n * depth],
    );
    let start = rows.as_ptr();
    for (p, pointer) in pointers.iter_mut().enumerate() {
        *pointer = start.wrapping_add(p * depth);
    }
    Rows {
        pointers: pointers.as_ptr(),
        taps: 1,
        depth,
        workspace: space.as_mut_ptr(),
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
fn window(g: &Geometry, border: &[u8], flip: u8, x: &[u8], pixel: usize, row: &mut [u8]) {
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
            convert(&x[(y * g.in_w + left) * g.in_c..][..run], flip, out);
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
fn edge(g: &Geometry, border: &[u8], flip: u8, line: &[u8], left: usize, out: &mut [u8]) {
    for (kx, out) in out.chunks_exact_mut(g.in_c).enumerate() {
        let column = left.wrapping_add(kx);
        let inside = column < g.in_w;
        let from = if inside {
            &line[column * g.in_c..][..g.in_c]
        } else {
            border
        };
        convert(from, flip, out);
    }
}

/// Fills whole pixels with padding.
#[inline(always)]
fn fill(border: &[u8], flip: u8, pixels: &mut [u8]) {
    for pixel in pixels.chunks_exact_mut(border.len()) {
        convert(border, flip, pixel);
    }
}
