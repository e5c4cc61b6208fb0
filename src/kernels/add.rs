//! The addition of two tensors of 8-bit values, where no convolution carries it in its own last step: graphs that
//! came quantized round both sides before they add, and some networks add what no convolution left.
#![allow(unsafe_code)] // threads write disjoint parts of one output

use super::driver::{Output, Tile};
use super::requant::Residual;
use super::{Pool, Quant, QuantError, Requant};

/// `y = round_half_even(clamp(f32(a - z_a) * m_a + f32(b - z_b) * m_b)) + z_y`, with `m = s / s_y`.
#[derive(Debug, Clone, PartialEq)]
pub struct Add {
    terms: [Residual; 2],
    rule: Requant,
}

/// Values per task: enough that a thread's waking is worth it.
const PART: usize = 1 << 15;

impl Add {
    /// # Errors
    /// If a ratio of scales is absurd.
    pub fn new(inputs: [Quant; 2], output: Quant, relu: bool) -> Result<Self, QuantError> {
        let [a, b] = inputs.map(|input| Residual::new(input, output));
        Ok(Self {
            terms: [a?, b?],
            rule: Requant::rounding(output, relu),
        })
    }

    /// Adds on the threads of `pool`.
    ///
    /// # Panics
    /// If the three are not equally long.
    pub(super) fn run<T: Tile>(&self, tile: T, pool: &Pool, [a, b]: [&[u8]; 2], y: &mut [u8]) {
        let len = y.len();
        assert_eq!((a.len(), b.len()), (len, len));
        let y = Output(y.as_mut_ptr());
        pool.run(len.div_ceil(PART), &|task| {
            let range = task * PART..((task + 1) * PART).min(len);
            // SAFETY: this task's part of the output, which no other task touches.
            let y =
                unsafe { std::slice::from_raw_parts_mut(y.get().add(range.start), range.len()) };
            tile.enter(
                #[inline(always)]
                || self.part(T::STORAGE.flip(), [&a[range.clone()], &b[range]], y),
            );
        });
    }

    #[inline(always)]
    fn part(&self, flip: u8, [a, b]: [&[u8]; 2], y: &mut [u8]) {
        let [first, second] = &self.terms;
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            let t = first.value(a ^ flip) + second.value(b ^ flip);
            *y = self.rule.round(t) ^ flip;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dispatch::{Backend, available};
    use super::*;

    #[test]
    fn a_sum_honours_scales_zero_points_and_relu() {
        let quant = |scale, zero| Quant::new(scale, zero).unwrap();
        let inputs = [quant(0.5, 10), quant(2.0, 128)];
        let backend = Backend::new(super::super::Isa::Scalar).unwrap();
        let run = |relu, a, b| {
            let add = Add::new(inputs, quant(1.0, 100), relu).unwrap();
            let mut y = [0];
            backend.add(&Pool::serial(), &add, [&[a], &[b]], &mut y);
            y[0]
        };
        assert_eq!(run(false, 20, 130), 109); // 5 + 4
        assert_eq!(run(false, 13, 128), 102); // 1.5, half to even
        assert_eq!(run(false, 0, 100), 39); // -5 - 56
        assert_eq!(run(true, 0, 100), 100);
        assert_eq!(run(false, 255, 255), 255);
    }

    #[test]
    fn every_backend_adds_the_same_bits() {
        let mut random = crate::random::Random::new(11);
        let (a, b): (Vec<u8>, Vec<u8>) =
            (0..70_001).map(|_| (random.byte(), random.byte())).unzip();
        let quant = |scale, zero| Quant::new(scale, zero).unwrap();
        let add = Add::new([quant(0.031, 3), quant(0.017, 77)], quant(0.04, 5), false).unwrap();
        let want: Vec<u8> = a
            .iter()
            .zip(&b)
            .map(|(&a, &b)| {
                let t = add.terms[0].value(a) + add.terms[1].value(b);
                add.rule.round(t)
            })
            .collect();
        for isa in available() {
            let backend = Backend::new(isa).unwrap();
            let flip = backend.storage().flip();
            let stored = |x: &[u8]| x.iter().map(|x| x ^ flip).collect::<Vec<_>>();
            let (a, b) = (stored(&a), stored(&b));
            for threads in [1, 3] {
                let pool = Pool::new(threads.try_into().unwrap()).unwrap();
                let mut y = vec![0; a.len()];
                backend.add(&pool, &add, [&a, &b], &mut y);
                assert!(stored(&y) == want, "{isa} on {threads} threads");
            }
        }
    }
}
