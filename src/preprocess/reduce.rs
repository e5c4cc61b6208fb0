//! A picture for people: any frame, or a part of it, as RGB, upright, smaller by a whole number where it is larger than they need. Blocks of
//! pixels are averaged, which is quick and shows no steps; nothing of it enters a network.

use std::ops::Range;

use super::convert::Rgbx;
use super::jpeg::Decoded;
use super::pixels::Picture;
use super::{ImageSize, PreprocessError, framing};
use crate::frame::{Frame, PixelFormat};
use crate::spec::{Flip, Framing, Turn};

/// Reduces frames; keeps its buffers.
#[derive(Default)]
pub struct Reducer {
    decoded: Decoded,
    row: Vec<Rgbx>,
    sums: Vec<[u32; 3]>,
    part: Vec<u8>,
}

impl Reducer {
    /// Puts the part of the frame's picture that `framing` means, upright, into `out`: 3 bytes a pixel, with no side longer
    /// than `longest` pixels (1 at least); and returns its size. A fit is not asked for.
    ///
    /// # Errors
    /// The picture is empty, not whole or a broken JPEG.
    pub fn run(
        &mut self,
        frame: &Frame,
        framing: &Framing,
        longest: u32,
        out: &mut Vec<u8>,
    ) -> Result<ImageSize, PreprocessError> {
        let picture = match frame.format {
            PixelFormat::Mjpg => {
                self.decoded.read(&frame.data)?;
                self.decoded.picture()?
            }
            _ => Picture::of(frame)?,
        };
        let window = framing::window(picture.size(), framing);
        let ImageSize { width, height } = window.size();
        let factor = width.max(height).div_ceil(longest.max(1));
        let size = ImageSize {
            width: (width / factor).max(1),
            height: (height / factor).max(1),
        };
        let Self {
            row, sums, part, ..
        } = self;
        let is_upright = (framing.turn, framing.flip) == (Turn::None, Flip::None);
        let laid_out = if is_upright { &mut *out } else { &mut *part };
        laid_out.clear();
        for y in 0..size.height {
            let rows = block(y, factor, &window.rows);
            let count = rows.len();
            add_rows(
                &picture,
                rows,
                &window.columns,
                (size.width, factor),
                (row, sums),
            );
            let sides = (0..size.width).map(|x| block(x, factor, &window.columns).len());
            for (sum, columns) in sums.iter().zip(sides) {
                #[allow(clippy::cast_possible_truncation)] // an average of bytes
                let average = |sum: u32| (sum / (count * columns) as u32) as u8;
                laid_out.extend(sum.map(average));
            }
        }
        if is_upright {
            return Ok(size);
        }
        framing::upright_pixels(part, size, framing, out);
        Ok(framing::upright(size, framing.turn))
    }
}

/// The pixels of a side that make one of the reduced picture: never beyond it, where it is narrower than a block.
fn block(index: u32, factor: u32, side: &Range<u32>) -> Range<usize> {
    let first = side.start + index * factor;
    first as usize..(first + factor).min(side.end) as usize
}

/// Sums the pixels of these rows for each of `width` blocks of columns.
fn add_rows(
    picture: &Picture<'_>,
    rows: Range<usize>,
    columns: &Range<u32>,
    (width, factor): (u32, u32),
    (buffer, sums): (&mut Vec<Rgbx>, &mut Vec<[u32; 3]>),
) {
    let columns = columns.start as usize..columns.end as usize;
    sums.clear();
    sums.resize(width as usize, [0; 3]);
    for y in rows {
        let row = picture.row(y, columns.clone(), buffer);
        for (sum, pixels) in sums.iter_mut().zip(row.chunks(factor as usize)) {
            for pixel in pixels {
                let [red, green, blue, _] = pixel.to_le_bytes();
                for (sum, value) in sum.iter_mut().zip([red, green, blue]) {
                    *sum += u32::from(value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Area;

    fn frame(format: PixelFormat, width: u32, height: u32, data: Vec<u8>) -> Frame {
        Frame {
            format,
            width,
            height,
            stride: format.least_stride(width),
            data,
            ..Frame::empty()
        }
    }

    fn reduced(frame: &Frame, longest: u32) -> ((u32, u32), Vec<u8>) {
        let mut out = vec![1; 7];
        let whole = Framing::default();
        let size = Reducer::default()
            .run(frame, &whole, longest, &mut out)
            .unwrap();
        ((size.width, size.height), out)
    }

    #[test]
    fn a_picture_that_is_small_enough_stays_as_it_is() {
        let pixels: Vec<u8> = (0..5 * 3 * 3).collect();
        let frame = frame(PixelFormat::Rgb3, 5, 3, pixels.clone());
        assert_eq!(reduced(&frame, 5), ((5, 3), pixels));
    }

    #[test]
    fn blocks_of_a_larger_one_are_averaged_and_what_makes_no_block_goes() {
        let grey = vec![10, 20, 30, 40, 255, 30, 40, 50, 60, 255];
        let frame = frame(PixelFormat::Grey, 5, 2, grey);
        assert_eq!(reduced(&frame, 3), ((2, 1), vec![25, 25, 25, 45, 45, 45]));
    }

    #[test]
    fn a_picture_that_is_narrower_than_a_block_is_not_empty() {
        let frame = frame(PixelFormat::Grey, 8, 1, vec![8; 8]);
        assert_eq!(reduced(&frame, 2), ((2, 1), vec![8; 6]));
    }

    #[test]
    fn a_torn_frame_is_an_error() {
        let torn = frame(PixelFormat::Rgb3, 5, 3, vec![0; 44]);
        let is_error = |frame: &Frame| {
            let whole = Framing::default();
            Reducer::default()
                .run(frame, &whole, 5, &mut Vec::new())
                .is_err()
        };
        assert!(is_error(&torn));
        assert!(is_error(&frame(
            PixelFormat::Mjpg,
            5,
            3,
            vec![0xff, 0xd8, 0]
        )));
    }

    #[test]
    fn a_part_is_cut_out_of_the_upright_picture() {
        let grey = (0..12).collect();
        let frame = frame(PixelFormat::Grey, 4, 3, grey);
        let framing = Framing {
            turn: Turn::Right,
            area: Area::try_from([0.0, 0.0, 0.67, 0.5]).unwrap(),
            ..Framing::default()
        };
        let mut out = Vec::new();
        let size = Reducer::default()
            .run(&frame, &framing, 100, &mut out)
            .unwrap();
        assert_eq!((size.width, size.height), (2, 2));
        assert_eq!(out, [8, 8, 8, 4, 4, 4, 9, 9, 9, 5, 5, 5]);
    }
}
