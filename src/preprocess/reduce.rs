//! A whole picture for people: any frame as RGB, smaller by a whole number where it is larger than they need. Blocks of
//! pixels are averaged, which is quick and shows no steps; nothing of it enters a network.

use std::ops::Range;

use super::convert::Rgbx;
use super::jpeg::Decoded;
use super::pixels::Picture;
use super::{ImageSize, PreprocessError};
use crate::frame::{Frame, PixelFormat};

/// Reduces frames; keeps its buffers.
#[derive(Default)]
pub struct Reducer {
    decoded: Decoded,
    row: Vec<Rgbx>,
    sums: Vec<[u32; 3]>,
}

impl Reducer {
    /// Puts the frame's picture into `out`, 3 bytes a pixel, with no side longer than `longest` pixels (1 at least), as it is laid
    /// out; and returns its size.
    ///
    /// # Errors
    /// The picture is empty, not whole or a broken JPEG.
    pub fn run(
        &mut self,
        frame: &Frame,
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
        let ImageSize { width, height } = picture.size();
        let factor = width.max(height).div_ceil(longest.max(1));
        let size = ImageSize {
            width: (width / factor).max(1),
            height: (height / factor).max(1),
        };
        out.clear();
        for y in 0..size.height {
            let rows = block(y, factor, height);
            add_rows(
                &picture,
                rows,
                size.width,
                factor,
                (&mut self.row, &mut self.sums),
            );
            let sides = (0..size.width).map(|x| block(x, factor, width).len());
            let rows = block(y, factor, height).len();
            for (sum, columns) in self.sums.iter().zip(sides) {
                #[allow(clippy::cast_possible_truncation)] // an average of bytes
                let average = |sum: u32| (sum / (rows * columns) as u32) as u8;
                out.extend(sum.map(average));
            }
        }
        Ok(size)
    }
}

/// The pixels of a side of `size` that make one of the reduced picture: never beyond it, where it is narrower than a block.
fn block(index: u32, factor: u32, size: u32) -> Range<usize> {
    let first = index * factor;
    first as usize..(first + factor).min(size) as usize
}

/// Sums the pixels of these rows for each of `width` blocks of columns.
fn add_rows(
    picture: &Picture<'_>,
    rows: Range<usize>,
    width: u32,
    factor: u32,
    (buffer, sums): (&mut Vec<Rgbx>, &mut Vec<[u32; 3]>),
) {
    let columns = 0..picture.size().width as usize;
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
        let size = Reducer::default().run(frame, longest, &mut out).unwrap();
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
        assert!(Reducer::default().run(&torn, 5, &mut Vec::new()).is_err());
        let jpeg = frame(PixelFormat::Mjpg, 5, 3, vec![0xff, 0xd8, 0]);
        assert!(Reducer::default().run(&jpeg, 5, &mut Vec::new()).is_err());
    }
}
