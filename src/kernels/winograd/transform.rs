//! The three transforms. Those of inputs and outputs work on vectors of as many channels as a backend
//! holds, so that a tile passes through its registers.
#![allow(unsafe_code)] // vectors at pointers

/// Rows and columns of outputs in a tile.
pub const OUT: usize = 4;
/// Rows and columns of inputs that a tile sees.
pub const EDGE: usize = 6;
/// Products per tile, input and output channel.
pub const POINTS: usize = EDGE * EDGE;

/// A backend's vectors. Arithmetic wraps.
pub trait Vectors: Copy {
    /// Channels in a vector of 16-bit values; half as many 32-bit sums.
    const LANES: usize;
    type Values: Copy;
    type Sums: Copy;

    /// Bytes, of which `byte ^ flip` is signed, widened.
    ///
    /// # Safety
    /// `LANES` bytes are readable.
    unsafe fn load(self, bytes: *const u8, flip: u8) -> Self::Values;
    /// # Safety
    /// `LANES` values are writable.
    unsafe fn store(self, to: *mut i16, values: Self::Values);
    fn add(self, a: Self::Values, b: Self::Values) -> Self::Values;
    fn sub(self, a: Self::Values, b: Self::Values) -> Self::Values;
    /// `a + K * b`.
    fn add_times<const K: i16>(self, a: Self::Values, b: Self::Values) -> Self::Values;

    /// # Safety
    /// `LANES / 2` sums are readable.
    unsafe fn load_sums(self, from: *const i32) -> Self::Sums;
    /// # Safety
    /// `LANES / 2` sums are writable.
    unsafe fn store_sums(self, to: *mut i32, sums: Self::Sums);
    fn add_sums(self, a: Self::Sums, b: Self::Sums) -> Self::Sums;
    fn sub_sums(self, a: Self::Sums, b: Self::Sums) -> Self::Sums;
    /// `a * 2^N`.
    fn shift_sums<const N: i32>(self, a: Self::Sums) -> Self::Sums;
    /// `a + K * b`, `K` the sum of two powers of two at most.
    fn add_sums_times<const K: i32>(self, a: Self::Sums, b: Self::Sums) -> Self::Sums;
    /// The true sum of one that is 576 times it modulo 2^32: times [`NINTH`], shifted right by 6.
    fn exact(self, sum: Self::Sums) -> Self::Sums;
}

/// The inverse of 9 modulo 2^32.
pub const NINTH: i32 = 954_437_177;

/// `B^T d B`, within 100 * 128, of a vector of channels at `pixels`, of which `byte ^ flip` is signed.
/// Point `e` goes to `to + e * stride`.
///
/// # Safety
/// Each pixel has a vector of channels, and there is room for one at each point.
#[inline(always)]
pub unsafe fn input<V: Vectors>(
    v: V,
    pixels: &[*const u8; POINTS],
    flip: u8,
    to: *mut i16,
    stride: usize,
) {
    let d = six(
        #[inline(always)]
        |j| {
            let column = six(
                #[inline(always)]
                // SAFETY: the caller's promise.
                |i| unsafe { v.load(pixels[i * EDGE + j], flip) },
            );
            input_1d(v, column)
        },
    );
    for (i, row) in transposed(&d).into_iter().enumerate() {
        for (j, point) in input_1d(v, row).into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { v.store(to.add((i * EDGE + j) * stride), point) };
        }
    }
}

/// `N` rows of six from six columns of `N`.
#[inline(always)]
fn transposed<T: Copy, const N: usize>(columns: &[[T; N]; EDGE]) -> [[T; EDGE]; N] {
    std::array::from_fn(
        #[inline(always)]
        |i| {
            six(
                #[inline(always)]
                |j| columns[j][i],
            )
        },
    )
}

/// `[f(0), .., f(5)]`; unlike `std::array::from_fn` always inlined, into a function that may use the
/// backend's instructions.
#[inline(always)]
fn six<T>(f: impl Fn(usize) -> T) -> [T; EDGE] {
    [f(0), f(1), f(2), f(3), f(4), f(5)]
}

