//! Controls by name: set in an order that a camera accepts, and each that cannot be set told with its remedy.

use std::collections::BTreeMap;

use rustix::io::Errno;

use super::super::controls::{plain_name, set};
use super::super::*;
use super::fake::{Fake, SECOND, next};
use crate::control::{ControlValue, Controls};

const AUTO: u32 = 10;
const EXPOSURE: u32 = 2;
const WHITE: u32 = 3;
const MAINS: u32 = 4;
const ZOOM: u32 = 5;
const SERIAL: u32 = 6;

fn control(id: u32, name: &str, kind: ControlKind, min: i32, max: i32) -> Control {
    Control {
        id,
        name: name.into(),
        kind,
        min,
        max,
        step: 1,
        default: min,
        value: Some(min),
        read_only: id == SERIAL,
        inactive: false,
    }
}

fn menu(items: &[(u32, &str)]) -> ControlKind {
    let items = items.iter().map(|&(index, text)| Menu {
        index,
        text: text.into(),
    });
    ControlKind::Menu(items.collect())
}

fn camera() -> Fake {
    let fake = Fake::new();
    fake.world().controls = vec![
        control(
            EXPOSURE,
            "Exposure Time, Absolute",
            ControlKind::Number,
            3,
            2047,
        ),
        control(WHITE, "White Balance, Automatic", ControlKind::Switch, 0, 1),
        control(
            MAINS,
            "Power Line Frequency",
            menu(&[(0, "Disabled"), (1, "50 Hz"), (2, "60 Hz")]),
            0,
            2,
        ),
        control(
            AUTO,
            "Auto Exposure",
            menu(&[(1, "Manual Mode"), (3, "Aperture Priority Mode")]),
            0,
            3,
        ),
        control(ZOOM, "Lens", ControlKind::Other, 0, 0),
        control(SERIAL, "Serial", ControlKind::Number, 0, 9),
    ];
    fake
}

fn wanted(pairs: &[(&str, ControlValue)]) -> Controls {
    let pairs = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()));
    BTreeMap::from_iter(pairs)
}

fn text(text: &str) -> ControlValue {
    ControlValue::Text(text.into())
}

#[test]
fn names_are_those_that_v4l2_ctl_shows() {
    for (driver, plain) in [
        ("White Balance, Automatic", "white_balance_automatic"),
        ("Exposure (Absolute)", "exposure_absolute"),
        ("Gain", "gain"),
        (" LED1  Mode -- ", "led1_mode"),
        ("", ""),
        ("???", ""),
    ] {
        assert_eq!(plain_name(driver), plain);
    }
}

#[test]
fn modes_are_set_before_what_they_govern() {
    let fake = camera();
    let wanted = wanted(&[
        ("auto_exposure", text("manual mode")),
        ("exposure_time_absolute", ControlValue::Number(150)),
        ("power_line_frequency", ControlValue::Number(1)),
        ("white_balance_automatic", ControlValue::Switch(true)),
    ]);
    assert_eq!(set(&mut fake.clone(), &wanted), [""; 0]);
    assert_eq!(
        fake.world().set_controls,
        [(AUTO, 1), (MAINS, 1), (WHITE, 1), (EXPOSURE, 150)]
    );
}

#[test]
fn what_cannot_be_set_names_the_remedy_and_the_rest_is_set() {
    for (name, value, expected) in [
        (
            "zoom",
            ControlValue::Number(1),
            "zoom: this camera has no such control; it has exposure_time_absolute white_balance_automatic power_line_frequency auto_exposure serial",
        ),
        (
            "exposure_time_absolute",
            ControlValue::Number(5000),
            "exposure_time_absolute = 5000: possible: 3 to 2047",
        ),
        (
            "exposure_time_absolute",
            ControlValue::Number(i64::MAX),
            "possible: 3 to 2047",
        ),
        (
            "exposure_time_absolute",
            text("long"),
            "exposure_time_absolute = \"long\": possible: 3 to 2047",
        ),
        (
            "exposure_time_absolute",
            ControlValue::Number(150),
            "exposure_time_absolute = 150: the camera refuses it (Permission denied (os error 13)); an automatic mode may govern it: turn off what belongs to it of white_balance_automatic auto_exposure",
        ),
        (
            "white_balance_automatic",
            ControlValue::Number(2),
            "possible: true or false",
        ),
        (
            "auto_exposure",
            ControlValue::Number(2),
            "possible: 1 \"Manual Mode\", 3 \"Aperture Priority Mode\"",
        ),
        ("auto_exposure", text("auto"), "possible: 1 \"Manual Mode\""),
        (
            "auto_exposure",
            ControlValue::Switch(true),
            "possible: 1 \"Manual Mode\"",
        ),
        (
            "lens",
            ControlValue::Number(1),
            "controls of its type cannot be set",
        ),
        ("serial", ControlValue::Number(1), "it can only be read"),
    ] {
        let fake = camera();
        let wanted = wanted(&[(name, value), ("power_line_frequency", text("50 Hz"))]);
        let warnings = set(&mut fake.clone(), &wanted);
        assert_eq!(warnings.len(), 1, "{name}: {warnings:?}");
        assert!(warnings[0].contains(expected), "{warnings:?}");
        assert_eq!(fake.world().set_controls, [(MAINS, 1)]);
    }
    let warnings = set(
        &mut Fake::new(),
        &wanted(&[("gain", ControlValue::Number(1))]),
    );
    assert!(warnings[0].contains("no controls"), "{warnings:?}");
}

#[test]
fn all_32_bits_of_a_mask_can_be_set() {
    let fake = Fake::new();
    fake.world().controls = vec![control(7, "Bits", ControlKind::Bits, 0, -1)];
    let wanted = wanted(&[("bits", ControlValue::Number(0xffff_ffff))]);
    assert_eq!(set(&mut fake.clone(), &wanted), [""; 0]);
    assert_eq!(fake.world().set_controls, [(7, -1)]);
}

#[test]
fn a_replugged_camera_is_set_up_again_and_a_refusal_is_no_reason_to_give_up() {
    let fake = camera();
    let controls = wanted(&[
        ("power_line_frequency", ControlValue::Number(2)),
        ("white_balance_automatic", ControlValue::Switch(false)),
    ]);
    fake.fail("set_control", &[Errno::INTR, Errno::IO]);
    let mut camera = fake
        .open_as(&V4l2Spec {
            controls,
            ..V4l2Spec::default()
        })
        .unwrap();
    assert_eq!(fake.world().set_controls, [(WHITE, 0)]);
    fake.world().hung_up = true;
    assert!(matches!(next(&mut camera).0, Event::Lost(_)));
    fake.world().set_controls.clear();
    fake.shoot(SECOND / 2, 1);
    assert_eq!(next(&mut camera).0, Event::Frame);
    assert_eq!(fake.world().set_controls, [(MAINS, 2), (WHITE, 0)]);
}
