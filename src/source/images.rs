//! Pictures from files: one, a folder of them, or a pattern. A file that is no picture is skipped, never
//! a reason to stop.
//!
//! JPEG files travel as they are and are decoded by `preprocess`; PNG is decoded here, to RGB. As
//! torchvision's image loader does it, transparency is dropped and the EXIF orientation ignored.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::{ImageDecoder, Limits};

use super::uri::ImagesSpec;
use super::{Event, Source, SourceError, glob};
use crate::frame::{Frame, MAX_SIDE, PixelFormat};
use crate::plain_file;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 64 << 20;
/// The most that decoding a PNG may allocate, in bytes: 8192x8192 pixels of RGB fit.
const MAX_ALLOC: u64 = 256 << 20;
/// How deep folders are searched: a tree of sets of classes of pictures.
const MAX_DEPTH: u32 = 3;

/// The `images:` source.
#[derive(Debug)]
pub struct Images {
    path: PathBuf,
    /// Those that have not turned out to be no pictures.
    files: Vec<PathBuf>,
    next: usize,
    repeat: bool,
    /// Time from one picture to the next; `None`: as fast as they are asked for.
    interval: Option<Duration>,
    due: Instant,
}

impl Images {
    /// Finds the files; they are read when their turn comes.
    ///
    /// # Errors
    /// The path does not exist, or no picture is there.
    pub fn open(spec: &ImagesSpec) -> Result<Self, SourceError> {
        Ok(Self {
            path: spec.path.clone(),
            files: find(&spec.path)?,
            next: 0,
            repeat: spec.repeat,
            interval: spec.fps.map(|fps| Duration::from_secs_f64(1.0 / fps)),
            due: Instant::now(),
        })
    }

    /// Waits until the next picture is due; false if that is not before `deadline`.
    fn wait(&self, deadline: Instant) -> bool {
        let until = if self.interval.is_some() {
            self.due.min(deadline)
        } else {
            return true;
        };
        thread::sleep(until.saturating_duration_since(Instant::now()));
        self.due <= deadline
    }

    /// The next file's index, or `None` after the last one.
    fn take_turn(&mut self) -> Option<usize> {
        if self.next >= self.files.len() {
            if self.files.is_empty() {
                log::warn!(
                    "{}: no file there was a usable picture",
                    self.path.display()
                );
            }
            if self.files.is_empty() || !self.repeat {
                return None;
            }
            self.next = 0;
        }
        self.next += 1;
        Some(self.next - 1)
    }
}

impl Source for Images {
    fn next(&mut self, frame: &mut Frame, timeout: Duration) -> Event {
        let deadline = Instant::now() + timeout;
        loop {
            if !self.wait(deadline) {
                return Event::Timeout;
            }
            let Some(index) = self.take_turn() else {
                return Event::End;
            };
            match read_into(&self.files[index], frame) {
                Ok(()) => {
                    if let Some(interval) = self.interval {
                        // A reader that was late does not get the missed ones in a burst.
                        self.due = (self.due + interval).max(Instant::now());
                    }
                    return Event::Frame;
                }
                Err(error) => {
                    log::warn!("skipped: {error}");
                    self.files.remove(index);
                    self.next = index;
                }
            }
            if Instant::now() >= deadline {
                return Event::Timeout;
            }
        }
    }

    fn lossless(&self) -> bool {
        self.interval.is_none()
    }

    fn independent(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        let pace = match self.interval {
            Some(interval) => format!(", {:.2} a second", 1.0 / interval.as_secs_f64()),
            None => String::new(),
        };
        let again = if self.repeat { ", again and again" } else { "" };
        format!(
            "images:{}: {} files{pace}{again}",
            self.path.display(),
            self.files.len()
        )
    }
}

/// Reads one picture file.
///
/// # Errors
/// The file cannot be read or is not a picture that can be used.
pub fn load(path: &Path) -> Result<Frame, SourceError> {
    let mut frame = Frame::empty();
    read_into(path, &mut frame)?;
    Ok(frame)
}

