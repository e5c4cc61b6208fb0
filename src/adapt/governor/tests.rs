//! The governor through minutes and days.

use super::simulator::{Event, GOOD, MIB, Simulator, Weather, cost};
use super::*;
use proptest::prelude::*;

const DAY: u32 = 24 * 3600;

fn settings() -> Settings {
    Settings {
        longest: Some(Duration::from_millis(200)),
        ..Settings::default()
    }
}

/// ResNet101, ResNet50 and a pruned one on a Raspberry Pi with room for all.
fn machine() -> Simulator {
    let models = [cost(160, 90), cost(90, 65), cost(50, 50)];
    Simulator::new(settings(), &models, 400 * MIB)
}

fn rung(model: usize, effort: Effort) -> Rung {
    Rung { model, effort }
}

#[test]
fn a_good_day_changes_nothing() {
    let mut machine = machine();
    machine.run(GOOD.lasting(DAY));
    assert_eq!(machine.events, []);
    assert_eq!(machine.stuck, []);
}

#[test]
fn load_brings_it_down_within_seconds_and_calm_up_again() {
    let mut machine = machine();
    machine.run(GOOD.lasting(100));
    machine.run(Weather { load: 2.0, ..GOOD }.lasting(300));
    machine.run(GOOD.lasting(300));
    let [down, up] = machine.events[..] else {
        panic!("{:?}", machine.events);
    };
    assert_eq!((down.to.model, down.cause), (1, Cause::Load));
    assert!(down.second <= 107, "{down:?}");
    assert_eq!((up.to.model, up.cause), (0, Cause::Recovered));
    assert!((460..470).contains(&up.second), "{up:?}");
}

/// A frame every `every` seconds, each of which takes `ms`.
fn seldom(governor: &mut Governor, (every, ms): (u32, u64), seconds: u32) -> Vec<Step> {
    let start = Instant::now();
    let step = |second: u32| {
        let frame = second.is_multiple_of(every).then_some(Spent {
            preparing: Duration::ZERO,
            inference: Duration::from_millis(ms),
        });
        governor.step(&Readings {
            at: start + Duration::from_secs(second.into()),
            frame,
            memory: None,
            heat: Heat::Unknown,
        })
    };
    (1..=seconds)
        .map(step)
        .filter(|step| *step != Step::Stay)
        .collect()
}

#[test]
fn frames_that_come_seldom_are_late_as_well() {
    let models = || vec![Some(cost(160, 90)), Some(cost(90, 65))];
    let mut governor = Governor::new(settings(), models(), 0);
    let moves = seldom(&mut governor, (4, 300), 20);
    assert!(
        matches!(
            moves[..],
            [
                Step::Move {
                    cause: Cause::Load,
                    ..
                },
                ..
            ]
        ),
        "{moves:?}"
    );
    let mut one = Governor::new(settings(), models(), 0);
    assert_eq!(
        seldom(&mut one, (100, 300), 250),
        [],
        "each is forgotten before the next"
    );
}

#[test]
fn heat_and_no_load_takes_a_cascade_to_its_faster_model_and_calm_back() {
    let both = Cost {
        opinion: Duration::from_millis(160),
        ..cost(90, 110)
    };
    let mut machine = Simulator::new(settings(), &[both, cost(90, 65)], 400 * MIB);
    machine.run(GOOD.lasting(600));
    machine.run(
        Weather {
            ambient: 47.0,
            ..GOOD
        }
        .lasting(900),
    );
    let first = machine.events[0];
    assert_eq!(
        (first.to, first.cause),
        (rung(1, Effort::Full), Cause::Heat)
    );
    machine.run(GOOD.lasting(7200));
    assert_eq!(machine.governor.rung(), rung(0, Effort::Full));
    machine.run(Weather { load: 4.0, ..GOOD }.lasting(60));
    assert_eq!(
        machine.stuck.last().map(|(_, cause)| *cause),
        Some(Cause::Load)
    );
}

#[test]
fn a_hiccup_is_no_trouble() {
    let mut machine = machine();
    for _ in 0..100 {
        machine.run(Weather { load: 9.0, ..GOOD }.lasting(4));
        machine.run(GOOD.lasting(4));
    }
    assert_eq!(machine.events, []);
}

#[test]
fn load_that_comes_back_makes_it_wait_longer_each_time() {
    let mut machine = machine();
    // as if the load were of our own making: it comes whenever the large model has run for a while
    for _ in 0..DAY / 200 {
        machine.run(Weather { load: 1.3, ..GOOD }.lasting(100));
        machine.run(GOOD.lasting(100));
    }
    let switches = machine.events.len();
    assert!(
        switches < 60,
        "{switches} switches in a day of {} loads",
        DAY / 200
    );
}

