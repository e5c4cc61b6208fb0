//! `conv_i8_6x16c1_portable`: plain Rust that the compiler vectorizes for whatever the target's
//! baseline is. Six pixels by sixteen channels, one product at a time, channels along the vector.

use super::Layout;
use super::driver::{CHANNELS, Sums, Tile};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portable;

impl Tile for Portable {
    const LAYOUT: Layout = Layout {
        nr: CHANNELS,
        kc: 1,
    };
    const PIXELS: usize = 6;

    #[inline(always)]
    fn accumulate(self, x: &[i16], depth: usize, w: &[i8], sums: &mut [Sums]) {
        match sums {
            [_, _, _, _, _, _] => rows::<6>(x, depth, w, sums),
            [_, _, _, _] => rows::<4>(x, depth, w, sums),
            _ => {
                for (x, sums) in x.chunks_exact(depth).zip(sums.chunks_exact_mut(1)) {
                    rows::<1>(x, depth, w, sums);
                }
            }
        }
    }
}

#[inline(always)]
fn rows<const N: usize>(x: &[i16], depth: usize, w: &[i8], sums: &mut [Sums]) {
    let x: [&[i16]; N] = std::array::from_fn(|p| &x[p * depth..][..depth]);
    let mut acc = [[0i32; CHANNELS]; N];
    for (k, w) in w.chunks_exact(CHANNELS).take(depth).enumerate() {
        for p in 0..N {
            let value = i32::from(x[p][k]);
            for c in 0..CHANNELS {
                acc[p][c] = acc[p][c].wrapping_add(value * i32::from(w[c]));
            }
        }
    }
    sums.copy_from_slice(&acc);
}
