//! Streams of scores, and what is said of them.

use super::*;
use proptest::prelude::*;

const FRAME: Duration = Duration::from_millis(33);

/// One label, as it is without any configuration.
fn plain() -> Smoother {
    with(Settings::default(), &[], Labelling::Single)
}

fn with(settings: Settings, thresholds: &[f32], labelling: Labelling) -> Smoother {
    Smoother::new(settings, Thresholds(thresholds.to_vec()), labelling)
}

/// Feeds `frames` at 30 per second; says for each which label held and whether it changed.
fn feed(smoother: &mut Smoother, start: Instant, frames: &[[f32; 2]]) -> Vec<Smoothed> {
    let mut at = start;
    let step = |frame: &[f32; 2]| {
        at += FRAME;
        smoother.update(frame, at).unwrap()
    };
    frames.iter().map(step).collect()
}

fn changes(seen: &[Smoothed]) -> Vec<usize> {
    seen.iter()
        .filter(|s| s.changed)
        .map(|s| s.top.unwrap())
        .collect()
}

#[test]
fn a_label_settles_once_and_stays() {
    let seen = feed(&mut plain(), Instant::now(), &[[0.9, 0.1]; 60]);
    assert_eq!(changes(&seen), [0]);
    assert!(!seen[0].changed, "the first frame alone settles nothing");
    assert_eq!(seen[0].top.unwrap(), 0, "but it has a leader");
}

#[test]
fn a_single_bad_frame_changes_nothing() {
    let mut frames = [[0.9, 0.1]; 60];
    frames[40] = [0.0, 1.0];
    let seen = feed(&mut plain(), Instant::now(), &frames);
    assert_eq!(changes(&seen), [0]);
}

#[test]
fn a_new_scene_takes_over_within_a_second() {
    let mut frames = [[0.9, 0.1]; 60];
    frames[30..].fill([0.1, 0.9]);
    let seen = feed(&mut plain(), Instant::now(), &frames);
    assert_eq!(changes(&seen), [0, 1]);
}

#[test]
fn a_narrow_lead_takes_over_after_the_hold_time() {
    let mut frames = [[0.9, 0.1]; 130];
    frames[30..].fill([0.48, 0.52]);
    let start = Instant::now();
    let seen = feed(&mut plain(), start, &frames);
    assert_eq!(changes(&seen), [0, 1]);
    let crossed = seen.iter().rposition(|s| s.changed).unwrap();
    assert!(
        crossed > 30 + 30,
        "not before the hold time: frame {crossed}"
    );
}

#[test]
fn independent_pictures_are_not_smoothed() {
    let seen = feed(
        &mut Smoother::pass_through(Thresholds::default(), Labelling::Single),
        Instant::now(),
        &[[0.6, 0.4], [0.1, 0.9], [0.7, 0.3]],
    );
    assert_eq!(changes(&seen), [0, 1, 0]);
    assert!((seen[1].confidence - 0.9).abs() < f32::EPSILON);
}

#[test]
fn the_frame_rate_does_not_matter() {
    let start = Instant::now();
    let average_after_a_second = |steps: u32| {
        let mut smoother = plain();
        smoother.update(&[1.0, 0.0], start).unwrap();
        let mut at = start;
        for _ in 0..steps {
            at += Duration::from_secs(1) / steps;
            smoother.update(&[0.0, 1.0], at).unwrap();
        }
        smoother.average.of(0)
    };
    assert!((average_after_a_second(5) - average_after_a_second(60)).abs() < 1e-4);
}

#[test]
fn a_frame_from_the_future_does_not_stop_time() {
    let (start, hour) = (Instant::now(), Duration::from_secs(3600));
    let mut smoother = plain();
    feed(&mut smoother, start, &[[0.9, 0.1]; 30]);
    smoother.update(&[0.9, 0.1], start + hour).unwrap();
    let after = feed(&mut smoother, start + 31 * FRAME, &[[0.1, 0.9]; 30]);
    assert_eq!(changes(&after), [1]);
    // nor does one of a class that begins to lead with it
    smoother.update(&[0.9, 0.1], start + hour).unwrap();
    let after = feed(&mut smoother, start + 62 * FRAME, &[[0.55, 0.45]; 60]);
    assert_eq!(after.last().unwrap().top, Some(0));
}

#[test]
fn no_classes_give_no_label() {
    assert_eq!(plain().update(&[], Instant::now()), None);
}

/// What is said, and what is changed to.
fn said(seen: &[Smoothed]) -> Vec<Option<usize>> {
    seen.iter().filter(|s| s.changed).map(|s| s.top).collect()
}

#[test]
fn a_label_that_is_not_sure_enough_is_unknown_and_says_how_sure_it_is() {
    let mut smoother = with(Settings::default(), &[0.7, 0.5], Labelling::Single);
    let seen = feed(&mut smoother, Instant::now(), &[[0.6, 0.4]; 60]);
    assert_eq!(said(&seen), [None]);
    assert!((seen[59].confidence - 0.6).abs() < 1e-4);
    let mut other = with(Settings::default(), &[0.7, 0.5], Labelling::Single);
    let seen = feed(&mut other, Instant::now(), &[[0.4, 0.6]; 60]);
    assert_eq!(said(&seen), [Some(1)], "each label has its own threshold");
}