#[test]
fn where_no_model_is_fast_enough_it_says_so_once() {
    let mut machine = machine();
    machine.run(Weather { load: 9.0, ..GOOD }.lasting(600));
    assert_eq!(machine.models_in_turn(), [1, 2]);
    assert_eq!(machine.stuck.len(), 1);
    assert_eq!(machine.governor.rung(), rung(2, Effort::Full));
}

#[test]
fn heat_takes_models_first_and_then_time() {
    let mut machine = machine();
    machine.run(
        Weather {
            ambient: 60.0,
            ..GOOD
        }
        .lasting(3 * 3600),
    );
    let efforts: Vec<Rung> = machine.events.iter().take(4).map(|e| e.to).collect();
    assert_eq!(
        efforts,
        [
            rung(1, Effort::Full),
            rung(2, Effort::Full),
            rung(2, Effort::Half),
            rung(2, Effort::Quarter)
        ]
        .into_iter()
        .take(efforts.len())
        .collect::<Vec<_>>()
    );
    assert!(efforts.len() >= 3, "{:?}", machine.events);
    machine.run(GOOD.lasting(6 * 3600));
    assert_eq!(machine.governor.rung(), rung(0, Effort::Full));
}

#[test]
fn a_model_that_does_not_load_is_not_asked_for_again() {
    let mut machine = machine();
    machine.governor.failed(1, Instant::now());
    machine.run(Weather { load: 2.0, ..GOOD }.lasting(300));
    assert_eq!(machine.models_in_turn(), [2]);
}

#[test]
fn where_both_do_not_fit_the_present_model_goes_first() {
    let models = [cost(160, 90), cost(90, 65)];
    let mut machine = Simulator::new(settings(), &models, 130 * MIB);
    machine.run(Weather { taken: 30, ..GOOD }.lasting(60));
    machine.run(GOOD.lasting(600));
    assert_eq!(machine.models_in_turn(), [1, 0]);
    assert_eq!(machine.overdrawn, 0);
}

fn weather() -> impl Strategy<Value = Weather> {
    (
        1u32..1500,
        0.5f64..6.0,
        0u64..320,
        0.0f64..70.0,
        any::<bool>(),
    )
        .prop_map(|(seconds, load, taken, ambient, sensors)| Weather {
            seconds,
            load,
            taken,
            ambient,
            sensors,
        })
}

fn models() -> impl Strategy<Value = Vec<Cost>> {
    prop::collection::vec((10u64..300, 40u64..120), 1..5)
        .prop_map(|models| models.into_iter().map(|(ms, mib)| cost(ms, mib)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn switches_are_dwell_apart_and_never_take_more_memory_than_there_is(
        models in models(), days in prop::collection::vec(weather(), 1..40), dwell in 1u64..120,
    ) {
        let settings = Settings { dwell: Duration::from_secs(dwell), ..settings() };
        let mut machine = Simulator::new(settings, &models, 500 * MIB);
        days.into_iter().for_each(|weather| machine.run(weather));
        prop_assert!(machine.gaps().all(|gap| u64::from(gap) >= dwell), "{:?}", machine.events);
        prop_assert_eq!(machine.overdrawn, 0);
    }

    #[test]
    fn it_comes_back_to_the_best_model_once_conditions_stay_good(
        days in prop::collection::vec(weather(), 1..40),
    ) {
        let mut machine = machine();
        days.into_iter().for_each(|weather| machine.run(weather));
        // at most five steps up, each after an hour at most
        machine.run(GOOD.lasting(5 * 3700 + 3600));
        prop_assert_eq!(machine.governor.rung(), rung(0, Effort::Full));
        let before = machine.events.len();
        machine.run(GOOD.lasting(DAY));
        prop_assert_eq!(machine.events.len(), before);
    }

    #[test]
    fn it_reacts_to_trouble_within_dwell_and_seconds(
        days in prop::collection::vec(weather(), 0..20), load in 2.6f64..6.0,
    ) {
        let mut machine = machine();
        days.into_iter().for_each(|weather| machine.run(weather));
        let begin = machine.second;
        let bad = Weather { load, ..GOOD };
        machine.run(bad.lasting(60));
        let fast_enough = |ms: f64| 2.0 + ms * load <= 200.0;
        let reacted = |event: &Event| event.second > begin && event.second <= begin + 30 + 5 + 1;
        let at_the_bottom = machine.governor.rung().model == 2;
        let well = [160.0, 90.0, 50.0].map(fast_enough)[machine.governor.rung().model];
        prop_assert!(machine.events.iter().any(reacted) || at_the_bottom || well, "{:?}", machine.events);
    }
}
