//! Which pixels of a picture, as the camera laid it out, a framing means; and how the square that is made of them is
//! turned until it is upright. Turning last is cheap, because the square is small; it differs from turning first in
//! roundings only.

use std::ops::Range;

use super::ImageSize;
use crate::spec::{Flip, Framing, Turn};

/// A rectangle of pixels, not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    pub columns: Range<u32>,
    pub rows: Range<u32>,
}

impl Window {
    pub(super) fn size(&self) -> ImageSize {
        ImageSize {
            width: self.columns.end - self.columns.start,
            height: self.rows.end - self.rows.start,
        }
    }
}

/// How large a picture is when it is upright.
pub(super) fn upright(size: ImageSize, turn: Turn) -> ImageSize {
    match turn {
        Turn::None | Turn::Half => size,
        Turn::Right | Turn::Left => ImageSize {
            width: size.height,
            height: size.width,
        },
    }
}

/// The part of a picture of `size`, as it is laid out, that is `framing`'s area when the picture is upright.
pub(super) fn window(size: ImageSize, framing: &Framing) -> Window {
    let ImageSize { width, height } = upright(size, framing.turn);
    let (columns, rows) = framing.area.pixels(width, height);
    let (columns, rows) = match framing.flip {
        Flip::None => (columns, rows),
        Flip::Horizontal => (reversed(&columns, width), rows),
        Flip::Vertical => (columns, reversed(&rows, height)),
    };
    let (columns, rows) = match framing.turn {
        Turn::None => (columns, rows),
        Turn::Half => (reversed(&columns, width), reversed(&rows, height)),
        // what is on the right was on top, and what is on top was on the left
        Turn::Right => (rows, reversed(&columns, width)),
        Turn::Left => (reversed(&rows, height), columns),
    };
    Window { columns, rows }
}

/// Where a part of a picture as it is laid out (left, top, width and height in shares) is when the picture is upright.
pub(super) fn upright_share(part: [f32; 4], framing: &Framing) -> [f32; 4] {
    let [left, top, width, height] = part;
    let [left, top, width, height] = match framing.turn {
        Turn::None => part,
        Turn::Right => [1.0 - top - height, left, height, width],
        Turn::Half => [1.0 - left - width, 1.0 - top - height, width, height],
        Turn::Left => [top, 1.0 - left - width, height, width],
    };
    match framing.flip {
        Flip::None => [left, top, width, height],
        Flip::Horizontal => [1.0 - left - width, top, width, height],
        Flip::Vertical => [left, 1.0 - top - height, width, height],
    }
}

/// The range as counted from the other end.
fn reversed(range: &Range<u32>, size: u32) -> Range<u32> {
    size - range.end..size - range.start
}

/// Puts a part of a picture as it is laid out (`size`, three bytes a pixel) into `out` as it is when upright.
pub(super) fn upright_pixels(part: &[u8], size: ImageSize, framing: &Framing, out: &mut Vec<u8>) {
    let (pixels, _) = part.as_chunks::<3>();
    let (width, height) = (size.width as usize, size.height as usize);
    let whole = upright(size, framing.turn);
    let (columns, rows) = (whole.width as usize, whole.height as usize);
    out.clear();
    for y in 0..rows {
        for x in 0..columns {
            let (x, y) = match framing.flip {
                Flip::None => (x, y),
                Flip::Horizontal => (columns - 1 - x, y),
                Flip::Vertical => (x, rows - 1 - y),
            };
            let (x, y) = match framing.turn {
                Turn::None => (x, y),
                Turn::Right => (y, height - 1 - x),
                Turn::Half => (width - 1 - x, height - 1 - y),
                Turn::Left => (width - 1 - y, x),
            };
            out.extend(pixels.get(y * width + x).copied().unwrap_or_default());
        }
    }
}

