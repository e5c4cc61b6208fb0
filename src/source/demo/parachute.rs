//! A parachute that sways down before clouds, a figure hanging from it.
//!
//! The canopy is the upper part of an ellipsoid with striped gores, seen from a little below: a ray
//! for each pixel meets its outside or, near the rim, the inside of its far half.

// Pixel coordinates and colours are bounded by sizes known here.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::f32::consts::TAU;

use super::canvas::{
    CHANNELS, Canvas, HEIGHT, Rgb, Rotation, Vec3, WIDTH, dot, mix, normalize, span,
};
use super::noise::layered;
use super::wave;

/// Half the width of the canopy, and its height, in pixels.
const WIDE: f32 = 168.0;
const TALL: f32 = 118.0;
/// From the middle of the rim down to where the lines meet.
const HANG: f32 = 195.0;
const GORES: u8 = 16;
/// The rim, in heights above the ellipsoid's middle.
const RIM: f32 = 0.12;

/// The gores' colours, in turn.
const COLORS: [Rgb; 4] = [
    [0.86, 0.10, 0.09],
    [0.93, 0.91, 0.86],
    [0.10, 0.20, 0.62],
    [0.93, 0.91, 0.86],
];

pub struct Parachute {
    /// Clouds over a sky, wider and taller than the picture: R, G, B; comes round in x.
    sky: Vec<u8>,
}

const SKY_WIDTH: usize = 1024;
const SKY_HEIGHT: usize = HEIGHT + 32;

impl Parachute {
    pub fn new() -> Self {
        Self { sky: clouds() }
    }

    pub fn draw(&self, index: u64, canvas: &mut Canvas) {
        self.draw_sky(index, canvas);
        let sun = normalize([-0.5 + 0.25 * wave(index, 640, 0.2), 0.75, 0.45]);
        let sway = 0.13 * wave(index, 72, 0.0);
        let turned = Rotation::in_plane(2, 0, 0.45 * wave(index, 460, 0.0) + 0.1)
            .then(Rotation::in_plane(0, 1, sway))
            .then(Rotation::in_plane(
                1,
                2,
                -0.28 + 0.05 * wave(index, 150, 0.0),
            ));
        // It swings about a point above the canopy.
        let middle = [
            320.0 + 16.0 * wave(index, 230, 0.5) - 30.0 * sway,
            166.0 + 8.0 * wave(index, 170, 0.1),
        ];
        draw_lines(canvas, middle, turned);
        draw_canopy(canvas, middle, turned, sun);
        draw_figure(canvas, middle, turned);
    }

    fn draw_sky(&self, index: u64, canvas: &mut Canvas) {
        let across = (index / 3 % SKY_WIDTH as u64) as usize;
        let down = (16.0 + 15.0 * wave(index, 520, 0.0)) as usize;
        for (y, row) in canvas.rows().enumerate() {
            let line = &self.sky[(y + down) * SKY_WIDTH * CHANNELS..][..SKY_WIDTH * CHANNELS];
            let first = (SKY_WIDTH - across).min(WIDTH);
            let (left, right) = row.split_at_mut(first * CHANNELS);
            left.copy_from_slice(&line[across * CHANNELS..][..left.len()]);
            right.copy_from_slice(&line[..right.len()]);
        }
    }
}

/// A cloud is lit where it is thinner this many rows above, dark where it is thicker: the sun stands high.
const SHADE: usize = 20;

fn clouds() -> Vec<u8> {
    let thick: Vec<f32> = (0..SKY_WIDTH * (SKY_HEIGHT + SHADE))
        .map(|at| {
            let (x, y) = ((at % SKY_WIDTH) as f32, (at / SKY_WIDTH) as f32);
            layered(x / 128.0, y / 80.0, 8, 5, 3)
        })
        .collect();
    let above = thick.iter();
    let here = thick[SKY_WIDTH * SHADE..].iter();
    let mut sky = Vec::with_capacity(SKY_WIDTH * SKY_HEIGHT * CHANNELS);
    for (at, (here, above)) in here.zip(above).enumerate() {
        let low = (at / SKY_WIDTH) as f32 / SKY_HEIGHT as f32;
        let blue = mix([74.0, 128.0, 204.0], [158.0, 196.0, 232.0], low);
        let cover = ((here - 0.48) * 4.0).clamp(0.0, 1.0);
        let lit = (here - above) * 84.0;
        let white = [236.0, 240.0, 246.0].map(|c: f32| (c + lit).min(252.0));
        sky.extend(mix(blue, white, cover * 0.9).map(|c| c as u8));
    }
    sky
}

/// From the canopy's own axes (units of its half width and height) to the picture.
fn project(middle: [f32; 2], turned: Rotation, point: Vec3) -> [f32; 2] {
    let seen = turned.outward([point[0] * WIDE, point[1] * TALL, point[2] * WIDE]);
    [middle[0] + seen[0], middle[1] - seen[1]]
}

