//! Every backend against the reference, bit for bit, from one table of shapes.
//!
//! `RESNETD_REQUIRE_ISA=avx2,...` turns an instruction set that this machine lacks from a loud skip
//! into a failure.

use std::sync::Arc;

use super::dispatch::available;
use super::requant::fold_zero_point;
use super::*;
use crate::random::Random;

/// `(height, width, in, out, kernel, stride, padding)`: every kind of ResNet layer, and odd ones.
#[rustfmt::skip]
const SHAPES: &[(usize, usize, usize, usize, (usize, usize), usize, Padding)] = &[
    // as in ResNets, smaller pictures
    (31, 31,   3,  64, (7, 7), 2, Padding::all(3)),
    (14, 14,  64,  64, (1, 1), 1, Padding::all(0)),
    (14, 14,  64, 256, (1, 1), 1, Padding::all(0)),
    (14, 14, 256,  64, (1, 1), 1, Padding::all(0)),
    (14, 14,  64,  64, (3, 3), 1, Padding::all(1)),
    (14, 14, 128, 128, (3, 3), 2, Padding::all(1)),
    (14, 14, 256, 128, (1, 1), 2, Padding::all(0)),
    ( 4,  5, 512, 512, (3, 3), 1, Padding::all(1)),
    ( 5,  5, 512, 320, (1, 1), 1, Padding::all(0)),
    // Winograd's tiles of four, whole and cut, and a border wider than usual
    (13, 10,  32,  48, (3, 3), 1, Padding::all(1)),
    ( 5,  7,  16,  16, (3, 3), 1, Padding::all(2)),
    ( 3,  3,  48,  32, (3, 3), 1, Padding::all(0)),
    (28, 28,  16,  16, (3, 3), 1, Padding { top: 0, bottom: 2, left: 1, right: 0 }),
    // more taps than pointers are kept for, and rows that take more than the scratch
    (20, 20,  32,   8, (15, 15), 1, Padding::all(7)),
    ( 3,  3, 2049,  3, (5, 5), 1, Padding::all(2)),
    // one channel to nine, one pixel, primes
    ( 1,  1,   1,   1, (1, 1), 1, Padding::all(0)),
    ( 1,  1,   9,  17, (1, 1), 1, Padding::all(0)),
    ( 5,  7,   1,   1, (3, 3), 1, Padding::all(1)),
    ( 5,  7,   2,   3, (3, 3), 1, Padding::all(1)),
    ( 5,  7,   5,   7, (3, 3), 2, Padding::all(1)),
    (11, 13,   7,  23, (5, 5), 3, Padding::all(2)),
    ( 2,  2,   6,  16, (3, 3), 1, Padding::all(2)),
    ( 3, 17,   8,  15, (1, 3), 1, Padding { top: 0, bottom: 0, left: 2, right: 1 }),
    ( 9,  4,   4,  33, (2, 3), 2, Padding { top: 1, bottom: 0, left: 0, right: 2 }),
    ( 6,  6,  33,  31, (3, 3), 5, Padding::all(0)),
];

fn weight(random: &mut Random) -> i8 {
    i8::try_from(i64::try_from(random.bits() % 255).unwrap() - 127).unwrap()
}

fn coin(random: &mut Random) -> bool {
    random.bits().is_multiple_of(2)
}

/// How a layer's numbers are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Data {
    Random,
    /// Everything at its end, so that a 16-bit sum anywhere would overflow.
    Extreme,
    /// Most values up to this, as after a ReLU, some at their end; weights at theirs.
    Rectified(u8),
}

struct Case {
    geometry: Geometry,
    plain: Vec<i8>,
    bias: Vec<i32>,
    scales: Vec<Scale>,
    input: Quant,
    output: Quant,
    residual: Option<Quant>,
    relu: bool,
    /// The input is a picture's bytes, stored as they are.
    picture: bool,
    border: Vec<u8>,
    x: Vec<u8>,
    r: Vec<u8>,
}

