//! JPEG frames and files to RGB, with crate image's decoder, bounded in size. As torchvision's image
//! loader does it: greyscale and CMYK become RGB, the EXIF orientation is ignored.

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::{ColorType, ImageDecoder, Limits};

use super::pixels::Picture;
use super::{ImageSize, PreprocessError};
use crate::frame::MAX_SIDE;

/// The picture that was decoded last. Its buffer is kept from one frame to the next.
#[derive(Default)]
pub(super) struct Decoded {
    /// `None`: it was broken.
    size: Option<ImageSize>,
    grey: bool,
    bytes: Vec<u8>,
}

impl Decoded {
    pub(super) fn read(&mut self, data: &[u8]) -> Result<(), PreprocessError> {
        self.size = None;
        self.size = Some(self.decode(data)?);
        Ok(())
    }

    pub(super) fn picture(&self) -> Result<Picture<'_>, PreprocessError> {
        let missing = || PreprocessError::Jpeg("it was not decoded".into());
        let size = self.size.ok_or_else(missing)?;
        Picture::packed(size, self.grey, &self.bytes)
            .ok_or_else(|| PreprocessError::Jpeg("the decoder gave less than it announced".into()))
    }

    fn decode(&mut self, data: &[u8]) -> Result<ImageSize, PreprocessError> {
        if !is_complete(data) {
            return Err(PreprocessError::Jpeg("its end is missing".into()));
        }
        let broken = |error: image::ImageError| PreprocessError::Jpeg(error.to_string());
        let mut decoder = JpegDecoder::new(Cursor::new(data)).map_err(broken)?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        decoder.set_limits(limits).map_err(broken)?;

        let (width, height) = decoder.dimensions();
        if width == 0 || height == 0 {
            return Err(PreprocessError::Empty { width, height });
        }
        self.grey = match decoder.color_type() {
            ColorType::L8 => true,
            ColorType::Rgb8 => false,
            other => return Err(PreprocessError::Jpeg(format!("its colours are {other:?}"))),
        };
        let bytes = usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX);
        self.bytes.resize(bytes, 0);
        decoder.read_image(&mut self.bytes).map_err(broken)?;
        Ok(ImageSize { width, height })
    }
}

/// Whether an end-of-image marker follows the (first) picture data. The decoder fills what is missing
/// with grey, and a half grey frame would be classified as if the camera had seen it. What stands
/// behind the end (some cameras pad their frames) does not matter.
fn is_complete(data: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];
    let mut rest = data.strip_prefix(&[0xff, 0xd8]).unwrap_or_default();
    // Segments before the scan may hold a thumbnail with an end marker of its own: step over them.
    loop {
        match *rest {
            [0xff, 0xff, ..] => rest = &rest[1..],
            [0xff, START_OF_SCAN, ref scan @ ..] => {
                return scan.windows(2).rev().any(|pair| pair == END_OF_IMAGE);
            }
            [0xff, _, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                rest = rest.get(2 + length..).unwrap_or_default();
            }
            _ => return false,
        }
    }
}