/// `B^T`: (4 0 -5 0 1 0)(0 -4 -4 1 1 0)(0 4 -4 -1 1 0)(0 -2 -1 2 1 0)(0 2 -1 -2 1 0)(0 4 0 -5 0 1).
#[inline(always)]
fn input_1d<V: Vectors>(v: V, d: [V::Values; EDGE]) -> [V::Values; EDGE] {
    let even = v.add_times::<-4>(d[4], d[2]);
    let odd = v.add_times::<-4>(d[3], d[1]);
    let even2 = v.sub(d[4], d[2]);
    let half = v.sub(d[3], d[1]);
    [
        v.add_times::<4>(even2, v.sub(d[0], d[2])),
        v.add(even, odd),
        v.sub(even, odd),
        v.add_times::<2>(even2, half),
        v.add_times::<-2>(even2, half),
        v.add_times::<-4>(v.sub(d[5], d[3]), half),
    ]
}

/// The sums of products of a tile's pixels for `channels` channels: `sums` is `[4][4][channels]`, of
/// points at `m + e * stride`.
///
/// # Safety
/// `channels` is a multiple of a vector's sums, as many sums are at each point, and `sums` has room.
#[inline(always)]
pub unsafe fn output<V: Vectors>(
    v: V,
    m: *const i32,
    stride: usize,
    channels: usize,
    sums: *mut i32,
) {
    for c in (0..channels).step_by(V::LANES / 2) {
        let columns = six(
            #[inline(always)]
            |j| {
                let column = six(
                    #[inline(always)]
                    // SAFETY: the caller's promise.
                    |i| unsafe { v.load_sums(m.add((i * EDGE + j) * stride + c)) },
                );
                output_1d(v, column)
            },
        );
        for (i, row) in transposed(&columns).into_iter().enumerate() {
            for (j, value) in output_1d(v, row).into_iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe { v.store_sums(sums.add((i * OUT + j) * channels + c), v.exact(value)) };
            }
        }
    }
}

/// `A^T`, the scales of `G` made up for: (1 1 1 1 1 0)(0 1 -1 2 -2 0)(0 1 1 4 4 0)(0 1 -1 8 -8 1) times
/// (6 4 4 1 1 24).
#[inline(always)]
fn output_1d<V: Vectors>(v: V, m: [V::Sums; EDGE]) -> [V::Sums; OUT] {
    let (plus, minus) = (v.add_sums(m[1], m[2]), v.sub_sums(m[1], m[2]));
    let (plus2, minus2) = (v.add_sums(m[3], m[4]), v.sub_sums(m[3], m[4]));
    let second = v.shift_sums::<1>(v.add_sums_times::<2>(minus2, minus));
    [
        v.add_sums_times::<6>(v.add_sums_times::<4>(plus2, plus), m[0]),
        second,
        v.shift_sums::<2>(v.add_sums(plus, plus2)),
        v.add_sums_times::<24>(v.add_sums_times::<6>(second, minus2), m[5]),
    ]
}

/// `G`, its rows scaled to integers: (1 0 0)(-1 -1 -1)(-1 1 -1)(1 2 4)(1 -2 4)(0 0 1).
#[inline(always)]
fn weights_1d<V: Vectors>(v: V, [a, b, c]: [V::Values; 3]) -> [V::Values; EDGE] {
    let twice = v.add(b, b);
    let second = v.sub(b, v.add(a, c));
    let ends = v.add_times::<4>(a, c);
    [
        a,
        v.sub(second, twice),
        second,
        v.add(ends, twice),
        v.sub(ends, twice),
        c,
    ]
}

