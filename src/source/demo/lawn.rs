//! The lawn that passes under the golf ball: a tile of drawn blades, laid out in perspective and
//! softer towards the back, and some blades that stand before the ball.

// Pixel coordinates, table positions and colours are bounded by sizes known here.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::f32::consts::TAU;

use super::canvas::{CHANNELS, Canvas, HEIGHT, Rgb, WIDTH, mix};
use super::golf::{CENTER_Y, RADIUS};
use super::noise::Random;

/// Side of the lawn's tile in texels: a power of two, which positions of fixed width come round to.
const TILE: usize = 1024;
const BLADES: usize = 52_000;
/// How many sizes of the tile are kept, each half of the one before.
const SIZES: usize = 6;
/// The row of the horizon, above the picture.
const HORIZON: f32 = -70.0;
/// Texels per pixel, times the rows below the horizon: at the ball's foot, one turn of the ball
/// passes the whole tile.
const SCALE: f32 = TILE as f32 / FOREGROUND * (CENTER_Y + 0.9 * RADIUS - HORIZON);
/// How much the lawn is foreshortened from front to back.
const DEPTH: f32 = 900.0;

/// One texel: R, G, B and nothing.
type Texel = [u8; 4];

pub struct Lawn {
    /// For each row of the picture, the line of the tile that it shows, as sharp as it shows it.
    lines: Vec<[Texel; TILE]>,
    foreground: Vec<Blade>,
}

/// A blade that stands before the ball's foot: where, how tall, how far it leans, its colour.
struct Blade {
    x: f32,
    height: f32,
    lean: f32,
    color: Rgb,
}

/// The way that the ball rolls in one turn, in pixels: then these blades and the tile come round.
const FOREGROUND: f32 = TAU * RADIUS;

impl Lawn {
    pub fn new() -> Self {
        let mut sizes = vec![blades()];
        for size in 1..SIZES {
            sizes.push(halved(&sizes[size - 1], TILE >> (size - 1)));
        }
        let mut random = Random(1);
        let foreground = (0..420)
            .map(|_| Blade {
                x: random.between(0.0, FOREGROUND),
                height: random.between(10.0, 34.0),
                lean: random.between(-12.0, 12.0),
                color: green(random.unit(), random.between(0.5, 1.1)),
            })
            .collect();
        Self {
            lines: (0..HEIGHT).map(|y| line(&sizes, y)).collect(),
            foreground,
        }
    }

    /// The whole picture; `turns` of the ball have passed by.
    pub fn draw(&self, turns: f32, canvas: &mut Canvas) {
        let scroll = turns * TILE as f32;
        // 16 bits before the point and 16 behind it.
        let fixed = |texels: f32| (texels * 65536.0) as i64 as u32;
        for (y, (row, line)) in canvas.rows().zip(&self.lines).enumerate() {
            let step = texels_per_pixel(y as f32);
            let mut u = fixed(scroll - step * (WIDTH / 2) as f32);
            let step = fixed(step);
            for pixel in row.chunks_exact_mut(CHANNELS) {
                pixel.copy_from_slice(&line[(u >> 16) as usize % TILE][..CHANNELS]);
                u = u.wrapping_add(step);
            }
        }
    }

    /// The blades before the foot of a ball at `center`.
    pub fn draw_foreground(&self, turns: f32, canvas: &mut Canvas, center: [f32; 2]) {
        for blade in &self.foreground {
            let x = (blade.x - turns * FOREGROUND).rem_euclid(FOREGROUND)
                - (FOREGROUND - WIDTH as f32) / 2.0;
            let off = (x - center[0]) / RADIUS;
            let round = 1.0 - off * off;
            if round < 0.25 {
                continue;
            }
            // Along the ball's edge, down to nothing towards its sides.
            let tall = (round - 0.25) / 0.75;
            let foot = center[1] + RADIUS * (0.72 + 0.3 * round.sqrt());
            let tip = [x + blade.lean * tall, foot - blade.height * tall];
            canvas.stroke([x, foot + 6.0 * tall], tip, 1.2, blade.color);
        }
    }
}

/// How many texels a pixel of row `y` spans from left to right.
fn texels_per_pixel(y: f32) -> f32 {
    SCALE / (y - HORIZON)
}

/// The line of the tile that row `y` of the picture shows, between the two sizes around the
/// sharpness that it needs.
fn line(sizes: &[Vec<Texel>], y: usize) -> [Texel; TILE] {
    let step = texels_per_pixel(y as f32);
    let step_down = step * DEPTH / (y as f32 - HORIZON);
    let blur = (step * step_down).sqrt().max(1.0);
    let (mut size, mut reach) = (0, 1.0);
    while size + 2 < SIZES && reach * 2.0 <= blur {
        reach *= 2.0;
        size += 1;
    }
    let share = ((blur / reach) - 1.0).clamp(0.0, 1.0);
    let v = (step * DEPTH) as usize % TILE;
    let at = |size: usize, u: usize| sizes[size][(v >> size) * (TILE >> size) + (u >> size)];
    std::array::from_fn(|u| {
        let (fine, coarse) = (at(size, u), at(size + 1, u));
        std::array::from_fn(|c| {
            let fine = f32::from(fine[c]);
            (fine + (f32::from(coarse[c]) - fine) * share) as u8
        })
    })
}

/// From dark green (0) to yellow-green (1), at a brightness.
fn green(share: f32, light: f32) -> Rgb {
    mix([38.0, 84.0, 24.0], [142.0, 176.0, 62.0], share).map(|v| v * light)
}

/// The tile: shade, and blades drawn over it, from the deep ones to the lit.
fn blades() -> Vec<Texel> {
    let mut tile = vec![texel(green(0.2, 0.45)); TILE * TILE];
    let mut random = Random(2);
    for blade in 0..BLADES {
        let high = blade as f32 / BLADES as f32;
        let color = green(random.unit() * (0.35 + 0.65 * high), 0.55 + 0.45 * high);
        let (root_x, root_y) = (random.bits() as u16, random.bits() as u16);
        let (lean, length) = (random.between(-0.7, 0.7), random.between(9.0, 26.0));
        let bend = random.between(-0.015, 0.015);
        for step in 0..length as u16 {
            let up = f32::from(step);
            let aside = (TILE as f32 + (lean + bend * up) * up) as usize;
            let x = usize::from(root_x) + aside;
            let row = usize::from(root_y.wrapping_sub(step)) % TILE * TILE;
            let lit = texel(color.map(|v| v * (1.0 + 0.25 * up / length)));
            tile[row + x % TILE] = lit;
            tile[row + (x + 1) % TILE] = lit;
        }
    }
    tile
}

fn texel(color: Rgb) -> Texel {
    let [r, g, b] = color.map(|v| v as u8);
    [r, g, b, 0]
}

fn halved(tile: &[Texel], side: usize) -> Vec<Texel> {
    let half = side / 2;
    (0..half * half)
        .map(|at| {
            let corner = at / half * 2 * side + at % half * 2;
            let four = [corner, corner + 1, corner + side, corner + side + 1];
            std::array::from_fn(|c| {
                let sum: u16 = four.iter().map(|&i| u16::from(tile[i][c])).sum();
                ((sum + 2) / 4) as u8
            })
        })
        .collect()
}