/// The files that `path` names, sorted.
fn find(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let mut files = Vec::new();
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => search(path, MAX_DEPTH, &mut files),
        Ok(_) => files.push(path.to_owned()),
        Err(_) if glob::is_pattern(path) => {
            for found in glob::expand(path) {
                if found.is_dir() {
                    search(&found, MAX_DEPTH, &mut files);
                } else if is_named_like_a_picture(&found) {
                    files.push(found);
                }
            }
        }
        Err(source) => {
            return Err(SourceError::File {
                path: path.to_owned(),
                source,
            });
        }
    }
    if files.is_empty() {
        Err(SourceError::NoPictures(path.to_owned()))
    } else {
        Ok(files)
    }
}

fn search(folder: &Path, depth: u32, files: &mut Vec<PathBuf>) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return log::warn!("skipped: cannot read {}: {error}", folder.display()),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if path.is_dir() {
            if depth > 0 {
                search(&path, depth - 1, files);
            }
        } else if is_named_like_a_picture(&path) {
            files.push(path);
        }
    }
}

fn is_named_like_a_picture(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    extension == "jpg" || extension == "jpeg" || extension == "png"
}

fn read_into(path: &Path, frame: &mut Frame) -> Result<(), SourceError> {
    frame.captured = Instant::now();
    frame.captured_at = SystemTime::now();
    let unreadable = |source| SourceError::File {
        path: path.to_owned(),
        source,
    };
    plain_file::read_into(path, MAX_FILE, &mut frame.data).map_err(unreadable)?;
    look_at(path, frame)?;
    frame.capture_ms = frame.captured.elapsed().as_secs_f32() * 1000.0;
    Ok(())
}

/// A picture file's bytes, read from elsewhere (an archive); `path` is what it is called.
///
/// # Errors
/// It is not a picture that can be used.
pub fn decode(path: &Path, bytes: Vec<u8>) -> Result<Frame, SourceError> {
    let mut frame = Frame {
        data: bytes,
        ..Frame::empty()
    };
    look_at(path, &mut frame)?;
    Ok(frame)
}

/// Recognizes the bytes in `frame` and fills in what they are.
fn look_at(path: &Path, frame: &mut Frame) -> Result<(), SourceError> {
    let unusable = |why: String| SourceError::NotAPicture {
        path: path.to_owned(),
        why,
    };
    match frame.data.as_slice() {
        [0xff, 0xd8, 0xff, ..] => look_at_jpeg(frame).map_err(unusable)?,
        [0x89, b'P', b'N', b'G', ..] => decode_png(frame).map_err(unusable)?,
        [] => return Err(unusable("it is empty".into())),
        _ => return Err(unusable("it is neither JPEG nor PNG".into())),
    }
    frame.file = Some(path.to_owned());
    Ok(())
}

/// Takes the size from a JPEG's header and leaves the rest to `preprocess`.
fn look_at_jpeg(frame: &mut Frame) -> Result<(), String> {
    let decoder = JpegDecoder::new(Cursor::new(&frame.data)).map_err(|error| error.to_string())?;
    let (width, height) = checked(decoder.dimensions())?;
    frame.format = PixelFormat::Mjpg;
    (frame.width, frame.height, frame.stride) = (width, height, 0);
    Ok(())
}

