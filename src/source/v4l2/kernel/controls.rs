//! The system calls on a camera's controls. Types that this program does not know are listed and never set.

use std::io;

use v4l::v4l_sys as sys;
use v4l::v4l2::vidioc;

use super::super::device::{Control, ControlKind, Menu};
use super::{Argument, Camera, text};

/// Bounds on what is asked of a driver that never ends a list.
const MAX_CONTROLS: usize = 256;
const MAX_ITEMS: i32 = 128;

pub(super) fn list(camera: &Camera) -> Vec<Control> {
    let mut found = Vec::new();
    let mut last = 0;
    while found.len() < MAX_CONTROLS {
        let mut answer = sys::v4l2_queryctrl {
            id: last | sys::V4L2_CTRL_FLAG_NEXT_CTRL,
            ..Argument::zeroed()
        };
        let asked = camera.ioctl(vidioc::VIDIOC_QUERYCTRL, &mut answer);
        if asked.is_err() || answer.id <= last {
            break;
        }
        last = answer.id;
        let heading = answer.type_ == sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_CTRL_CLASS;
        if !heading && answer.flags & sys::V4L2_CTRL_FLAG_DISABLED == 0 {
            found.push(control(camera, &answer));
        }
    }
    found
}

pub(super) fn set(camera: &Camera, id: u32, value: i32) -> io::Result<()> {
    camera.ioctl(vidioc::VIDIOC_S_CTRL, &mut sys::v4l2_control { id, value })
}

fn control(camera: &Camera, answer: &sys::v4l2_queryctrl) -> Control {
    let has = |flag: u32| answer.flags & flag != 0;
    let kind = kind(camera, answer);
    let readable = !has(sys::V4L2_CTRL_FLAG_WRITE_ONLY)
        && !matches!(kind, ControlKind::Button | ControlKind::Other);
    Control {
        id: answer.id,
        name: text(&answer.name),
        min: answer.minimum,
        max: answer.maximum,
        step: answer.step,
        default: answer.default_value,
        value: readable.then(|| value(camera, answer.id)).flatten(),
        read_only: has(sys::V4L2_CTRL_FLAG_READ_ONLY),
        inactive: has(sys::V4L2_CTRL_FLAG_INACTIVE),
        kind,
    }
}

fn kind(camera: &Camera, answer: &sys::v4l2_queryctrl) -> ControlKind {
    match answer.type_ {
        sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER => ControlKind::Number,
        sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BOOLEAN => ControlKind::Switch,
        sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_MENU => ControlKind::Menu(menu(camera, answer, name)),
        sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER_MENU => {
            ControlKind::Menu(menu(camera, answer, number))
        }
        sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BITMASK => ControlKind::Bits,
        sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BUTTON => ControlKind::Button,
        _ => ControlKind::Other,
    }
}

/// The items that exist; there may be gaps.
fn menu(
    camera: &Camera,
    answer: &sys::v4l2_queryctrl,
    text: fn(&sys::v4l2_querymenu) -> String,
) -> Vec<Menu> {
    let end = answer.maximum.min(answer.minimum.saturating_add(MAX_ITEMS));
    let mut items = Vec::new();
    for index in (answer.minimum..=end).filter_map(|index| u32::try_from(index).ok()) {
        let mut item = sys::v4l2_querymenu {
            id: answer.id,
            index,
            ..Argument::zeroed()
        };
        if camera.ioctl(vidioc::VIDIOC_QUERYMENU, &mut item).is_ok() {
            let text = text(&item);
            items.push(Menu { index, text });
        }
    }
    items
}

fn name(item: &sys::v4l2_querymenu) -> String {
    // SAFETY: the variants are integers; `name` is the one of a menu of texts.
    #[allow(unsafe_code)]
    let name = unsafe { item.__bindgen_anon_1.name };
    text(&name)
}

fn number(item: &sys::v4l2_querymenu) -> String {
    // SAFETY: the variants are integers; `value` is the one of a menu of numbers.
    #[allow(unsafe_code)]
    let value = unsafe { item.__bindgen_anon_1.value };
    value.to_string()
}

fn value(camera: &Camera, id: u32) -> Option<i32> {
    let mut answer = sys::v4l2_control { id, value: 0 };
    camera.ioctl(vidioc::VIDIOC_G_CTRL, &mut answer).ok()?;
    Some(answer.value)
}
