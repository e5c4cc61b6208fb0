//! The demo scenes: the same picture for the same index on every machine, or what is measured on them means nothing.

use xxhash_rust::xxh3::xxh3_64;

use super::*;

fn picture(index: u64) -> Frame {
    let mut frame = Frame::empty();
    render(index, &mut frame);
    frame
}

#[test]
fn pictures_have_the_recorded_bytes() {
    // Anew after a change to the scenes: look at the pictures first.
    assert_eq!(xxh3_64(&picture(7).data), 233_256_531_377_343_594);
    assert_eq!(
        xxh3_64(&picture(1_000_000_030).data),
        3_490_777_481_141_631_340
    );
}

#[test]
fn a_used_frame_leaves_no_trace() {
    let mut used = picture(3);
    used.file = Some("old.png".into());
    render(30, &mut used);
    assert!(used.data == picture(30).data);
    assert_eq!(used.file, None);
}

#[test]
fn a_picture_fills_the_frame_it_claims() {
    let frame = picture(30);
    assert_eq!(
        (frame.format, frame.width, frame.height),
        (PixelFormat::Rgb3, 640, 480)
    );
    assert_eq!(frame.stride, 640 * 3);
    assert_eq!(frame.data.len(), 640 * 480 * 3);
}

#[test]
fn scenes_take_turns_and_sixty_pictures_show_both() {
    let labels: Vec<_> = (0..650).map(scene_label).collect();
    let mut cuts = Vec::new();
    for (index, pair) in labels.windows(2).enumerate() {
        if pair[0] != pair[1] {
            cuts.push(index + 1);
        }
    }
    assert_eq!(labels[0], "golf ball");
    assert_eq!(cuts, [25, 50, 200, 350, 500]);
}

#[test]
fn each_scene_moves() {
    // More than noise: in blocks of 16x16 pixels, whose noise averages out, something changes.
    for index in [4, 30] {
        let [before, after] = [index, index + 6].map(|index| block_means(&picture(index)));
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(a, b)| a.abs_diff(**b) > 6)
            .count();
        assert!(
            moved > 20,
            "{}: only {moved} blocks changed",
            scene_label(index)
        );
    }
}

fn block_means(frame: &Frame) -> Vec<u32> {
    let mut sums = vec![0; (WIDTH / 16) * (HEIGHT / 16)];
    for (at, pixel) in frame.data.chunks_exact(CHANNELS).enumerate() {
        let (x, y) = (at % WIDTH / 16, at / WIDTH / 16);
        sums[y * (WIDTH / 16) + x] += u32::from(pixel[1]);
    }
    sums.iter().map(|sum| sum / 256).collect()
}

#[test]
fn the_source_keeps_its_pace_and_the_callers_timeout() {
    let mut demo = Demo::new();
    let mut frame = Frame::empty();
    assert_eq!(demo.next(&mut frame, Duration::from_secs(5)), Event::Frame);
    let first = frame.captured;
    assert_eq!(demo.next(&mut frame, Duration::ZERO), Event::Timeout);
    assert_eq!(demo.next(&mut frame, Duration::from_secs(5)), Event::Frame);
    assert!(frame.captured - first >= PERIOD);
    assert!(frame.data == picture(1).data);
}
