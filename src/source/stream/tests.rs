//! Streams in pieces, with garbage, torn, and of every kind that is refused.

use proptest::prelude::*;

use super::*;
use crate::frame::{PixelFormat, YuvRange};

fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len() + 2).unwrap().to_be_bytes();
    [&[0xff, marker], &length[..], content].concat()
}

/// A JPEG in form, of 64x48, whose thumbnail, stuffed bytes, restart and fill markers try to look like an end.
fn picture(seed: u8) -> Vec<u8> {
    let thumbnail = [
        &[0xff, 0xd8, 0xff, 0xe0, 0, 2][..],
        &[seed; 9],
        &[0xff, 0xd9],
    ]
    .concat();
    let mut bytes = vec![0xff, 0xd8];
    bytes.extend(segment(0xe1, &thumbnail));
    bytes.push(0xff); // a fill byte
    bytes.extend(segment(0xdb, &[seed; 65]));
    bytes.extend(segment(0xc0, &[8, 0, 48, 0, 64, 1, 1, 0x11, 0]));
    bytes.extend(segment(0xda, &[1, 1, 0, 0, 63, 0]));
    bytes.extend([seed, 0xff, 0x00, 0xd9, 0xff, 0xd0, seed / 2, 0xff, 0x00]);
    bytes.extend(segment(0xc4, &[0xff, 0xd9, 1]));
    bytes.extend(segment(0xda, &[1, 1, 0, 0, 63, 0]));
    bytes.extend([seed % 200, 0xff, 0xd7, 7, 0xff, 0xff, 0xd9]);
    bytes
}

const HEADER: &[u8] = b"YUV4MPEG2 W5 H3 F30:1 Ip A1:1 C420jpeg XYSCSS=420JPEG\n";
/// Of a 5x3 picture in 4:2:0: 15 + 2 * 3 * 2.
const PIXELS: usize = 27;

fn y4m_frame(seed: u8) -> Vec<u8> {
    [&b"FRAME Ixyz\n"[..], &[seed; PIXELS]].concat()
}

/// What follows in a stream that goes on: more than a false segment may claim.
const MORE: &[u8] = &[0; 70_000];

/// Reads `bytes` in pieces of the given lengths, in turn.
fn read(mut stream: Stream, bytes: &[u8], pieces: &[usize]) -> (Vec<Frame>, u64) {
    let mut frames = Vec::new();
    let mut frame = Frame::empty();
    let mut rest = bytes;
    let mut pieces = pieces.iter().cycle();
    while !rest.is_empty() {
        let length = pieces
            .next()
            .map_or(rest.len(), |&length| length.min(rest.len()));
        let (piece, after) = rest.split_at(length);
        stream.push(piece);
        rest = after;
        while stream.next(&mut frame).unwrap() {
            frames.push(frame.clone());
        }
    }
    (frames, stream.torn())
}

fn contents(frames: Vec<Frame>) -> Vec<Vec<u8>> {
    frames.into_iter().map(|frame| frame.data).collect()
}

fn error(bytes: &[u8]) -> String {
    let mut stream = Stream::of_any_kind();
    stream.push(bytes);
    stream.next(&mut Frame::empty()).unwrap_err().to_string()
}

#[test]
fn pictures_end_where_a_decoder_would_end_them() {
    let (frames, torn) = read(Stream::new(Kind::Mjpeg), &picture(3), &[]);
    assert_eq!((frames.len(), torn), (1, 0));
    assert_eq!(frames[0].data, picture(3));
    assert_eq!(frames[0].format, PixelFormat::Mjpg);
    assert_eq!((frames[0].width, frames[0].height), (64, 48));
}

#[test]
fn a_real_encoders_pictures_are_read() {
    let mut bytes = Vec::new();
    for shade in 0..3u8 {
        let pixels: Vec<u8> = (0..32 * 24 * 3u32)
            .map(|i| ((i * 97) >> 3).to_le_bytes()[0] ^ shade)
            .collect();
        image::codecs::jpeg::JpegEncoder::new(&mut bytes)
            .encode(&pixels, 32, 24, image::ExtendedColorType::Rgb8)
            .unwrap();
    }
    let (frames, torn) = read(Stream::of_any_kind(), &bytes, &[7]);
    assert_eq!((frames.len(), torn), (3, 0));
    for frame in &frames {
        let decoded = image::load_from_memory_with_format(&frame.data, image::ImageFormat::Jpeg);
        assert_eq!((decoded.unwrap().width(), frame.width), (32, 32));
    }
}