/// `G g G^T`, within 49 * 127, of a vector of 3x3 kernels, whose nine are `step` bytes apart. Point `e` goes to
/// `to + e * stride`.
///
/// # Safety
/// There is a vector of each of the nine, and room for one at each point.
#[inline(always)]
pub unsafe fn weights<V: Vectors>(v: V, from: *const i8, step: usize, to: *mut i16, stride: usize) {
    // SAFETY: the caller's promise.
    let load = |k: usize| unsafe { v.load(from.add(k * step).cast(), 0) };
    let column = |j: usize| weights_1d(v, [load(j), load(3 + j), load(6 + j)]);
    let columns = [column(0), column(1), column(2)];
    let rows = six(
        #[inline(always)]
        |i| [columns[0][i], columns[1][i], columns[2][i]],
    );
    for (i, row) in rows.into_iter().enumerate() {
        for (j, point) in weights_1d(v, row).into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { v.store(to.add((i * EDGE + j) * stride), point) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Vectors of two values, or of one sum.
    #[derive(Clone, Copy)]
    struct Plain;

    impl Vectors for Plain {
        const LANES: usize = 2;
        type Values = [i16; 2];
        type Sums = i32;

        unsafe fn load(self, bytes: *const u8, flip: u8) -> [i16; 2] {
            // SAFETY: the caller's promise.
            let bytes = unsafe { bytes.cast::<[u8; 2]>().read() };
            bytes.map(|byte| i16::from((byte ^ flip).cast_signed()))
        }
        unsafe fn store(self, to: *mut i16, values: [i16; 2]) {
            // SAFETY: the caller's promise.
            unsafe { to.cast::<[i16; 2]>().write(values) }
        }
        fn add(self, a: [i16; 2], b: [i16; 2]) -> [i16; 2] {
            [0, 1].map(|i| a[i].wrapping_add(b[i]))
        }
        fn sub(self, a: [i16; 2], b: [i16; 2]) -> [i16; 2] {
            [0, 1].map(|i| a[i].wrapping_sub(b[i]))
        }
        fn add_times<const K: i16>(self, a: [i16; 2], b: [i16; 2]) -> [i16; 2] {
            [0, 1].map(|i| a[i].wrapping_add(b[i].wrapping_mul(K)))
        }
        unsafe fn load_sums(self, from: *const i32) -> i32 {
            // SAFETY: the caller's promise.
            unsafe { from.read() }
        }
        unsafe fn store_sums(self, to: *mut i32, sum: i32) {
            // SAFETY: the caller's promise.
            unsafe { to.write(sum) }
        }
        fn add_sums(self, a: i32, b: i32) -> i32 {
            a.wrapping_add(b)
        }
        fn sub_sums(self, a: i32, b: i32) -> i32 {
            a.wrapping_sub(b)
        }
        fn shift_sums<const N: i32>(self, a: i32) -> i32 {
            a.wrapping_shl(N.unsigned_abs())
        }
        fn add_sums_times<const K: i32>(self, a: i32, b: i32) -> i32 {
            a.wrapping_add(b.wrapping_mul(K))
        }
        fn exact(self, sum: i32) -> i32 {
            sum.wrapping_mul(NINTH) >> 6
        }
    }

    #[test]
    fn one_channel_gives_the_direct_sums_even_of_extreme_numbers() {
        let mut random = Random::new(3);
        for round in 0..300 {
            let mut draw = |end: i16| match round % 3 {
                0 => [-end, end - 1][usize::from(random.byte() & 1)],
                _ => i16::from(random.byte().cast_signed()).clamp(-end, end - 1),
            };
            let g: [i16; 9] = std::array::from_fn(|_| draw(127));
            let d: [[i16; EDGE]; EDGE] =
                std::array::from_fn(|_| std::array::from_fn(|_| draw(128)));
            let byte = |value: &i16| i8::try_from(*value).unwrap().cast_unsigned();
            let kernel = g.map(|value| [byte(&value).cast_signed(); 2]);
            let mut u = [[0i16; 2]; POINTS];
            // SAFETY: vectors of two values, and room for all points.
            unsafe { weights(Plain, kernel.as_ptr().cast(), 2, u.as_mut_ptr().cast(), 2) };
            let u = u.map(|[value, _]| value);
            assert!(u.iter().all(|u| u.abs() <= 49 * 127));
            let bytes: Vec<[u8; 2]> = d.iter().flatten().map(|value| [byte(value); 2]).collect();
            let pixels = std::array::from_fn(|e| bytes[e].as_ptr());
            let mut points = [[0i16; 2]; POINTS];
            let mut sums = [0; OUT * OUT];
            // SAFETY: vectors of two values and of one sum, and room for all points and pixels.
            unsafe {
                input(Plain, &pixels, 0, points.as_mut_ptr().cast(), 2);
                let products = points
                    .iter()
                    .zip(u)
                    .map(|(v, u)| i32::from(v[1]) * i32::from(u));
                let products: Vec<i32> = products.collect();
                output(Plain, products.as_ptr(), 1, 1, sums.as_mut_ptr());
            }
            for (p, value) in sums.into_iter().enumerate() {
                let (i, j) = (p / OUT, p % OUT);
                let direct = (0..9).map(|k| i32::from(g[k]) * i32::from(d[i + k / 3][j + k % 3]));
                assert_eq!(value, direct.sum::<i32>());
            }
        }
    }
}