/// Replaces a PNG file's bytes by its pixels.
fn decode_png(frame: &mut Frame) -> Result<(), String> {
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

fn checked((width, height): (u32, u32)) -> Result<(u32, u32), String> {
    if width == 0 || height == 0 {
        return Err("there is nothing in it".into());
    }
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(format!(
            "{width}x{height} is too large; at most {MAX_SIDE}x{MAX_SIDE}"
        ));
    }
    Ok((width, height))
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

    use image::codecs::jpeg::JpegEncoder;
    use image::codecs::png::PngEncoder;
    use image::{ExtendedColorType, ImageEncoder};

    const SOON: Duration = Duration::from_secs(5);

    fn png(pixels: &[u8], width: u32, height: u32, colour: ExtendedColorType) -> Vec<u8> {
        let mut file = Vec::new();
        PngEncoder::new(&mut file)
            .write_image(pixels, width, height, colour)
            .unwrap();
        file
    }

    fn jpeg() -> Vec<u8> {
        let mut file = Vec::new();
        JpegEncoder::new(&mut file)
            .write_image(&[99; 8 * 4 * 3], 8, 4, ExtendedColorType::Rgb8)
            .unwrap();
        file
    }

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        folder
    }

    fn open(path: &Path, fps: Option<f64>, repeat: bool) -> Images {
        Images::open(&ImagesSpec {
            path: path.to_owned(),
            fps,
            repeat,
        })
        .unwrap()
    }

    /// The names of the files delivered until the end, at most `most`.
    fn names(images: &mut Images, most: usize) -> Vec<String> {
        let mut frame = Frame::empty();
        let mut names = Vec::new();
        while names.len() < most && images.next(&mut frame, SOON) == Event::Frame {
            let file = frame.file.clone().unwrap();
            names.push(file.file_name().unwrap().to_string_lossy().into_owned());
        }
        names
    }

    #[test]
    fn a_tree_is_delivered_in_order_and_what_is_no_picture_is_skipped() {
        let (picture, photo) = (png(&[1, 2, 3], 1, 1, ExtendedColorType::Rgb8), jpeg());
        let folder = folder(&[
            ("b/2.jpg", &photo),
            ("a/1.PNG", &picture),
            ("a/0.jpeg", b"not a picture"),
            ("a/0.png", &picture[..40]),
            ("a/.hidden.jpg", &photo),
            ("notes.txt", b"hello"),
            ("z.jpg", b""),
        ]);
        let mut images = open(folder.path(), None, false);
        assert!(images.lossless() && images.independent());
        assert_eq!(names(&mut images, 9), ["1.PNG", "2.jpg"]);
        assert_eq!(images.next(&mut Frame::empty(), SOON), Event::End);
        let mut images = open(&folder.path().join("?/*.jpg"), None, false);
        assert_eq!(names(&mut images, 9), ["2.jpg"]);
    }

    #[test]
    fn repeating_starts_again_and_forgets_what_was_no_picture() {
        let folder = folder(&[("1.jpg", &jpeg()), ("2.jpg", b"broken"), ("3.jpg", &jpeg())]);
        let mut images = open(folder.path(), None, true);
        assert_eq!(
            names(&mut images, 5),
            ["1.jpg", "3.jpg", "1.jpg", "3.jpg", "1.jpg"]
        );
        assert_eq!(images.files.len(), 2);
    }

    #[test]
    fn a_folder_without_one_usable_picture_ends() {
        let folder = folder(&[("1.jpg", b"broken"), ("2.png", b"\x89PNG")]);
        let mut images = open(folder.path(), None, true);
        assert_eq!(images.next(&mut Frame::empty(), SOON), Event::End);
        assert_eq!(images.next(&mut Frame::empty(), SOON), Event::End);
    }

    #[test]
    fn a_pace_is_kept_and_waiting_has_a_limit() {
        let folder = folder(&[("1.jpg", &jpeg())]);
        let mut images = open(folder.path(), Some(0.1), true);
        let mut frame = Frame::empty();
        assert!(!images.lossless());
        assert_eq!(images.next(&mut frame, SOON), Event::Frame);
        let before = Instant::now();
        assert_eq!(
            images.next(&mut frame, Duration::from_millis(20)),
            Event::Timeout
        );
        assert!((20..2000).contains(&before.elapsed().as_millis()));
        images.due = Instant::now() + Duration::from_millis(10);
        assert_eq!(images.next(&mut frame, SOON), Event::Frame);
    }

    #[test]
    fn every_kind_of_png_becomes_rgb() {
        use ExtendedColorType::{L8, L16, La8, Rgb8, Rgb16, Rgba8};
        let wide = |values: &[u16]| {
            values
                .iter()
                .flat_map(|value| value.to_ne_bytes())
                .collect::<Vec<u8>>()
        };
        for (pixels, colour, rgb) in [
            (vec![1, 2, 3, 4, 5, 6], Rgb8, [1, 2, 3, 4, 5, 6]),
            (vec![1, 2, 3, 0, 4, 5, 6, 9], Rgba8, [1, 2, 3, 4, 5, 6]),
            (vec![7, 8], L8, [7, 7, 7, 8, 8, 8]),
            (vec![7, 0, 8, 255], La8, [7, 7, 7, 8, 8, 8]),
            (wide(&[0x0102, 0x0304]), L16, [1, 1, 1, 3, 3, 3]),
            (
                wide(&[0x0102, 0x0304, 0x05ff, 0, 1, 0xffff]),
                Rgb16,
                [1, 3, 5, 0, 0, 255],
            ),
        ] {
            let folder = folder(&[("a.png", &png(&pixels, 2, 1, colour))]);
            let frame = load(&folder.path().join("a.png")).unwrap();
            assert_eq!(
                (frame.format, frame.width, frame.height, frame.stride),
                (PixelFormat::Rgb3, 2, 1, 6)
            );
            assert_eq!(frame.data, rgb, "{colour:?}");
        }
    }

    #[test]
    fn a_jpeg_is_handed_on_as_it_is() {
        let folder = folder(&[("a.jpg", &jpeg())]);
        let frame = load(&folder.path().join("a.jpg")).unwrap();
        assert_eq!(
            (frame.format, frame.width, frame.height),
            (PixelFormat::Mjpg, 8, 4)
        );
        assert_eq!(frame.data, jpeg());
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let folder = folder(&[("a.txt", b"x"), ("b/c.jpg", b"x")]);
        let error = |name: &str| {
            let path = folder.path().join(name);
            Images::open(&ImagesSpec {
                path,
                ..ImagesSpec::default()
            })
            .unwrap_err()
            .to_string()
        };
        assert!(
            error("nothing.jpg").contains("nothing.jpg: No such file"),
            "{}",
            error("nothing.jpg")
        );
        assert!(error("*.png").contains("*.png: no .jpg, .jpeg or .png file there"));
        let folder_as_file = load(folder.path()).unwrap_err().to_string();
        assert!(
            folder_as_file.contains("not a plain file"),
            "{folder_as_file}"
        );
    }

    #[test]
    fn a_png_whose_palette_ends_amid_a_colour_is_refused() {
        let file = include_bytes!("../../fuzz/seeds/picture/uneven_palette.png");
        let error = decode(Path::new("a.png"), file.to_vec()).unwrap_err();
        assert!(error.to_string().contains("palette"), "{error}");
    }

    #[test]
    fn a_png_that_claims_to_be_huge_is_refused_before_anything_is_allocated() {
        let mut file = png(&[0; 3], 1, 1, ExtendedColorType::Rgb8);
        file[16..24].copy_from_slice(&[0, 0, 0x7f, 0xff, 0, 0, 0x7f, 0xff]);
        let mut checksum = !0_u32;
        for &byte in &file[12..29] {
            checksum ^= u32::from(byte);
            for _ in 0..8 {
                checksum = if checksum & 1 == 1 {
                    checksum >> 1 ^ 0xedb8_8320
                } else {
                    checksum >> 1
                };
            }
        }
        file[29..33].copy_from_slice(&(!checksum).to_be_bytes());
        let folder = folder(&[("a.png", &file)]);
        let error = load(&folder.path().join("a.png")).unwrap_err();
        assert!(matches!(error, SourceError::NotAPicture { .. }), "{error}");
    }
}