#[test]
fn from_one_label_to_the_next_it_is_not_unknown_between() {
    let mut frames = [[0.95, 0.05]; 120];
    frames[60..].fill([0.05, 0.95]);
    let mut smoother = with(Settings::default(), &[0.6, 0.6], Labelling::Single);
    let seen = feed(&mut smoother, Instant::now(), &frames);
    assert_eq!(said(&seen), [Some(0), Some(1)]);
}

#[test]
fn a_label_that_holds_stays_until_it_is_clearly_below_its_threshold() {
    let mut frames = vec![[0.8, 0.1]; 60];
    frames.extend([[0.58, 0.1]; 90]);
    frames.extend([[0.4, 0.1]; 120]);
    frames.extend([[0.58, 0.1]; 90]);
    let mut smoother = with(Settings::default(), &[0.6, 0.6], Labelling::Single);
    let seen = feed(&mut smoother, Instant::now(), &frames);
    assert_eq!(said(&seen), [Some(0), None]);
    assert!(seen[..150].iter().skip(30).all(|s| s.top == Some(0)));
}

#[test]
fn a_label_stays_for_its_dwell() {
    let dwell = Duration::from_secs(3);
    let settings = Settings {
        dwell,
        ..Settings::default()
    };
    let mut frames = [[0.9, 0.1]; 200];
    frames[30..].fill([0.1, 0.9]);
    let seen = feed(
        &mut with(settings, &[], Labelling::Single),
        Instant::now(),
        &frames,
    );
    let changed: Vec<usize> = (0..seen.len()).filter(|&i| seen[i].changed).collect();
    assert_eq!(changed.len(), 2);
    assert!(FRAME * u32::try_from(changed[1] - changed[0]).unwrap() >= dwell);
}

#[test]
fn by_votes_a_label_holds_that_enough_of_the_last_frames_had() {
    let settings = Settings {
        votes: Votes::new(3, 5),
        ..Settings::default()
    };
    let (a, b) = ([0.9, 0.1], [0.2, 0.8]);
    let mut smoother = with(settings, &[0.5, 0.5], Labelling::Single);
    let frames = [a, a, a, b, b, a, b, a, b, b, b, b];
    let seen = feed(&mut smoother, Instant::now(), &frames);
    let changed: Vec<usize> = (0..seen.len()).filter(|&i| seen[i].changed).collect();
    assert_eq!((said(&seen), changed), (vec![Some(0), Some(1)], vec![2, 6]));
    let mut unsure = with(settings, &[0.95, 0.95], Labelling::Single);
    let seen = feed(&mut unsure, Instant::now(), &frames);
    assert_eq!(said(&seen), [None]);
}

#[test]
fn of_as_many_votes_the_label_that_holds_wins() {
    let settings = Settings {
        votes: Votes::new(2, 4),
        ..Settings::default()
    };
    let mut smoother = with(settings, &[], Labelling::Single);
    let frames: Vec<[f32; 2]> = (0..40)
        .map(|i| if i % 2 == 0 { [0.9, 0.1] } else { [0.1, 0.9] })
        .collect();
    let seen = feed(&mut smoother, Instant::now(), &frames);
    assert_eq!(said(&seen), [Some(0)]);
}

#[test]
fn a_label_that_holds_stays_while_another_leads_that_is_not_sure() {
    let mut frames = vec![[0.9, 0.1]; 60];
    frames.extend([[0.45, 0.47]; 150]);
    let mut smoother = with(Settings::default(), &[0.5, 0.5], Labelling::Single);
    let seen = feed(&mut smoother, Instant::now(), &frames);
    assert_eq!(said(&seen), [Some(0)]);
}

#[test]
fn votes_are_one_to_a_hundred_and_no_more_than_frames() {
    assert!(Votes::new(0, 5).is_none() && Votes::new(6, 5).is_none());
    assert!(Votes::new(1, 101).is_none() && Votes::new(0, 0).is_none());
    assert_eq!(Votes::new(1, 1).unwrap().mask(), 1);
    assert_eq!(Votes::new(5, 100).unwrap().mask().count_ones(), 100);
}

#[test]
fn several_labels_come_and_go_each_for_itself() {
    let settings = Settings::default();
    let mut smoother = with(settings, &[0.5, 0.5], Labelling::Several);
    let mut frames = vec![[0.9, 0.1]; 60];
    frames.extend([[0.9, 0.8]; 60]);
    frames.extend([[0.1, 0.8]; 60]);
    frames.extend([[0.1, 0.1]; 60]);
    let mut at = Instant::now();
    let mut held = Vec::new();
    for frame in &frames {
        at += FRAME;
        if smoother.update(frame, at).unwrap().changed {
            held.push(smoother.holding().unwrap().to_vec());
        }
    }
    assert_eq!(held, [vec![0], vec![0, 1], vec![1], vec![]]);
}