/// Turns and flips a square of `side * side` pixels of three bytes, in its place; and the columns and rows that are
/// picture.
pub(super) fn turn(
    square: &mut [u8],
    side: usize,
    inside: (Range<usize>, Range<usize>),
    framing: &Framing,
) -> (Range<usize>, Range<usize>) {
    let (pixels, _) = square.as_chunks_mut::<3>();
    let (transposed, across, down) = match framing.turn {
        Turn::None => (false, false, false),
        Turn::Right => (true, true, false),
        Turn::Half => (false, true, true),
        Turn::Left => (true, false, true),
    };
    let across = across != (framing.flip == Flip::Horizontal);
    let down = down != (framing.flip == Flip::Vertical);
    let (mut columns, mut rows) = inside;
    if transposed {
        (columns, rows) = (rows, columns);
        for y in 0..side {
            for x in 0..y {
                pixels.swap(y * side + x, x * side + y);
            }
        }
    }
    let mirrored = |range: &Range<usize>| side - range.end..side - range.start;
    if across {
        columns = mirrored(&columns);
        pixels.chunks_exact_mut(side).for_each(<[_]>::reverse);
    }
    if down {
        rows = mirrored(&rows);
        let (top, bottom) = pixels.split_at_mut(side.div_ceil(2) * side);
        let bottom = bottom.chunks_exact_mut(side).rev();
        for (above, below) in top.chunks_exact_mut(side).zip(bottom) {
            above.swap_with_slice(below);
        }
    }
    (columns, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Area;
    use proptest::prelude::*;

    /// The pixel of the picture as laid out that is at `(x, y)` when it is upright.
    fn origin((x, y): (u32, u32), size: ImageSize, framing: &Framing) -> (u32, u32) {
        let ImageSize { width, height } = upright(size, framing.turn);
        let (x, y) = match framing.flip {
            Flip::None => (x, y),
            Flip::Horizontal => (width - 1 - x, y),
            Flip::Vertical => (x, height - 1 - y),
        };
        match framing.turn {
            Turn::None => (x, y),
            Turn::Right => (y, size.height - 1 - x),
            Turn::Half => (size.width - 1 - x, size.height - 1 - y),
            Turn::Left => (size.width - 1 - y, x),
        }
    }

    fn framings() -> impl Strategy<Value = Framing> {
        let turns = prop::sample::select(vec![Turn::None, Turn::Right, Turn::Half, Turn::Left]);
        let flips = prop::sample::select(vec![Flip::None, Flip::Horizontal, Flip::Vertical]);
        let area = (0f32..0.9, 0f32..0.9, 0.05f32..1.0, 0.05f32..1.0);
        (turns, flips, area).prop_map(|(turn, flip, (left, top, width, height))| {
            let area = Area::try_from([left, top, width.min(1.0 - left), height.min(1.0 - top)]);
            Framing {
                turn,
                flip,
                area: area.unwrap(),
                fit: None,
            }
        })
    }

    proptest! {
        #[test]
        fn a_window_holds_the_pixels_of_the_area_and_no_others(framing in framings(), width in 1u32..40, height in 1u32..40) {
            let size = ImageSize { width, height };
            let window = window(size, &framing);
            let whole = upright(size, framing.turn);
            let (columns, rows) = framing.area.pixels(whole.width, whole.height);
            for y in 0..whole.height {
                for x in 0..whole.width {
                    let (from_x, from_y) = origin((x, y), size, &framing);
                    let inside = columns.contains(&x) && rows.contains(&y);
                    prop_assert_eq!(window.columns.contains(&from_x) && window.rows.contains(&from_y), inside);
                }
            }
        }

        #[test]
        fn the_share_of_a_window_is_that_of_the_area_once_upright(framing in framings(), width in 1u32..40, height in 1u32..40) {
            let size = ImageSize { width, height };
            let shares = |columns: &Range<u32>, rows: &Range<u32>, size: ImageSize| {
                let share = |part: u32, of: u32| f32::from(u16::try_from(part).unwrap()) / f32::from(u16::try_from(of).unwrap());
                [share(columns.start, size.width), share(rows.start, size.height),
                 share(columns.end - columns.start, size.width), share(rows.end - rows.start, size.height)]
            };
            let window = window(size, &framing);
            let whole = upright(size, framing.turn);
            let (columns, rows) = framing.area.pixels(whole.width, whole.height);
            let found = upright_share(shares(&window.columns, &window.rows, size), &framing);
            for (found, wanted) in found.into_iter().zip(shares(&columns, &rows, whole)) {
                prop_assert!((found - wanted).abs() < 1e-5, "{} is not {}", found, wanted);
            }
        }

        #[test]
        fn a_part_that_is_no_square_is_turned_as_a_picture_is(framing in framings(), width in 1u8..12, height in 1u8..12) {
            let size = ImageSize { width: width.into(), height: height.into() };
            let part: Vec<u8> = (0..height).flat_map(|y| (0..width).flat_map(move |x| [x, y, 7])).collect();
            let mut out = vec![1];
            upright_pixels(&part, size, &framing, &mut out);
            let whole = upright(size, framing.turn);
            let wanted = (0..whole.height).flat_map(|y| (0..whole.width).map(move |x| (x, y))).flat_map(|pixel| {
                let (x, y) = origin(pixel, size, &framing);
                [u8::try_from(x).unwrap(), u8::try_from(y).unwrap(), 7]
            });
            prop_assert_eq!(out, wanted.collect::<Vec<u8>>());
        }

        #[test]
        fn a_square_is_turned_as_a_picture_is(framing in framings(), side in 1u8..9, pad in (0u32..4, 0u32..4)) {
            let size = ImageSize { width: side.into(), height: side.into() };
            let at = |(x, y): (u32, u32)| [u8::try_from(x).unwrap(), u8::try_from(y).unwrap(), 7];
            let places = |place: fn((u32, u32), ImageSize, &Framing) -> (u32, u32)| -> Vec<u8> {
                (0..size.height).flat_map(|y| (0..size.width).map(move |x| (x, y)))
                    .flat_map(|pixel| at(place(pixel, size, &framing))).collect()
            };
            let mut square = places(|pixel, _, _| pixel);
            let (inner, length) = ((pad.0.min(size.width - 1), pad.1.min(size.height - 1)), usize::from(side));
            let whole = (inner.0 as usize..length, inner.1 as usize..length);
            let (columns, rows) = turn(&mut square, length, whole, &framing);
            prop_assert_eq!(square, places(origin));
            for y in 0..size.height {
                for x in 0..size.width {
                    let (from_x, from_y) = origin((x, y), size, &framing);
                    let shown = from_x >= inner.0 && from_y >= inner.1;
                    prop_assert_eq!(columns.contains(&(x as usize)) && rows.contains(&(y as usize)), shown);
                }
            }
        }
    }
}
