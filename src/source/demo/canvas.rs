//! The picture being drawn, and the few strokes that the scenes share.

// Coordinates and colours are bounded by the picture's size and by 255.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

/// The picture's size: [`super::render`] says the same.
pub const WIDTH: usize = 640;
pub const HEIGHT: usize = 480;
pub const CHANNELS: usize = 3;

/// A colour as it is stored: R, G, B in `0..=255`.
pub type Rgb = [f32; 3];

/// A point or a direction: x to the right, y up, z towards the viewer.
pub type Vec3 = [f32; 3];

pub fn dot(a: Vec3, b: Vec3) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub fn normalize(a: Vec3) -> Vec3 {
    let inverse = 1.0 / dot(a, a).sqrt();
    a.map(|v| v * inverse)
}

pub fn mix(a: Rgb, b: Rgb, share: f32) -> Rgb {
    std::array::from_fn(|c| a[c] + (b[c] - a[c]) * share)
}

/// A rotation: its rows are the axes of the turned thing, as the viewer sees them.
#[derive(Debug, Clone, Copy)]
pub struct Rotation(pub [Vec3; 3]);

impl Rotation {
    /// Turns by `angle` (radians) in the plane from axis `from` to axis `to`.
    pub fn in_plane(from: usize, to: usize, angle: f32) -> Self {
        let (sin, cos) = (libm::sinf(angle), libm::cosf(angle));
        let mut rows = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        rows[from][from] = cos;
        rows[from][to] = sin;
        rows[to][from] = -sin;
        rows[to][to] = cos;
        Self(rows)
    }

    /// This rotation first, then `next`.
    pub fn then(self, next: Self) -> Self {
        Self(self.0.map(|row| next.outward(row)))
    }

    /// From the thing's own axes to the viewer's.
    pub fn outward(self, v: Vec3) -> Vec3 {
        let [x, y, z] = self.0;
        std::array::from_fn(|c| x[c] * v[0] + y[c] * v[1] + z[c] * v[2])
    }

    /// From the viewer's axes to the thing's own.
    pub fn inward(self, v: Vec3) -> Vec3 {
        self.0.map(|axis| dot(axis, v))
    }
}

/// Rows of R, G, B, top row first.
pub struct Canvas<'a> {
    data: &'a mut [u8],
}

impl<'a> Canvas<'a> {
    /// `data` holds `HEIGHT` rows of `WIDTH` pixels.
    pub fn new(data: &'a mut [u8]) -> Self {
        debug_assert_eq!(data.len(), WIDTH * HEIGHT * CHANNELS);
        Self { data }
    }

    pub fn rows(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.data.chunks_exact_mut(WIDTH * CHANNELS)
    }

    /// Lays `color` over a pixel; `cover` is its share, 0 to 1.
    pub fn blend(&mut self, x: usize, y: usize, color: Rgb, cover: f32) {
        let pixel = &mut self.data[(y * WIDTH + x) * CHANNELS..][..CHANNELS];
        for (old, new) in pixel.iter_mut().zip(color) {
            let before = f32::from(*old);
            *old = (before + (new - before) * cover + 0.5) as u8;
        }
    }

    /// Darkens (below 1) or brightens a pixel.
    pub fn scale(&mut self, x: usize, y: usize, factor: Rgb) {
        let pixel = &mut self.data[(y * WIDTH + x) * CHANNELS..][..CHANNELS];
        for (value, factor) in pixel.iter_mut().zip(factor) {
            *value = (f32::from(*value) * factor + 0.5) as u8;
        }
    }

    /// A stroke with round ends from `a` to `b` (pixels, y down), `radius` wide on either side.
    pub fn stroke(&mut self, a: [f32; 2], b: [f32; 2], radius: f32, color: Rgb) {
        let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
        let length2 = (dx * dx + dy * dy).max(1e-6);
        let reach = radius + 0.5;
        let (top, bottom) = span(a[1].min(b[1]) - reach, a[1].max(b[1]) + reach, HEIGHT);
        for y in top..bottom {
            let py = y as f32 - a[1];
            // The part of the stroke that can touch this row: for a long slanting line, few pixels.
            let (from, to) = if dy.abs() < 1e-3 {
                (0.0, 1.0)
            } else {
                let (one, other) = ((py - reach) / dy, (py + reach) / dy);
                (
                    one.min(other).clamp(0.0, 1.0),
                    one.max(other).clamp(0.0, 1.0),
                )
            };
            let (one, other) = (a[0] + dx * from, a[0] + dx * to);
            let (left, right) = span(one.min(other) - reach, one.max(other) + reach, WIDTH);
            for x in left..right {
                let px = x as f32 - a[0];
                let along = ((px * dx + py * dy) / length2).clamp(0.0, 1.0);
                let (ex, ey) = (px - dx * along, py - dy * along);
                let cover = (reach - (ex * ex + ey * ey).sqrt()).clamp(0.0, 1.0);
                if cover > 0.0 {
                    self.blend(x, y, color, cover);
                }
            }
        }
    }
}

/// The whole pixels from `low` to `high`, cut at the picture's edges.
pub fn span(low: f32, high: f32, size: usize) -> (usize, usize) {
    let end = size as f32;
    (
        low.ceil().clamp(0.0, end) as usize,
        (high.floor() + 1.0).clamp(0.0, end) as usize,
    )
}