#[test]
fn with_several_labels_the_surest_is_the_top_and_none_is_unknown() {
    let mut smoother = with(Settings::default(), &[0.5, 0.5], Labelling::Several);
    let seen = feed(&mut smoother, Instant::now(), &[[0.7, 0.9]; 60]);
    assert_eq!(seen[59].top, Some(1));
    let seen = feed(
        &mut smoother,
        Instant::now() + FRAME * 61,
        &[[0.2, 0.3]; 90],
    );
    assert_eq!(seen[89].top, None);
    assert!((seen[89].confidence - 0.3).abs() < 0.01);
}

#[test]
fn several_labels_can_be_voted_for() {
    let settings = Settings {
        votes: Votes::new(3, 4),
        time_constant: Duration::ZERO,
        ..Settings::default()
    };
    let mut smoother = with(settings, &[0.5, 0.5], Labelling::Several);
    let (on, off) = ([0.1, 0.9], [0.1, 0.1]);
    let frames = [off, on, on, off, on, on, off, off, off];
    let held: Vec<bool> = frames
        .iter()
        .enumerate()
        .map(|(i, frame)| {
            let at = Instant::now() + FRAME * u32::try_from(i).unwrap();
            smoother.update(frame, at).unwrap();
            smoother.holding() == Some(&[1])
        })
        .collect();
    assert_eq!(
        held,
        [false, false, false, false, true, true, true, true, false]
    );
}

#[test]
fn thresholds_are_found_by_the_names_of_labels() {
    let labels = ["cat".to_owned(), "dog".to_owned()];
    let asked = |usual, labelling| {
        let named = BTreeMap::from([("dog".to_owned(), 0.9), ("cow".to_owned(), 0.1)]);
        Confidences { usual, named }.thresholds(&labels, labelling)
    };
    assert_eq!(asked(None, Labelling::Single).0, [0.0, 0.9]);
    assert_eq!(asked(None, Labelling::Several).0, [0.5, 0.9]);
    assert_eq!(asked(Some(0.3), Labelling::Several).0, [0.3, 0.9]);
}

proptest! {
    #[test]
    fn a_constant_stream_changes_once(scores in prop::collection::vec(0f32..=1.0, 1..12), steps in prop::collection::vec(0u64..400, 1..80)) {
        let mut smoother = plain();
        let mut at = Instant::now();
        let mut labels = Vec::new();
        let mut count = 0;
        for step in steps {
            at += Duration::from_millis(step);
            let now = smoother.update(&scores, at).unwrap();
            labels.push(now.top.unwrap());
            count += u32::from(now.changed);
        }
        prop_assert!(count <= 1);
        prop_assert!(labels.iter().all(|&label| label == labels[0]));
    }

    #[test]
    fn confidence_stays_a_probability(frames in prop::collection::vec((prop::array::uniform3(prop::num::f32::ANY), 0u64..2000), 1..60)) {
        let mut smoother = plain();
        let mut at = Instant::now();
        for (scores, step) in frames {
            at += Duration::from_millis(step);
            let now = smoother.update(&scores, at).unwrap();
            prop_assert!((0.0..=1.0).contains(&now.confidence));
        }
    }

    #[test]
    fn labels_never_change_sooner_than_their_dwell(
        frames in prop::collection::vec((prop::array::uniform3(0f32..=1.0), 0u64..300), 1..120),
        dwell in 0u64..2000,
        votes in prop::option::of(1u32..5),
        several in prop::bool::ANY,
    ) {
        let dwell = Duration::from_millis(dwell);
        let votes = votes.and_then(|needed| Votes::new(needed, 5));
        let settings = Settings { dwell, votes, ..Settings::default() };
        let labelling = if several { Labelling::Several } else { Labelling::Single };
        let mut smoother = with(settings, &[0.5; 3], labelling);
        let start = Instant::now();
        let (mut at, mut last) = (start, [None; 4]);
        let mut before: Option<Vec<usize>> = None;
        for (frame, step) in frames {
            at += Duration::from_millis(step);
            let now = smoother.update(&frame, at).unwrap();
            let held = smoother.holding().map_or_else(|| now.top.into_iter().collect(), <[usize]>::to_vec);
            if !now.changed {
                continue;
            }
            for class in 0..4 {
                let was = |held: &Vec<usize>| if class < 3 { held.contains(&class) } else { held.is_empty() };
                if before.as_ref().is_some_and(|before| was(before) != was(&held)) && (class < 3 || !several) {
                    prop_assert!(last[class].is_none_or(|last| at - last >= dwell));
                    last[class] = Some(at);
                }
            }
            before = Some(held);
        }
    }

    #[test]
    fn reset_forgets(before in prop::collection::vec(prop::array::uniform2(0f32..=1.0), 0..40), after in prop::collection::vec(prop::array::uniform2(0f32..=1.0), 1..40)) {
        let start = Instant::now();
        let mut used = plain();
        feed(&mut used, start, &before);
        used.reset();
        let later = start + Duration::from_secs(5);
        let fresh = feed(&mut plain(), later, &after);
        prop_assert_eq!(feed(&mut used, later, &after), fresh);
    }
}
