//! A golf ball that rolls over a lawn, the camera beside it.
//!
//! The ball is a sphere whose dimples (at Fibonacci points) are looked up in a map of its surface;
//! the grass is [`super::lawn`]'s.

// Pixel coordinates, table positions and colours are bounded by sizes known here.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::f32::consts::TAU;

use super::canvas::{Canvas, HEIGHT, Rgb, Rotation, Vec3, WIDTH, dot, normalize, span};
use super::lawn::Lawn;
use super::{angle, wave};

/// Radius of the ball in pixels.
pub const RADIUS: f32 = 128.0;
/// One turn of the ball in this many pictures.
const TURN: u16 = 260;
/// The row in which the ball's centre lies, before the camera's drift.
pub const CENTER_Y: f32 = 236.0;

pub struct Golf {
    lawn: Lawn,
    ball: Ball,
}

impl Golf {
    pub fn new() -> Self {
        Self {
            lawn: Lawn::new(),
            ball: Ball::new(),
        }
    }

    pub fn draw(&self, index: u64, canvas: &mut Canvas) {
        let sun = normalize([-0.45 + 0.2 * wave(index, 700, 0.1), 0.8, 0.5]);
        let center = [
            320.0 + 22.0 * wave(index, 190, 0.0),
            CENTER_Y + 8.0 * wave(index, 130, 0.4),
        ];
        let rolled = angle(index, TURN);
        self.lawn.draw(rolled / TAU, canvas);
        shadow(canvas, center, sun);
        self.ball.draw(
            canvas,
            center,
            attitude(rolled, 0.5 * wave(index, 410, 0.0)),
            sun,
        );
        self.lawn.draw_foreground(rolled / TAU, canvas, center);
    }
}

/// How the ball is turned: it has rolled so far to the right, about an axis that wavers a little.
fn attitude(rolled: f32, waver: f32) -> Rotation {
    Rotation::in_plane(1, 2, 0.9)
        .then(Rotation::in_plane(0, 1, -rolled))
        .then(Rotation::in_plane(0, 2, waver))
}

/// The dark patch on the lawn, away from the sun, darkest where the ball stands.
fn shadow(canvas: &mut Canvas, center: [f32; 2], sun: Vec3) {
    let foot = [center[0], center[1] + RADIUS * 0.86];
    for (shift, width, height, depth) in [(0.55, 1.25, 0.42, 0.5), (0.08, 0.8, 0.2, 0.6)] {
        let x0 = foot[0] - sun[0] * shift * RADIUS * 1.6;
        let (half_w, half_h) = (RADIUS * width, RADIUS * height);
        let (top, bottom) = span(foot[1] - half_h, foot[1] + half_h, HEIGHT);
        let (left, right) = span(x0 - half_w, x0 + half_w, WIDTH);
        for y in top..bottom {
            let v = (y as f32 - foot[1]) / half_h;
            for x in left..right {
                let u = (x as f32 - x0) / half_w;
                let inside = 1.0 - (u * u + v * v);
                if inside > 0.0 {
                    let light = 1.0 - depth * (inside * 1.8).min(1.0);
                    canvas.scale(x, y, [light, light, light + (1.0 - light) * 0.12]);
                }
            }
        }
    }
}

/// Side of the map of the ball's surface.
const MAP: usize = 320;
const DIMPLES: u16 = 336;
/// Radius of a dimple, in radians.
const DIMPLE: f32 = 0.098;

/// A point of the ball's surface, in the ball's own axes: where it faces, and how much of the sky
/// it sees.
#[derive(Clone, Copy)]
struct Relief {
    normal: Vec3,
    open: f32,
}

/// The directions that matter for shading, in the ball's own axes.
struct Light {
    sun: Vec3,
    /// Halfway between the sun and the viewer.
    half: Vec3,
    up: Vec3,
}

struct Ball {
    /// In the octahedral layout (Meyer et al. 2010): a sphere unfolded to a square.
    surface: Vec<Relief>,
}

impl Ball {
    fn new() -> Self {
        let dimples: Vec<Vec3> = (0..DIMPLES).map(fibonacci).collect();
        let surface = (0..MAP * MAP)
            .map(|at| {
                let unfold = |cell: usize| (cell as f32 + 0.5) / MAP as f32 * 2.0 - 1.0;
                relief(from_square(unfold(at % MAP), unfold(at / MAP)), &dimples)
            })
            .collect();
        Self { surface }
    }