fn draw_canopy(canvas: &mut Canvas, middle: [f32; 2], turned: Rotation, sun: Vec3) {
    let sun = turned.inward(sun);
    // In units of the half axes the ellipsoid is a sphere. A ray goes away from the viewer.
    let unit = |v: Vec3| [v[0] / WIDE, v[1] / TALL, v[2] / WIDE];
    let ray = unit(turned.inward([0.0, 0.0, -1.0]));
    let (right_step, up_step) = (
        unit(turned.inward([1.0, 0.0, 0.0])),
        unit(turned.inward([0.0, 1.0, 0.0])),
    );
    let inverse = 1.0 / dot(ray, ray);
    let (top, bottom) = span(middle[1] - TALL - 30.0, middle[1] + TALL * 0.7, HEIGHT);
    let (left, right) = span(middle[0] - WIDE - 4.0, middle[0] + WIDE + 4.0, WIDTH);
    for y in top..bottom {
        let up = middle[1] - y as f32;
        for x in left..right {
            let across = x as f32 - middle[0];
            let start: Vec3 = std::array::from_fn(|c| right_step[c] * across + up_step[c] * up);
            let b = dot(start, ray);
            let root = b * b - dot(ray, ray) * (dot(start, start) - 1.0);
            if root < 0.0 {
                continue;
            }
            let root = root.sqrt();
            let at = |t: f32| -> Vec3 { std::array::from_fn(|c| start[c] + ray[c] * t) };
            let (near, far) = (at((-b - root) * inverse), at((-b + root) * inverse));
            if let Some(color) = cloth(near, sun, true).or_else(|| cloth(far, sun, false)) {
                canvas.blend(x, y, color, 1.0);
            }
        }
    }
}

/// The colour of the canopy at a point of the unit sphere; nothing below the scalloped rim.
fn cloth(point: Vec3, sun: Vec3, outside: bool) -> Option<Rgb> {
    if point[1] < RIM {
        return None;
    }
    let turns = libm::atan2f(point[2], point[0]) / TAU + 0.5;
    let along = turns * f32::from(GORES);
    let gore = along as usize;
    // -1 at one seam of the gore, 1 at the other.
    let across = (along - gore as f32) * 2.0 - 1.0;
    if point[1] < RIM + 0.07 * (1.0 - across * across) {
        return None;
    }
    // Each gore bulges between its seams.
    let bulge = 0.45 * across;
    let normal = normalize([
        point[0] / WIDE - bulge * point[2] / WIDE,
        point[1] / TALL,
        point[2] / WIDE + bulge * point[0] / WIDE,
    ]);
    let facing = dot(normal, sun);
    let light = if outside {
        0.32 + 0.68 * facing.max(0.0)
    } else {
        0.20 + 0.25 * facing.max(0.0)
    };
    let seam = if across.abs() > 0.93 { 0.72 } else { 1.0 };
    let color = COLORS[gore % COLORS.len()];
    Some(color.map(|c| 255.0 * (c * light * seam).clamp(0.0, 1.0).sqrt()))
}

/// Where the lines meet, above the figure's shoulders.
fn riser(side: f32) -> Vec3 {
    [side * 9.0 / WIDE, -HANG / TALL, 0.0]
}

fn draw_lines(canvas: &mut Canvas, middle: [f32; 2], turned: Rotation) {
    let ring = (1.0 - RIM * RIM).sqrt();
    for gore in 0..GORES {
        let around = f32::from(gore) / f32::from(GORES) * TAU;
        let rim = [ring * libm::cosf(around), RIM, ring * libm::sinf(around)];
        let end = riser(if rim[0] < 0.0 { -1.0 } else { 1.0 });
        let (from, to) = (project(middle, turned, rim), project(middle, turned, end));
        canvas.stroke(from, to, 0.7, [70.0, 72.0, 80.0]);
    }
}

fn draw_figure(canvas: &mut Canvas, middle: [f32; 2], turned: Rotation) {
    let suit = [44.0, 48.0, 62.0];
    let skin = [176.0, 132.0, 108.0];
    let mut limb = |from: [f32; 2], to: [f32; 2], radius: f32, color: Rgb| {
        let at = |p: [f32; 2]| project(middle, turned, [p[0] / WIDE, (p[1] - HANG) / TALL, 0.0]);
        canvas.stroke(at(from), at(to), radius, color);
    };
    for side in [-1.0, 1.0] {
        limb([side * 9.0, 0.0], [side * 11.0, -22.0], 2.4, suit);
        limb([side * 11.0, -22.0], [side * 9.0, -34.0], 3.4, suit);
        limb([side * 5.0, -62.0], [side * 9.0, -84.0], 4.6, suit);
        limb([side * 9.0, -84.0], [side * 8.0, -106.0], 3.8, suit);
    }
    limb([0.0, -36.0], [0.0, -62.0], 9.0, suit);
    limb([0.0, -36.0], [0.0, -54.0], 5.0, [150.0, 40.0, 36.0]);
    limb([0.0, -20.0], [0.0, -21.0], 6.5, skin);
    limb([0.0, -17.0], [0.0, -18.0], 6.0, [60.0, 60.0, 66.0]);
}
