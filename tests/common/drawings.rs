//! Pictures that no network has seen: stripes, discs and checkers.

use std::path::Path;

use resnetd::random::Random;

const SIDE: usize = 224;
/// A noisy picture of a class in random colours, at a random place and size.
pub fn draw(class: &str, random: &mut Random) -> Vec<u8> {
    let mut colour = |low: u8| -> [u8; 3] { std::array::from_fn(|_| low + random.byte() / 3) };
    let (dark, light) = (colour(0), colour(130));
    let mut below = |n: usize| usize::from(random.byte()) * n / 256;
    let (period, dx, dy) = (12 + below(24), below(40), below(40));
    let radius = period / 3 + 2;
    let mut pixels = Vec::with_capacity(SIDE * SIDE * 3);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let cell = |v: usize| v / period % 2;
            let off = |v: usize| (v % (2 * radius + 8)).abs_diff(radius + 4);
            let (x, y) = (x + dx, y + dy);
            let shown = match class {
                "both" if x < SIDE / 2 + dx => "lying stripes",
                "both" => "discs",
                other => other,
            };
            let lit = match shown {
                "checkers" => cell(x) != cell(y),
                "discs" => off(x).pow(2) + off(y).pow(2) < radius * radius,
                "lying stripes" => cell(y) == 0,
                "standing stripes" => cell(x) == 0,
                _ => false,
            };
            let colour = if lit { light } else { dark };
            pixels.extend(colour.map(|c| c.saturating_add(random.byte() / 10)));
        }
    }
    pixels
}

pub fn save(path: &Path, pixels: &[u8]) {
    let side = u32::try_from(SIDE).unwrap();
    image::save_buffer(path, pixels, side, side, image::ExtendedColorType::Rgb8).unwrap();
}
