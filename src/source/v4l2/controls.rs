//! Setting a camera's controls by name. A control that cannot be set is a warning that names the remedy:
//! a camera with the wrong exposure still sees.

use std::io;

use rustix::io::Errno;

use super::device::{Control, ControlKind, Device, Menu};
use super::retry;
use crate::control::{ControlValue, Controls};

/// A control's name as `v4l2-ctl -l` shows it: lower case, what is no letter or digit becomes one `_`
/// between two of them.
#[must_use]
pub fn plain_name(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("_").to_ascii_lowercase()
}

/// Sets what is wanted and returns a warning for each that could not be set. Switches and menus go first:
/// a camera refuses an exposure time while its exposure is automatic.
pub(super) fn set(device: &mut impl Device, wanted: &Controls) -> Vec<String> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let offered = device.controls();
    let mut warnings = Vec::new();
    let mut modes_first: Vec<_> = Vec::new();
    for (name, value) in wanted {
        match find(&offered, name) {
            Some(control) => modes_first.push((!control.kind.is_mode(), control, name, value)),
            None => warnings.push(unknown(&offered, name)),
        }
    }
    modes_first.sort_by_key(|(later, ..)| *later);
    for (_, control, name, value) in modes_first {
        let set = number(control, value)
            .map_err(|why| format!("{name} = {value}: {why}"))
            .and_then(|number| {
                retry(|| device.set_control(control.id, number))
                    .map_err(|error| refused(&offered, name, value, &error))
            });
        match set {
            Ok(()) => log::debug!("{name} = {value}"),
            Err(warning) => warnings.push(warning),
        }
    }
    warnings
}

fn find<'a>(offered: &'a [Control], name: &str) -> Option<&'a Control> {
    let name = plain_name(name);
    offered
        .iter()
        .find(|control| plain_name(&control.name) == name)
}

fn unknown(offered: &[Control], name: &str) -> String {
    let names: Vec<_> = offered
        .iter()
        .filter(|control| control.kind != ControlKind::Other)
        .map(|control| plain_name(&control.name))
        .collect();
    if names.is_empty() {
        return format!("{name}: this camera has no controls; remove it from the configuration");
    }
    format!(
        "{name}: this camera has no such control; it has {}",
        names.join(" ")
    )
}

/// The number that stands for a value, or why the control cannot take it.
fn number(control: &Control, value: &ControlValue) -> Result<i32, String> {
    if control.read_only {
        return Err("it can only be read; remove it from the configuration".into());
    }
    let possible = || format!("possible: {}", possible(control));
    let number = match (&control.kind, value) {
        (ControlKind::Other, _) => return Err("controls of its type cannot be set here".into()),
        (ControlKind::Menu(items), ControlValue::Text(text)) => items
            .iter()
            .find(|item| item.text.eq_ignore_ascii_case(text))
            .map(|item| item.index.into())
            .ok_or_else(possible)?,
        (_, ControlValue::Text(_)) | (ControlKind::Menu(_), ControlValue::Switch(_)) => {
            return Err(possible());
        }
        (_, ControlValue::Switch(on)) => i64::from(*on),
        (_, ControlValue::Number(number)) => *number,
    };
    let offered = match &control.kind {
        ControlKind::Menu(items) => items.iter().any(|item| i64::from(item.index) == number),
        ControlKind::Button => true,
        ControlKind::Bits => {
            u32::try_from(number).is_ok_and(|bits| bits & !control.max.cast_unsigned() == 0)
        }
        _ => (i64::from(control.min)..=i64::from(control.max)).contains(&number),
    };
    let number = match control.kind {
        // All 32 bits may be in use.
        ControlKind::Bits => u32::try_from(number).ok().map(u32::cast_signed),
        _ => i32::try_from(number).ok(),
    };
    number.filter(|_| offered).ok_or_else(possible)
}

/// What a control takes, for people: `1 to 5000`, `true or false`, `1 "Manual Mode", 3 "Aperture Priority Mode"`.
#[must_use]
pub fn possible(control: &Control) -> String {
    let Control { min, max, step, .. } = control;
    match &control.kind {
        ControlKind::Number if *step > 1 => format!("{min} to {max} in steps of {step}"),
        ControlKind::Number => format!("{min} to {max}"),
        ControlKind::Switch => "true or false".into(),
        ControlKind::Menu(items) => {
            let items = items
                .iter()
                .map(|Menu { index, text }| format!("{index} {text:?}"));
            items.collect::<Vec<_>>().join(", ")
        }
        ControlKind::Bits => format!("bits of {:#x}", max.cast_unsigned()),
        ControlKind::Button => "any value presses it".into(),
        ControlKind::Other => "cannot be set here".into(),
    }
}

/// What an error of the driver means.
fn refused(offered: &[Control], name: &str, value: &ControlValue, error: &io::Error) -> String {
    let governed = matches!(
        Errno::from_io_error(error),
        Some(Errno::IO | Errno::ACCESS | Errno::BUSY)
    );
    let automatic: Vec<_> = offered
        .iter()
        .filter(|control| control.kind.is_mode())
        .map(|control| plain_name(&control.name))
        .filter(|other| other.contains("auto") && *other != plain_name(name))
        .collect();
    let hint = if governed && !automatic.is_empty() {
        format!(
            "; an automatic mode may govern it: turn off what belongs to it of {}",
            automatic.join(" ")
        )
    } else {
        String::new()
    };
    format!("{name} = {value}: the camera refuses it ({error}){hint}")
}
