//! Cameras with noise, exposure that adjusts itself, things that come and go: what of it is a change.

use super::*;
use crate::random::Random;
use proptest::prelude::*;

const FRAME: Duration = Duration::from_millis(100);
const SETTLE: Settle = Settle {
    time: Duration::from_secs(2),
    frames: 0,
};

/// A scene: a slope with squares, in levels.
fn scene(seed: u64) -> Thumbnail {
    let mut random = Random::new(seed);
    let mut cells = [0.0; CELLS];
    for (i, cell) in cells.iter_mut().enumerate() {
        let (x, y) = (i % SIDE, i / SIDE);
        let square = if (x / 7 + y / 7) % 2 == 0 { 40.0 } else { 0.0 };
        *cell = 60.0 + 2.0 * f32::from(u8::try_from(x).unwrap()) + square + random.normal();
    }
    Thumbnail(cells)
}

/// The scene as a camera with this noise, gain and offset shows it.
fn shown(
    scene: &Thumbnail,
    noise: f32,
    (gain, shift): (f32, f32),
    random: &mut Random,
) -> Thumbnail {
    Thumbnail(scene.0.map(|v| gain * v + shift + noise * random.normal()))
}

/// `scene` with something of 3 x 3 cells in it.
fn with_a_thing(scene: &Thumbnail, levels: f32) -> Thumbnail {
    let mut changed = scene.clone();
    for i in 0..9 {
        changed.0[(10 + i / 3) * SIDE + 10 + i % 3] += levels;
    }
    changed
}

struct Camera {
    gate: StillGate,
    at: Instant,
    random: Random,
}

impl Camera {
    fn new() -> Self {
        Self {
            gate: StillGate::new(Settings::default(), SETTLE),
            at: Instant::now(),
            random: Random::new(5),
        }
    }

    /// Of `count` frames, how many are classified.
    fn look(&mut self, scene: &Thumbnail, noise: f32, light: (f32, f32), count: usize) -> usize {
        let mut classified = 0;
        for _ in 0..count {
            self.at += FRAME;
            let thumbnail = shown(scene, noise, light, &mut self.random);
            classified += usize::from(self.gate.see(thumbnail, self.at) == Verdict::Classify);
        }
        classified
    }
}

#[test]
fn a_still_scene_is_classified_until_it_has_settled_and_then_now_and_then() {
    for noise in [0.0, 0.5, 2.0, 5.0] {
        let mut camera = Camera::new();
        let scene = scene(1);
        let first = camera.look(&scene, noise, (1.0, 0.0), 40);
        assert!((20..40).contains(&first), "noise {noise}: {first}");
        // a minute: once every ten seconds
        let later = camera.look(&scene, noise, (1.0, 0.0), 600);
        assert!((5..=7).contains(&later), "noise {noise}: {later}");
    }
}

#[test]
fn something_small_that_comes_is_seen_at_once_and_so_is_its_going() {
    for noise in [0.0, 0.5, 2.0] {
        let mut camera = Camera::new();
        let (empty, thing) = (scene(1), with_a_thing(&scene(1), 40.0));
        camera.look(&empty, noise, (1.0, 0.0), 60);
        assert_eq!(camera.look(&thing, noise, (1.0, 0.0), 20), 20);
        camera.look(&thing, noise, (1.0, 0.0), 60);
        assert_eq!(camera.look(&empty, noise, (1.0, 0.0), 20), 20);
    }
}

#[test]
fn a_camera_that_adjusts_its_exposure_is_no_change() {
    let mut camera = Camera::new();
    let scene = scene(2);
    camera.look(&scene, 0.5, (1.0, 0.0), 60);
    let mut classified = 0;
    for step in 0..100u8 {
        let t = f32::from(step) / 100.0;
        classified += camera.look(&scene, 0.5, (1.0 - 0.3 * t, 20.0 * t), 1);
    }
    assert!(classified <= 1, "{classified} of 100");
    // and a jump of it neither
    assert!(camera.look(&scene, 0.5, (1.3, -10.0), 20) <= 1);
}

#[test]
fn the_light_going_out_is_a_change() {
    let mut camera = Camera::new();
    camera.look(&scene(2), 0.5, (1.0, 0.0), 60);
    assert_eq!(camera.look(&scene(2), 0.5, (0.1, 0.0), 5), 5);
}