impl Case {
    fn new(geometry: Geometry, data: Data, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let depth = geometry.depth();
        let extreme = data != Data::Random;
        let plain = (0..geometry.out_c * depth)
            .map(|_| {
                if !extreme {
                    weight(&mut random)
                } else if coin(&mut random) {
                    -127
                } else {
                    127
                }
            })
            .collect();
        let x = (0..geometry.input_len())
            .map(|_| match data {
                Data::Random => random.byte(),
                Data::Extreme => 255 * u8::from(!random.bits().is_multiple_of(8)),
                Data::Rectified(_) if random.bits().is_multiple_of(200) => random.byte() | 64,
                Data::Rectified(most) => most * u8::from(coin(&mut random)),
            })
            .collect();
        let quant = |scale: f32, zero: u8| Quant::new(scale, i64::from(zero)).unwrap();
        Self {
            plain,
            x,
            bias: (0..geometry.out_c)
                .map(|_| i32::from(weight(&mut random)) * 300)
                .collect(),
            scales: (0..geometry.out_c)
                .map(|_| Scale::new(0.001 + f32::from(random.byte()) / 20_000.0).unwrap())
                .collect(),
            input: quant(0.02, random.byte()),
            #[allow(clippy::cast_precision_loss)]
            output: quant(0.012 * (depth as f32).sqrt(), random.byte()),
            residual: (coin(&mut random)).then(|| quant(0.05, random.byte())),
            relu: coin(&mut random),
            picture: geometry.in_c < 4,
            border: (0..geometry.in_c).map(|_| random.byte()).collect(),
            r: (0..geometry.output_len()).map(|_| random.byte()).collect(),
            geometry,
        }
    }

    /// The output's values, however the backend stores them.
    fn run(&self, backend: Backend, winograd: &Budget, pool: &Pool) -> Vec<u8> {
        let g = self.geometry;
        let storage = backend.storage();
        let weights =
            PackedWeights::new(&self.plain, g.out_c, g.depth(), backend.layout()).unwrap();
        let requant = Requant::new(
            storage,
            (self.input, self.output, self.residual),
            (&self.bias, &self.scales),
            weights.sums(),
            self.relu,
        );
        let input = if self.picture {
            Storage::Unsigned
        } else {
            storage
        };
        let flip = |bytes: &[u8], storage: Storage| -> Vec<u8> {
            bytes.iter().map(|b| b ^ storage.flip()).collect()
        };
        let conv = Conv {
            geometry: g,
            filter: Filter::Direct(Arc::new(weights)),
            input,
            border: flip(&self.border, input),
            requant: requant.unwrap(),
        };
        let conv = backend.prepare(conv, winograd);
        let mut y = vec![0xA5; g.output_len()];
        let residual = self.residual.map(|_| flip(&self.r, storage));
        backend.conv(
            pool,
            &conv,
            &flip(&self.x, input),
            residual.as_deref(),
            &mut y,
        );
        flip(&y, storage)
    }
}

/// Backends to test; what this machine lacks is said, or fails if required.
fn backends() -> Vec<Backend> {
    let required = std::env::var("RESNETD_REQUIRE_ISA").unwrap_or_default();
    for name in required.split(',').filter(|name| !name.is_empty()) {
        let isa: Isa = name
            .parse()
            .unwrap_or_else(|e| panic!("RESNETD_REQUIRE_ISA: {e}"));
        assert!(
            Backend::new(isa).is_some(),
            "required {isa}, which this processor lacks"
        );
    }
    for isa in Isa::ALL
        .into_iter()
        .filter(|&isa| Backend::new(isa).is_none())
    {
        eprintln!("SKIPPED: {isa} is not tested, this processor lacks it");
    }
    available().into_iter().filter_map(Backend::new).collect()
}

fn pool(threads: usize) -> Pool {
    Pool::new(threads.try_into().unwrap()).unwrap()
}

