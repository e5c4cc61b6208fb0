//! Video as a stream of bytes: whole frames come out, the same ones however the bytes are cut into pieces.

use resnetd::frame::{Frame, PixelFormat};
use resnetd::source::http::response::Response;
use resnetd::source::stream::{Kind, Stream};

/// What came out of a stream: each frame's format, size and bytes.
type Frames = Vec<(PixelFormat, u32, u32, Vec<u8>)>;

/// JPEG files one after the other. The first byte sets the size of the pieces.
pub fn mjpeg(bytes: &[u8]) -> bool {
    compare(bytes, || Stream::new(Kind::Mjpeg))
}

/// YUV4MPEG2; of any kind, so that its header is looked for too. The first byte sets the size of the pieces.
pub fn y4m(bytes: &[u8]) -> bool {
    compare(bytes, || Stream::new(Kind::Y4m)) | compare(bytes, Stream::of_any_kind)
}

/// A server's answer with its head. The first byte sets the size of the pieces.
pub fn http(bytes: &[u8]) -> bool {
    let (size, bytes) = cut(bytes);
    let read = |size| {
        let (mut response, mut frame, mut found) =
            (Response::default(), Frame::empty(), Frames::new());
        for piece in bytes.chunks(size) {
            if let Err(error) = response.push(piece) {
                let message = error.to_string();
                assert!(!message.contains('\n'), "an error is one line: {message:?}");
                return None;
            }
            while response.next(&mut frame).is_ok_and(|found| found) {
                found.push(taken(&frame));
            }
        }
        Some((
            found,
            response.torn(),
            response.is_over(),
            response.is_single(),
        ))
    };
    let (whole, pieces) = (read(bytes.len().max(1)), read(size));
    assert_eq!(whole, pieces);
    whole.is_some_and(|(found, ..)| !found.is_empty())
}

fn compare(bytes: &[u8], stream: impl Fn() -> Stream) -> bool {
    let (size, bytes) = cut(bytes);
    let read = |size| {
        let (mut stream, mut frame, mut found) = (stream(), Frame::empty(), Frames::new());
        for piece in bytes.chunks(size) {
            stream.push(piece);
            while stream.next(&mut frame).ok()? {
                found.push(taken(&frame));
            }
        }
        Some((found, stream.torn()))
    };
    let (whole, pieces) = (read(bytes.len().max(1)), read(size));
    assert_eq!(whole, pieces);
    whole.is_some_and(|(found, _)| !found.is_empty())
}

fn cut(bytes: &[u8]) -> (usize, &[u8]) {
    bytes
        .split_first()
        .map_or((1, bytes), |(&size, rest)| (usize::from(size).max(1), rest))
}

fn taken(frame: &Frame) -> (PixelFormat, u32, u32, Vec<u8>) {
    if frame.format != PixelFormat::Mjpg {
        let bytes = frame.format.bytes(frame.width, frame.height, frame.stride);
        assert!(
            bytes.is_some_and(|bytes| bytes <= frame.data.len()),
            "half a picture"
        );
    }
    (frame.format, frame.width, frame.height, frame.data.clone())
}