#[test]
fn a_scene_that_moves_is_classified_frame_by_frame() {
    let mut camera = Camera::new();
    let classified: usize = (0..300)
        .map(|n| {
            camera.look(&scene(n), 0.5, (1.0, 0.0), 0) + {
                let mut moved = scene(1);
                moved.0.rotate_left(usize::try_from(n).unwrap() % CELLS);
                camera.look(&moved, 0.5, (1.0, 0.0), 1)
            }
        })
        .sum();
    assert!(classified > 290, "{classified} of 300");
}

#[test]
fn a_slow_change_adds_up_to_one() {
    let mut camera = Camera::new();
    let scene = scene(3);
    camera.look(&scene, 0.3, (1.0, 0.0), 60);
    // a shadow that takes a minute and less than a level a second
    let seen: usize = (0..600u16)
        .map(|n| {
            camera.look(
                &with_a_thing(&scene, f32::from(n) / 15.0),
                0.3,
                (1.0, 0.0),
                1,
            )
        })
        .sum();
    assert!(seen > 50, "{seen}");
}

#[test]
fn what_was_forgotten_is_classified_anew() {
    let mut camera = Camera::new();
    camera.look(&scene(1), 0.5, (1.0, 0.0), 60);
    assert_eq!(camera.look(&scene(1), 0.5, (1.0, 0.0), 1), 0);
    camera.gate.reset();
    assert_eq!(camera.look(&scene(1), 0.5, (1.0, 0.0), 10), 10);
}

#[test]
fn a_thumbnail_has_the_mean_of_each_part() {
    let side = 224;
    let mut picture = vec![0; side * side * 3];
    for y in 0..8 {
        picture[(y * side + 16) * 3..][..24].fill(200);
    }
    let thumbnail = Thumbnail::of(&Square::full(&picture));
    assert_eq!(thumbnail.0[2], 200.0);
    assert_eq!(thumbnail.0.iter().sum::<f32>(), 200.0);
    assert_eq!(
        Thumbnail::of(&Square::full(&[77; 50 * 50 * 3])).0,
        [77.0; CELLS]
    );
    assert_eq!(Thumbnail::of(&Square::full(&[9; 300])).0, [9.0; CELLS]);
    assert_eq!(Thumbnail::of(&Square::full(&[])).0, [0.0; CELLS]);
}

proptest! {
    /// Whatever is shown and whatever the clock does, a camera is never left unclassified for longer than is allowed.
    #[test]
    fn nothing_is_missed_for_longer_than_the_interval(steps in prop::collection::vec((0u64..3000, 0u64..3, 0f32..6.0), 1..200)) {
        let mut gate = StillGate::new(Settings::default(), SETTLE);
        let mut random = Random::new(9);
        let (mut at, mut last) = (Instant::now(), None);
        for (step, number, noise) in steps {
            at += Duration::from_millis(step);
            match gate.see(shown(&scene(number), noise, (1.0, 0.0), &mut random), at) {
                Verdict::Classify => last = Some(at),
                Verdict::Still => {
                    let last = last.expect("the first frame is classified");
                    prop_assert!(at - last < Settings::default().max_interval);
                }
            }
        }
    }

    #[test]
    fn no_thumbnail_makes_it_panic(values in prop::collection::vec(prop::num::f32::ANY, 2 * CELLS..=2 * CELLS)) {
        let mut gate = StillGate::new(Settings::default(), SETTLE);
        let thumbnail = |part: &[f32]| Thumbnail(part.try_into().unwrap());
        let at = Instant::now();
        gate.see(thumbnail(&values[..CELLS]), at);
        gate.see(thumbnail(&values[CELLS..]), at + FRAME);
    }
}

#[test]
fn what_lies_beside_the_picture_is_not_looked_at() {
    let bytes: Vec<u8> = (0..40 * 40)
        .flat_map(|i| {
            if (10..30).contains(&(i / 40)) {
                [50; 3]
            } else {
                [200; 3]
            }
        })
        .collect();
    let square = Square {
        rows: 10..30,
        ..Square::full(&bytes)
    };
    assert_eq!(Thumbnail::of(&square).0, [50.0; CELLS]);
}

#[test]
fn a_change_is_looked_at_until_enough_frames_have_had_their_say() {
    let settle = Settle {
        frames: 5,
        ..SETTLE
    };
    let mut gate = StillGate::new(Settings::default(), settle);
    let (scene, mut at) = (scene(1), Instant::now());
    // one frame in two seconds
    let seen: Vec<bool> = (0..8)
        .map(|_| {
            at += Duration::from_secs(2);
            gate.see(scene.clone(), at) == Verdict::Classify
        })
        .collect();
    assert_eq!(seen, [true, true, true, true, true, false, false, false]);
}