    fn draw(&self, canvas: &mut Canvas, center: [f32; 2], attitude: Rotation, sun: Vec3) {
        let light = Light {
            sun: attitude.inward(sun),
            half: attitude.inward(normalize([sun[0], sun[1], sun[2] + 1.0])),
            up: attitude.inward([0.0, 1.0, 0.0]),
        };
        let (top, bottom) = span(center[1] - RADIUS - 1.0, center[1] + RADIUS + 1.0, HEIGHT);
        let (left, right) = span(center[0] - RADIUS - 1.0, center[0] + RADIUS + 1.0, WIDTH);
        for y in top..bottom {
            let ny = (center[1] - y as f32) / RADIUS;
            for x in left..right {
                let nx = (x as f32 - center[0]) / RADIUS;
                let distance = (nx * nx + ny * ny).sqrt();
                let cover = ((1.0 - distance) * RADIUS + 0.5).clamp(0.0, 1.0);
                if cover > 0.0 {
                    let normal = [nx, ny, (1.0 - distance * distance).max(0.0).sqrt()];
                    canvas.blend(x, y, self.shade(attitude.inward(normal), &light), cover);
                }
            }
        }
    }

    /// The colour of the surface at `point`.
    fn shade(&self, point: Vec3, light: &Light) -> Rgb {
        let Relief { normal, open } = self.surface[to_square(point)];
        let direct = dot(normal, light.sun).max(0.0);
        let up = dot(normal, light.up);
        // The highlight: the 16th power.
        let shine = dot(normal, light.half).max(0.0);
        let shine = shine * shine;
        let shine = shine * shine;
        let shine = shine * shine;
        let shine = 0.16 * shine * shine;
        // Light from the sky above, and green light from the lawn below.
        let sky = (0.5 + 0.5 * up) * open;
        let lawn = (0.5 - 0.5 * up) * open;
        let ambient = [
            0.26 * sky + 0.10 * lawn,
            0.29 * sky + 0.17 * lawn,
            0.34 * sky + 0.05 * lawn,
        ];
        let warm = [0.66, 0.64, 0.60];
        std::array::from_fn(|c| 255.0 * (warm[c] * direct + ambient[c] + shine).min(1.0).sqrt())
    }
}

/// Point `i` of the spiral that spreads points evenly over a sphere.
fn fibonacci(i: u16) -> Vec3 {
    let z = 1.0 - (2.0 * f32::from(i) + 1.0) / f32::from(DIMPLES);
    let ring = (1.0 - z * z).sqrt();
    // The golden angle, the turns taken off before f32 loses them.
    let turns = f64::from(i) * 0.381_966_011_250_105;
    let around = (turns - turns.floor()) as f32 * TAU;
    [ring * libm::cosf(around), ring * libm::sinf(around), z]
}

fn relief(point: Vec3, dimples: &[Vec3]) -> Relief {
    let flat = Relief {
        normal: point,
        open: 1.0,
    };
    // Points of the spiral follow each other by height: only those at this height can be near.
    let place = (1.0 - point[2]) * 0.5 * f32::from(DIMPLES);
    let reach = DIMPLE * 0.5 * f32::from(DIMPLES) + 1.0;
    let (from, to) = span(place - reach, place + reach, dimples.len());
    let nearest = dimples[from..to]
        .iter()
        .max_by(|a, b| dot(**a, point).total_cmp(&dot(**b, point)));
    let Some(dimple) = nearest else { return flat };
    let away: Vec3 = std::array::from_fn(|c| point[c] - dimple[c]);
    let distance = dot(away, away).sqrt() / DIMPLE;
    if distance >= 1.0 {
        return flat;
    }
    // A bowl: its wall leans inwards, most of all near the rim.
    let slope = 0.62 * distance * (1.0 - distance * distance * distance * distance);
    let inwards = -slope / (distance * DIMPLE).max(1e-4);
    Relief {
        normal: normalize(std::array::from_fn(|c| point[c] + away[c] * inwards)),
        open: 1.0 - 0.35 * (1.0 - distance * distance),
    }
}

fn sign(v: f32) -> f32 {
    if v < 0.0 { -1.0 } else { 1.0 }
}

fn from_square(u: f32, v: f32) -> Vec3 {
    let z = 1.0 - u.abs() - v.abs();
    let (x, y) = if z < 0.0 {
        ((1.0 - v.abs()) * sign(u), (1.0 - u.abs()) * sign(v))
    } else {
        (u, v)
    };
    normalize([x, y, z])
}

/// Where a direction lies in the map.
fn to_square(p: Vec3) -> usize {
    let scale = 1.0 / (p[0].abs() + p[1].abs() + p[2].abs());
    let (u, v) = (p[0] * scale, p[1] * scale);
    let (u, v) = if p[2] < 0.0 {
        ((1.0 - v.abs()) * sign(u), (1.0 - u.abs()) * sign(v))
    } else {
        (u, v)
    };
    let cell = |t: f32| (((t + 1.0) * 0.5 * MAP as f32) as usize).min(MAP - 1);
    cell(v) * MAP + cell(u)
}
