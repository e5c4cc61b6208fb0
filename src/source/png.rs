//! PNG files to RGB, with crate image's decoder, bounded in size. As torchvision's image loader does it, transparency
//! is dropped.

use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::{ImageDecoder, Limits};

use super::images::checked;
use crate::frame::{Frame, MAX_SIDE, PixelFormat};

/// The most that decoding may allocate, in bytes: 8192x8192 pixels of RGB fit.
const MAX_ALLOC: u64 = 256 << 20;

/// Replaces a PNG file's bytes by its pixels.
pub fn decode(frame: &mut Frame) -> Result<(), String> {
    if !has_sound_palette(&frame.data) {
        return Err("its palette is damaged".into());
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_ALLOC);
    let decoder = PngDecoder::with_limits(Cursor::new(&frame.data), limits)
        .map_err(|error| error.to_string())?;
    let (width, height) = checked(decoder.dimensions())?;
    let channels = usize::from(decoder.color_type().channel_count());
    let deep = usize::from(decoder.color_type().bytes_per_pixel()) / channels;
    let size = decoder.total_bytes();
    if size > MAX_ALLOC {
        return Err(format!("{width}x{height} is too large"));
    }
    let mut pixels = vec![0; usize::try_from(size).unwrap_or(0)];
    decoder
        .read_image(&mut pixels)
        .map_err(|error| error.to_string())?;
    frame.data = to_rgb(pixels, channels, deep);
    frame.format = PixelFormat::Rgb3;
    (frame.width, frame.height, frame.stride) = (width, height, width as usize * 3);
    Ok(())
}

/// Whether a PNG file's palette, if it has one, is of whole colours. png 0.18 panics where it is not.
fn has_sound_palette(file: &[u8]) -> bool {
    let mut chunks = file.get(8..).unwrap_or_default();
    while let [a, b, c, d, kind @ ..] = chunks {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        match kind.get(..4) {
            Some(b"PLTE") => return length.is_multiple_of(3),
            Some(b"IDAT") | None => return true,
            _ => {}
        }
        // the type before the contents, a sum behind them
        chunks = kind.get(length.saturating_add(8)..).unwrap_or_default();
    }
    true
}

/// Grey, grey and alpha, RGB or RGBA of 1 or 2 bytes (native order) a channel to RGB of 1 byte.
/// Alpha is dropped, and so is the low byte.
fn to_rgb(pixels: Vec<u8>, channels: usize, deep: usize) -> Vec<u8> {
    if (channels, deep) == (3, 1) {
        return pixels;
    }
    let high = if cfg!(target_endian = "little") {
        deep - 1
    } else {
        0
    };
    let colours = if channels < 3 { [0, 0, 0] } else { [0, 1, 2] };
    let mut rgb = Vec::with_capacity(pixels.len() / (channels * deep) * 3);
    for pixel in pixels.chunks_exact(channels * deep) {
        rgb.extend(colours.map(|channel| pixel[channel * deep + high]));
    }
    rgb
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_png_whose_palette_ends_amid_a_colour_is_refused() {
        let file = include_bytes!("../../fuzz/seeds/picture/uneven_palette.png");
        let mut frame = Frame {
            data: file.to_vec(),
            ..Frame::empty()
        };
        assert!(decode(&mut frame).unwrap_err().contains("palette"));
    }
}
