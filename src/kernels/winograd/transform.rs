//! The three transforms, over `LANES` channels at a time, which the compiler turns into vectors.

/// Channels transformed together.
pub const LANES: usize = 16;
/// Rows and columns of outputs in a tile.
pub const OUT: usize = 4;
/// Rows and columns of inputs that a tile sees.
pub const EDGE: usize = 6;
/// Products per tile, input and output channel.
pub const POINTS: usize = EDGE * EDGE;

/// A tile's inputs for sixteen channels, `[6][6][16]`.
pub struct Input([[[i16; LANES]; EDGE]; EDGE]);

impl Input {
    /// Reads channels `c ..` of the pixels; `byte ^ flip` is signed.
    #[inline(always)]
    pub fn load(pixels: &[[&[u8]; EDGE]; EDGE], c: usize, flip: u8) -> Self {
        let mut values = [[[0; LANES]; EDGE]; EDGE];
        for (values, pixels) in values.iter_mut().zip(pixels) {
            for (values, pixel) in values.iter_mut().zip(pixels) {
                let pixel = &pixel[c..c + LANES];
                for (value, &byte) in values.iter_mut().zip(pixel) {
                    *value = i16::from((byte ^ flip).cast_signed());
                }
            }
        }
        Self(values)
    }

    /// `B^T d B`, within 100 * 128.
    #[inline(always)]
    pub fn transform(&mut self) {
        let d = &mut self.0;
        for j in 0..EDGE {
            for c in 0..LANES {
                let column = input(std::array::from_fn(|i| d[i][j][c]));
                (0..EDGE).for_each(|i| d[i][j][c] = column[i]);
            }
        }
        for row in d {
            for c in 0..LANES {
                let values = input(std::array::from_fn(|j| row[j][c]));
                (0..EDGE).for_each(|j| row[j][c] = values[j]);
            }
        }
    }

    #[inline(always)]
    pub fn points(&self) -> impl Iterator<Item = &[i16; LANES]> {
        self.0.iter().flatten()
    }
}

/// `B^T`: (4 0 -5 0 1 0)(0 -4 -4 1 1 0)(0 4 -4 -1 1 0)(0 -2 -1 2 1 0)(0 2 -1 -2 1 0)(0 4 0 -5 0 1).
#[inline(always)]
fn input(d: [i16; EDGE]) -> [i16; EDGE] {
    let times = |a: i16, k: i16| a.wrapping_mul(k);
    let add = i16::wrapping_add;
    let sub = i16::wrapping_sub;
    let even = sub(d[4], times(d[2], 4));
    let odd = sub(d[3], times(d[1], 4));
    let even2 = sub(d[4], d[2]);
    let odd2 = times(sub(d[3], d[1]), 2);
    [
        add(times(sub(d[0], d[2]), 4), even2),
        add(even, odd),
        sub(even, odd),
        add(even2, odd2),
        sub(even2, odd2),
        sub(sub(d[5], d[3]), times(sub(d[3], d[1]), 4)),
    ]
}

/// `G`, its rows scaled to integers: (1 0 0)(-1 -1 -1)(-1 1 -1)(1 2 4)(1 -2 4)(0 0 1).
#[inline(always)]
fn weight([a, b, c]: [i16; 3]) -> [i16; EDGE] {
    [
        a,
        -a - b - c,
        -a + b - c,
        a + 2 * b + 4 * c,
        a - 2 * b + 4 * c,
        c,
    ]
}

/// `G g G^T` of a 3x3 kernel, within 49 * 127.
#[inline(always)]
pub fn weights(g: [i16; 9]) -> [i16; POINTS] {
    let columns: [_; 3] = std::array::from_fn(|j| weight([g[j], g[3 + j], g[6 + j]]));
    let mut points = [0; POINTS];
    for (i, row) in points.chunks_exact_mut(EDGE).enumerate() {
        row.copy_from_slice(&weight(std::array::from_fn(|j| columns[j][i])));
    }
    points
}

/// The kernel that [`weights`] was given.
pub fn untransformed(points: &[i16; POINTS]) -> [i16; 9] {
    let middle = |first: i16, second: i16, last: i16| -(second + first + last);
    let row = |i: usize| {
        let p = &points[i * EDGE..];
        [p[0], middle(p[0], p[1], p[5]), p[5]]
    };
    let (first, second, last) = (row(0), row(1), row(5));
    let mut g = [0; 9];
    for j in 0..3 {
        g[j] = first[j];
        g[3 + j] = middle(first[j], second[j], last[j]);
        g[6 + j] = last[j];
    }
    g
}

/// `A^T`, the scales of `G` made up for: (1 1 1 1 1 0)(0 1 -1 2 -2 0)(0 1 1 4 4 0)(0 1 -1 8 -8 1) times
/// (6 4 4 1 1 24), modulo 2^32.
#[inline(always)]
fn output_1d(m: [i32; EDGE]) -> [i32; OUT] {
    let times = |a: i32, k: i32| a.wrapping_mul(k);
    let add = i32::wrapping_add;
    let sub = i32::wrapping_sub;
    let (plus, minus) = (add(m[1], m[2]), sub(m[1], m[2]));
    let (plus2, minus2) = (add(m[3], m[4]), sub(m[3], m[4]));
    let minus4 = times(minus, 4);
    [
        add(add(times(m[0], 6), times(plus, 4)), plus2),
        add(minus4, times(minus2, 2)),
        times(add(plus, plus2), 4),
        add(add(minus4, times(minus2, 8)), times(m[5], 24)),
    ]
}

/// The inverse of 9 modulo 2^32.
const NINTH: i32 = 954_437_177;

/// The sums of products of a tile's pixels, for sixteen channels: `[4][4][16]`.
#[inline(always)]
pub fn output<'a>(point: impl Fn(usize) -> &'a [i32; LANES]) -> [[[i32; LANES]; OUT]; OUT] {
    let mut half = [[[0; LANES]; EDGE]; OUT];
    for j in 0..EDGE {
        let column: [_; EDGE] = std::array::from_fn(|i| point(i * EDGE + j));
        for c in 0..LANES {
            let values = output_1d(std::array::from_fn(|i| column[i][c]));
            (0..OUT).for_each(|i| half[i][j][c] = values[i]);
        }
    }
    let mut sums = [[[0; LANES]; OUT]; OUT];
    for (sums, half) in sums.iter_mut().zip(&half) {
        for c in 0..LANES {
            let values = output_1d(std::array::from_fn(|j| half[j][c]));
            (0..OUT).for_each(|j| sums[j][c] = values[j].wrapping_mul(NINTH) >> 6);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

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
            let u = weights(g);
            assert_eq!(untransformed(&u), g);
            assert!(u.iter().all(|u| u.abs() <= 49 * 127));
            let mut v = Input(d.map(|row| row.map(|value| [value; LANES])));
            v.transform();
            let points: Vec<[i32; LANES]> = v
                .points()
                .zip(u)
                .map(|(v, u)| v.map(|v| i32::from(v) * i32::from(u)))
                .collect();
            let y = output(|e| &points[e]);
            for (i, row) in y.iter().enumerate() {
                for (j, value) in row.iter().enumerate() {
                    let direct =
                        (0..9).map(|k| i32::from(g[k]) * i32::from(d[i + k / 3][j + k % 3]));
                    assert_eq!(value[0], direct.sum::<i32>());
                }
            }
        }
    }
}