#[test]
fn a_torn_picture_is_dropped_and_counted_wherever_it_was_cut() {
    let (whole, next) = (picture(1), picture(2));
    let mut survivors = 0;
    for cut in 2..whole.len() - 1 {
        let bytes = [&whole[..cut], &next, &picture(4), MORE].concat();
        let (frames, torn) = read(Stream::new(Kind::Mjpeg), &bytes, &[]);
        let frames = contents(frames);
        // Cut before the first marker's second byte it does not look like a picture; where only a comment lost its
        // last two bytes, the next picture's start takes their place and the whole is that next picture.
        let merged = frames.iter().any(|frame| frame.ends_with(&next[2..]));
        assert!(torn > 0 || cut < 3 || merged, "cut at {cut}");
        assert!(!frames.contains(&whole), "cut at {cut}");
        // The next one is lost where the cut one's last segment ends, by chance, at a marker in it.
        assert!(frames.ends_with(&[picture(4)]), "cut at {cut}");
        survivors += usize::from(frames.contains(&next));
    }
    // (The two have the same segments, so that chance is frequent here.)
    assert!(
        survivors * 4 > whole.len() * 3,
        "{survivors} of {}",
        whole.len()
    );
}

#[test]
fn a_picture_that_never_ends_does_not_fill_the_memory() {
    let mut stream = Stream::new(Kind::Mjpeg);
    let mut frame = Frame::empty();
    stream.push(&picture(1)[..picture(1).len() - 3]);
    for _ in 0..3 * MAX_FRAME / 65536 {
        let space = stream.space();
        let room = space.len().min(65536);
        space[..room].fill(1);
        stream.filled(room);
        assert_eq!(stream.next(&mut frame), Ok(false));
        assert!(stream.buffer.bytes().len() <= MAX_FRAME + 65536);
    }
    stream.push(&picture(2));
    assert_eq!(stream.next(&mut frame), Ok(true));
    assert_eq!((frame.data, stream.torn() > 0), (picture(2), true));
}

#[test]
fn y4m_frames_are_read_with_their_layout() {
    let bytes = [HEADER, &y4m_frame(1), &y4m_frame(2)].concat();
    let (frames, torn) = read(Stream::of_any_kind(), &bytes, &[]);
    assert_eq!((frames.len(), torn), (2, 0));
    let frame = &frames[1];
    assert_eq!(frame.data, [2; PIXELS]);
    assert_eq!(frame.format, PixelFormat::Yu12);
    assert_eq!((frame.width, frame.height, frame.stride), (5, 3, 5));
    assert_eq!(frame.yuv.range, YuvRange::Limited);
}

#[test]
fn y4m_colours_are_understood_or_refused_with_a_remedy() {
    let first = |header: &str, pixels: usize| {
        let bytes = [header.as_bytes(), b"\nFRAME\n", &vec![9; pixels]].concat();
        read(Stream::new(Kind::Y4m), &bytes, &[]).0.remove(0)
    };
    for colours in ["", " C420", " C420mpeg2", " C420paldv"] {
        let frame = first(&format!("YUV4MPEG2 W4 H2 F1:1{colours}"), 12);
        assert_eq!(frame.format, PixelFormat::Yu12, "{colours}");
    }
    let full = first("YUV4MPEG2 W4 H2 C420jpeg XCOLORRANGE=FULL", 12);
    assert_eq!(full.yuv.range, YuvRange::Full);
    let grey = first("YUV4MPEG2 W4 H2 Cmono XCOLORRANGE=FULL", 8);
    assert_eq!((grey.format, grey.data.len()), (PixelFormat::Grey, 8));
    for header in [
        "YUV4MPEG2 W4 H2 C444\n",
        "YUV4MPEG2 W4 H2 C420p10 XYSCSS=420P10\n",
        "YUV4MPEG2 W4 H2 Cmono XCOLORRANGE=LIMITED\n",
    ] {
        assert!(
            error(header.as_bytes()).contains("-pix_fmt yuv420p"),
            "{header}"
        );
    }
    for header in [
        "YUV4MPEG2 W0 H2\n",
        "YUV4MPEG2 H2\n",
        "YUV4MPEG2 W9000 H2\n",
        "YUV4MPEG2 W-1 H2\n",
    ] {
        assert!(
            error(header.as_bytes()).contains("no usable size"),
            "{header}"
        );
    }
    assert!(error(b"YUV4MPEG2 W8192 H8192\n").contains("-vf scale"));
}