fn check(case: &Case, backends: &[Backend], pools: &[Pool], what: &str) {
    let scalar = Backend::new(Isa::Scalar).unwrap();
    let want = case.run(scalar, &Budget::none(), &pools[0]);
    let winograd = [
        "off".parse().unwrap(),
        "all".parse().unwrap(),
        Budget::nothing_kept(),
    ];
    for &backend in backends.iter().filter(|&&backend| backend != scalar) {
        for (pool, winograd) in pools
            .iter()
            .flat_map(|pool| winograd.iter().map(move |w| (pool, w)))
        {
            let got = case.run(backend, winograd, pool);
            if let Some(at) = (0..want.len()).find(|&i| want[i] != got[i]) {
                let (pixel, channel) = (at / case.geometry.out_c, at % case.geometry.out_c);
                panic!(
                    "{} (Winograd {winograd:?}, {} threads) differs from the reference at pixel {pixel}, channel {channel}: {} where {} is right; {what}, {:?}",
                    backend.isa(),
                    pool.threads(),
                    got[at],
                    want[at],
                    case.geometry
                );
            }
        }
    }
}

#[test]
fn every_backend_gives_the_bits_of_the_reference() {
    let (backends, pools) = (backends(), [pool(1), pool(3)]);
    for (i, &(h, w, in_c, out_c, kernel, stride, pad)) in SHAPES.iter().enumerate() {
        let g = Geometry::new((h, w), (in_c, out_c), kernel, (stride, stride), pad).unwrap();
        for data in [
            Data::Random,
            Data::Extreme,
            Data::Rectified(64),
            Data::Rectified(128),
        ] {
            for seed in 0..2 {
                let case = Case::new(g, data, seed * 1000 + i as u64);
                check(&case, &backends, &pools, &format!("{data:?} seed {seed}"));
            }
        }
    }
}

#[test]
fn sums_are_neither_all_clamped_nor_all_equal() {
    // the comparison above would prove little if every output were 0 or 255
    let g = Geometry::new((9, 9), (16, 32), (3, 3), (1, 1), Padding::all(1)).unwrap();
    let y = Case::new(g, Data::Random, 7).run(
        Backend::new(Isa::Scalar).unwrap(),
        &Budget::none(),
        &pool(1),
    );
    let inner = y.iter().filter(|&&v| v != 0 && v != 255).count();
    assert!(inner * 3 > y.len(), "{inner} of {} are in range", y.len());
}

#[test]
fn sums_beyond_any_integer_are_clamped_alike() {
    let g = Geometry::new((5, 5), (16, 80), (1, 1), (1, 1), Padding::all(0)).unwrap();
    for seed in 0..4 {
        let mut case = Case::new(g, Data::Random, seed);
        (case.input.scale, case.output.scale) =
            (Scale::new(1e6).unwrap(), Scale::new(1e-6).unwrap());
        check(&case, &backends(), &[pool(1)], "scales far apart");
    }
}

#[test]
fn every_backend_agrees_on_the_dense_layer() {
    for (depth, classes) in [(1, 1), (3, 5), (64, 10), (2048, 1000), (33, 17)] {
        let mut random = Random::new(depth as u64);
        let plain: Vec<i8> = (0..depth * classes).map(|_| weight(&mut random)).collect();
        let x: Vec<u8> = (0..depth).map(|_| random.byte()).collect();
        let bias: Vec<i32> = (0..classes)
            .map(|c| i32::try_from(c).unwrap() * 77 - 300)
            .collect();
        let input = Quant::new(0.1, 7).unwrap();
        let run = |backend: Backend| {
            let weights = PackedWeights::new(&plain, classes, depth, backend.layout()).unwrap();
            let bias = fold_zero_point(backend.storage(), input, &bias, weights.sums()).unwrap();
            let dense = Dense {
                weights: Arc::new(weights),
                bias,
                multiplier: vec![0.0137; classes],
            };
            let mut y = vec![f32::NAN; classes];
            let stored: Vec<u8> = x.iter().map(|x| x ^ backend.storage().flip()).collect();
            backend.dense(&pool(2), &dense, &stored, &mut y);
            y
        };
        let want = run(Backend::new(Isa::Scalar).unwrap());
        for backend in backends() {
            assert_eq!(run(backend), want, "{} {depth}x{classes}", backend.isa());
        }
    }
}
