//! How fast each layer's arithmetic is: every convolution shape of a ResNet50, the stem, the pooling and the dense
//! layer, on every instruction set that this machine has, on one thread.
//!
//! ```text
//! cargo bench --bench kernels              everything; `Gitem/s` is G multiply-adds a second
//! cargo bench --bench kernels -- avx2      one instruction set
//! cargo bench --bench kernels -- 3x3       one kind of layer
//! ```

use std::fmt;
use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use resnetd::kernels::dispatch::available;
use resnetd::kernels::{
    Backend, Budget, Conv, Dense, Filter, Geometry, Isa, PackedWeights, Padding, Pool, Quant,
    Requant, Scale, Storage, pool,
};

fn main() {
    divan::main();
}

/// Input size, input and output channels, kernel, stride, and whether a shortcut is added.
type Shape = (usize, usize, usize, usize, usize, bool);

/// Each distinct convolution of a ResNet50 at 224 x 224, in the order in which it first runs.
#[rustfmt::skip]
const SHAPES: [Shape; 24] = [
    (224,    3,   64, 7, 2, false),
    ( 56,   64,   64, 1, 1, false),
    ( 56,   64,   64, 3, 1, false),
    ( 56,   64,  256, 1, 1, false),
    ( 56,   64,  256, 1, 1, true),
    ( 56,  256,   64, 1, 1, false),
    ( 56,  256,  128, 1, 1, false),
    ( 56,  128,  128, 3, 2, false),
    ( 56,  256,  512, 1, 2, false),
    ( 28,  128,  512, 1, 1, true),
    ( 28,  512,  128, 1, 1, false),
    ( 28,  128,  128, 3, 1, false),
    ( 28,  512,  256, 1, 1, false),
    ( 28,  256,  256, 3, 2, false),
    ( 28,  512, 1024, 1, 2, false),
    ( 14,  256, 1024, 1, 1, true),
    ( 14, 1024,  256, 1, 1, false),
    ( 14,  256,  256, 3, 1, false),
    ( 14, 1024,  512, 1, 1, false),
    ( 14,  512,  512, 3, 2, false),
    ( 14, 1024, 2048, 1, 2, false),
    (  7,  512, 2048, 1, 1, true),
    (  7, 2048,  512, 1, 1, false),
    (  7,  512,  512, 3, 1, false),
];

/// What is run, on what.
struct Case {
    isa: Isa,
    shape: Shape,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, input, output, kernel, stride, add) = self.shape;
        let add = if add { "+add" } else { "" };
        let isa = self.isa;
        write!(
            f,
            "{isa} {kernel}x{kernel}/{stride} {size}x{size} {input}->{output}{add}"
        )
    }
}

fn cases() -> impl Iterator<Item = Case> {
    let on_each = |shape| isas().map(move |isa| Case { isa, shape });
    SHAPES.into_iter().flat_map(on_each)
}

/// The reference takes seconds for each layer and is nobody's choice.
fn isas() -> impl Iterator<Item = Isa> {
    available().into_iter().filter(|&isa| isa != Isa::Scalar)
}

fn backend(isa: Isa) -> Backend {
    Backend::new(isa).expect("available")
}

/// No pattern.
fn bytes(count: usize) -> Vec<u8> {
    let hash = |i: usize| i.wrapping_mul(2_654_435_761).to_le_bytes()[3];
    (0..count).map(hash).collect()
}

/// As after a ReLU, which AVX2's time depends on: a quarter of the range, and one in 256 above half of it.
fn activations(count: usize) -> Vec<u8> {
    let value = |byte| if byte == 255 { 200 } else { byte / 4 };
    bytes(count).into_iter().map(value).collect()
}

fn weights(out_c: usize, depth: usize, backend: Backend) -> PackedWeights {
    let plain: Vec<i8> = bytes(out_c * depth)
        .into_iter()
        .map(|byte| byte.cast_signed().max(-127))
        .collect();
    PackedWeights::new(&plain, out_c, depth, backend.layout()).expect("no weight is -128")
}

fn quant(scale: f32, zero: i64) -> Quant {
    Quant::new(scale, zero).expect("a sound scale")
}

fn layer(shape: Shape, backend: Backend) -> Conv {
    let (size, in_c, out_c, kernel, stride, add) = shape;
    let pad = Padding::all(kernel / 2);
    let window = ((kernel, kernel), (stride, stride));
    let geometry =
        Geometry::new((size, size), (in_c, out_c), window.0, window.1, pad).expect("a sound shape");
    let weights = weights(out_c, geometry.depth(), backend);
    let scales = vec![Scale::new(0.01).expect("a sound scale"); out_c];
    let requant = Requant::new(
        backend.storage(),
        (
            quant(0.02, 0),
            quant(0.5, 128),
            add.then(|| quant(0.3, 128)),
        ),
        (&vec![0; out_c], &scales),
        weights.sums(),
        true,
    );
    let conv = Conv {
        geometry,
        filter: Filter::Direct(Arc::new(weights)),
        input: if in_c == 3 {
            Storage::Unsigned
        } else {
            backend.storage()
        },
        border: vec![0; in_c],
        requant: requant.expect("no sum overflows"),
    };
    backend.prepare(conv, &Budget::selected().expect("a plan"))
}

#[divan::bench(args = cases())]
fn convolution(bencher: Bencher, case: &Case) {
    let backend = backend(case.isa);
    let layer = layer(case.shape, backend);
    let g = layer.geometry;
    let x = if g.in_c == 3 {
        bytes(g.input_len())
    } else {
        activations(g.input_len())
    };
    let residual = layer.requant.residual.map(|_| bytes(g.output_len()));
    let mut y = vec![0; g.output_len()];
    let serial = Pool::serial();
    bencher.counter(ItemsCount::new(g.macs())).bench_local(|| {
        let residual = residual.as_deref();
        backend.conv(&serial, &layer, black_box(&x), residual, &mut y);
    });
}

#[divan::bench(args = isas())]
fn dense_2048_to_1000(bencher: Bencher, isa: Isa) {
    let (depth, classes) = (2048, 1000);
    let backend = backend(isa);
    let dense = Dense {
        weights: Arc::new(weights(classes, depth, backend)),
        bias: vec![0; classes],
        multiplier: vec![0.01; classes],
    };
    let x = bytes(depth);
    let mut y = vec![0.0; classes];
    let serial = Pool::serial();
    bencher
        .counter(ItemsCount::new(depth * classes))
        .bench_local(|| backend.dense(&serial, &dense, black_box(&x), &mut y));
}

/// The counter is of compared values.
#[divan::bench]
fn maximum_3x3_of_112x112x64(bencher: Bencher) {
    let g = Geometry::new((112, 112), (64, 64), (3, 3), (2, 2), Padding::all(1))
        .expect("a sound shape");
    let x = bytes(g.input_len());
    let mut y = vec![0; g.output_len()];
    let serial = Pool::serial();
    bencher
        .counter(ItemsCount::new(9 * g.output_len()))
        .bench_local(|| pool::max(&serial, Storage::Unsigned, &g, black_box(&x), &mut y));
}
