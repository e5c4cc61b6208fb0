//! Made-up pictures with the statistics of photographs: the dead leaves model (Lee, Mumford and Huang, "Occlusion
//! Models for Natural Images", 2001), opaque discs whose radii fall off as the cube, one on top of the other. Networks
//! can even be trained on them (Baradad et al., "Learning to See by Looking at Noise", 2021); here they take the place
//! of photographs that nobody has, to measure the range of activations.

use crate::random::Random;

/// Discs before a picture is full; later ones are hidden.
const MOST: usize = 4000;

/// As many square pictures as anybody wants, RGB, the same for the same seed.
pub fn dead_leaves(size: usize, seed: u64) -> impl ExactSizeIterator<Item = Vec<u8>> + Send {
    let mut random = Random::new(seed);
    (0..usize::MAX).map(move |_| picture(size, &mut random))
}

/// Discs from front to back, until no pixel is left.
fn picture(size: usize, random: &mut Random) -> Vec<u8> {
    let mut pixels = vec![0; size * size * 3];
    let mut free = vec![true; size * size];
    let mut left = size * size;
    let (light, tint) = (0.35 + 0.65 * random.uniform(), random.uniform());
    for _ in 0..MOST {
        if left == 0 {
            break;
        }
        let disc = Disc::new(size, random);
        let colour = colour(light, tint, random);
        left -= disc.paint(size, &mut free, &mut pixels, colour, random);
    }
    pixels
}

struct Disc {
    x: f32,
    y: f32,
    radius: f32,
    /// Brightness across it, for shading.
    slope: [f32; 2],
    /// The strength of its texture.
    grain: f32,
}

impl Disc {
    #[allow(clippy::cast_precision_loss)] // a picture's size
    fn new(size: usize, random: &mut Random) -> Self {
        let side = size as f32;
        let (least, most) = (side / 60.0, side / 2.0);
        // radii with a density of 1 / r^3
        let u = random.uniform();
        let inverse = |r: f32| 1.0 / (r * r);
        let radius = 1.0 / (inverse(least) + u * (inverse(most) - inverse(least))).sqrt();
        Self {
            x: random.uniform() * side,
            y: random.uniform() * side,
            radius,
            slope: [random.normal() * 0.25, random.normal() * 0.25],
            grain: 0.06 * random.uniform(),
        }
    }

    /// Paints what is still free of it; the number of pixels painted.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )] // within the picture
    fn paint(
        &self,
        size: usize,
        free: &mut [bool],
        pixels: &mut [u8],
        colour: [f32; 3],
        random: &mut Random,
    ) -> usize {
        let from = |middle: f32| (middle - self.radius).max(0.0) as usize;
        let to = |middle: f32| ((middle + self.radius) as usize + 1).min(size);
        let mut painted = 0;
        for y in from(self.y)..to(self.y) {
            for x in from(self.x)..to(self.x) {
                let (dx, dy) = (x as f32 - self.x, y as f32 - self.y);
                if !free[y * size + x] || dx * dx + dy * dy > self.radius * self.radius {
                    continue;
                }
                free[y * size + x] = false;
                painted += 1;
                let shade = 1.0 + (dx * self.slope[0] + dy * self.slope[1]) / self.radius;
                let texture = random.normal() * self.grain;
                for (pixel, colour) in pixels[(y * size + x) * 3..][..3].iter_mut().zip(colour) {
                    *pixel = ((colour * shade + texture) * 255.0).clamp(0.0, 255.0) as u8;
                }
            }
        }
        painted
    }
}

/// Of one light for the whole picture: mostly greyish, now and then a strong colour.
fn colour(light: f32, tint: f32, random: &mut Random) -> [f32; 3] {
    let brightness = light * random.uniform();
    let strength = if random.uniform() < 0.2 { 0.6 } else { 0.15 };
    [0.1 * tint, 0.0, -0.1 * tint]
        .map(|t| (brightness * (1.0 + t + strength * random.normal())).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_the_same_for_a_seed_and_full() {
        let first: Vec<Vec<u8>> = dead_leaves(64, 7).take(2).collect();
        assert_eq!(first, dead_leaves(64, 7).take(2).collect::<Vec<_>>());
        assert_ne!(first[0], first[1]);
        let black = first[0]
            .chunks_exact(3)
            .filter(|p| **p == [0, 0, 0])
            .count();
        assert!(black < 64 * 64 / 4, "{black}");
    }
}
