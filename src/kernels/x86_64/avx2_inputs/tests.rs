//! Each way of reading a tile's inputs against plain sums.
use super::*;
use crate::kernels::Requant;
use crate::random::Random;

const PIXELS: usize = 5;
/// Four products of any weights and values up to this fit 16 bits.
const QUARTER: u8 = 64;
/// Whole looks, a part of one, and an odd number of groups.
const DEPTH: usize = 140;

/// The sums of a way, for inputs `x` (`[pixels][depth]`) and weights `w` (`[groups][16][4]`).
#[target_feature(enable = "avx2")]
fn sums(way: usize, x: &[u8], w: &[i8]) -> Option<Vec<i32>> {
    let rule = Requant {
        bias: Vec::new(),
        multiplier: Vec::new(),
        low: 0.0,
        high: 0.0,
        output_zero: 0,
        residual: None,
    };
    let rows: Vec<*const u8> = x.chunks_exact(DEPTH).map(<[u8]>::as_ptr).collect();
    let mut space = vec![0xA5A5_A5A5u32; workspace(PIXELS, DEPTH).div_ceil(4)];
    let strip = Strip {
        rows: rows.as_ptr(),
        taps: 1,
        depth: DEPTH,
        blocks: 1,
        weights: w.as_ptr(),
        notes: std::ptr::null(),
        bias: std::ptr::null(),
        multiplier: std::ptr::null(),
        rule: &rule,
        residual: std::ptr::null(),
        y: std::ptr::null_mut(),
        stride: 0,
        workspace: space.as_mut_ptr().cast(),
    };
    let mut acc = [[_mm256_setzero_si256(); 2]; PIXELS];
    // SAFETY: the strip has rows, weights and a workspace for five pixels.
    unsafe {
        match way {
            0 => Cut::<PIXELS, true>::new(&strip, [QUARTER; DEPTH].as_ptr())?
                .accumulate(w.as_ptr(), &mut acc),
            1 => Cut::<PIXELS, false>::new(&strip, [HALF; DEPTH].as_ptr())?
                .accumulate(w.as_ptr(), &mut acc),
            _ => Wide::<PIXELS>::new(&strip).accumulate(w.as_ptr(), &mut acc),
        }
    }
    let lanes = |v| {
        let mut lanes = [0i32; 8];
        // SAFETY: room for eight.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), v) };
        lanes
    };
    Some(acc.into_iter().flatten().flat_map(lanes).collect())
}

fn direct(x: &[u8], w: &[i8]) -> Vec<i32> {
    let sum = |x: &[u8], c: usize| -> i32 {
        let weight = |k: usize| i32::from(w[k / GROUP * STEP + c * GROUP + k % GROUP]);
        x.iter()
            .enumerate()
            .map(|(k, &x)| i32::from(x) * weight(k))
            .sum()
    };
    let pixels = x.chunks_exact(DEPTH);
    pixels
        .flat_map(|x| (0..CHANNELS).map(move |c| sum(x, c)))
        .collect()
}

#[test]
#[allow(clippy::cast_possible_truncation)] // a random place
fn each_way_is_exact_at_the_cap_above_it_and_with_the_largest_weights() {
    if !std::is_x86_feature_detected!("avx2") {
        eprintln!("SKIPPED: this processor has no AVX2");
        return;
    }
    let mut random = Random::new(5);
    for (way, cap) in [(0, QUARTER), (1, HALF), (2, 255)] {
        for round in 0..20 {
            let w: Vec<i8> = (0..DEPTH * CHANNELS)
                .map(|_| match round {
                    0 => 127,
                    1 => -127,
                    _ => random.byte().cast_signed().max(-127),
                })
                .collect();
            let mut x = vec![cap; PIXELS * DEPTH];
            for above in [cap.saturating_add(1), 193, 255, 255] {
                let at = random.bits() as usize % x.len();
                x[at] = above.max(cap);
            }
            // SAFETY: asked above.
            let got = unsafe { sums(way, &x, &w) };
            assert_eq!(
                got.as_ref(),
                Some(&direct(&x, &w)),
                "way {way}, round {round}"
            );
        }
    }
}

#[test]
fn too_many_values_above_the_cap_are_another_way_s() {
    if !std::is_x86_feature_detected!("avx2") {
        eprintln!("SKIPPED: this processor has no AVX2");
        return;
    }
    let (x, w) = (vec![129; PIXELS * DEPTH], vec![1; DEPTH * CHANNELS]);
    // SAFETY: asked above.
    unsafe {
        assert_eq!(sums(0, &x, &w), None);
        assert_eq!(sums(1, &x, &w), None);
        assert_eq!(sums(2, &x, &w), Some(direct(&x, &w)));
    }
}