#[test]
fn a_second_y4m_header_changes_the_size() {
    let second = b"YUV4MPEG2 W2 H2 Cmono\nFRAME\nabcd";
    for garbage in [&b""[..], b"#garbage YUV4MPEG2\n"] {
        let bytes = [HEADER, &y4m_frame(1), garbage, second].concat();
        let (frames, _) = read(Stream::new(Kind::Y4m), &bytes, &[5]);
        assert_eq!(contents(frames), [vec![1; PIXELS], b"abcd".to_vec()]);
    }
}

#[test]
fn lost_bytes_in_y4m_cost_no_more_than_the_frame_and_its_neighbours() {
    let frames: Vec<u8> = (1..=6).flat_map(y4m_frame).collect();
    let one = y4m_frame(0).len();
    for lost in 1..one {
        let bytes = [HEADER, &frames[..one + 15], &frames[one + 15 + lost..]].concat();
        let (found, torn) = read(Stream::new(Kind::Y4m), &bytes, &[]);
        let found = contents(found);
        assert!(torn > 0);
        assert!(found.starts_with(&[vec![1; PIXELS]]));
        assert!(
            found.ends_with(&[vec![5; PIXELS], vec![6; PIXELS]]),
            "lost {lost}"
        );
    }
}

#[test]
fn what_is_neither_stays_undecided_and_unkept() {
    let mut stream = Stream::of_any_kind();
    for _ in 0..1000 {
        stream.push(&[0, 0, 0, 1, 0x67, 0x42, 0xff]);
        assert_eq!(stream.next(&mut Frame::empty()), Ok(false));
    }
    assert_eq!(stream.kind(), None);
    assert!(stream.buffer.bytes().len() < 16);
    stream.push(b"Setting pipeline to PLAYING ...\n");
    stream.push(&picture(1));
    assert_eq!(stream.next(&mut Frame::empty()), Ok(true));
    assert_eq!(stream.kind(), Some(Kind::Mjpeg));
}

fn garbage() -> impl Strategy<Value = Vec<u8>> {
    // Bytes that matter to the readers are likely.
    let byte = prop_oneof![
        Just(0xffu8),
        Just(0xd8),
        Just(0xd9),
        Just(0xda),
        Just(b'F'),
        Just(b'\n'),
        any::<u8>()
    ];
    prop_oneof![
        prop::collection::vec(byte, 0..60),
        Just(b"FRAME\n".to_vec()),
        Just(b"\r\n--boundary\r\nContent-Type: image/jpeg\r\nContent-Length: 7\r\n\r\n".to_vec()),
    ]
}

proptest! {
    #[test]
    fn any_split_gives_the_same_frames(
        parts in prop::collection::vec((any::<u8>(), garbage()), 1..6),
        pieces in prop::collection::vec(1usize..90, 1..9),
        jpeg in any::<bool>(),
    ) {
        let (kind, mut bytes) = if jpeg { (Kind::Mjpeg, Vec::new()) } else { (Kind::Y4m, HEADER.to_vec()) };
        for (seed, garbage) in &parts {
            bytes.extend(if jpeg { picture(*seed) } else { y4m_frame(*seed) });
            bytes.extend_from_slice(garbage);
        }
        let (whole, torn) = read(Stream::new(kind), &bytes, &[]);
        let (split, torn_split) = read(Stream::of_any_kind(), &bytes, &pieces);
        prop_assert_eq!(torn, torn_split);
        prop_assert_eq!(contents(whole), contents(split));
    }

    #[test]
    fn garbage_costs_no_more_than_its_neighbours(garbage in garbage(), jpeg in any::<bool>()) {
        let (kind, header, one): (_, &[u8], fn(u8) -> Vec<u8>) =
            if jpeg { (Kind::Mjpeg, b"", picture) } else { (Kind::Y4m, HEADER, y4m_frame) };
        let picture = |seed| read(Stream::new(kind), &[header, &one(seed)].concat(), &[]).0.remove(0).data;
        let count = |from: u8, to: u8| (from..=to).flat_map(one).collect::<Vec<u8>>();
        let bytes = [header, &count(1, 3), &garbage, &count(4, 9), if jpeg { MORE } else { b"" }].concat();
        let found = contents(read(Stream::new(kind), &bytes, &[]).0);
        prop_assert!(found.starts_with(&[picture(1), picture(2), picture(3)]));
        let after: Vec<Vec<u8>> = (5..=9).map(picture).collect();
        prop_assert!(found.ends_with(&after));
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(garbage(), 0..30), pieces in prop::collection::vec(1usize..30, 1..5)) {
        for stream in [Stream::new(Kind::Mjpeg), Stream::of_any_kind()] {
            read(stream, &bytes.concat(), &pieces);
        }
    }
}
