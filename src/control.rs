//! What a camera's controls (exposure, white balance, ...) are to be set to: written in the configuration,
//! obeyed by the `v4l2:` source. Whether a camera has such a control is found out there.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

/// Wanted values by name, the names as `resnetd devices --controls` and `v4l2-ctl -l` show them.
pub type Controls = BTreeMap<String, ControlValue>;

/// A value as a person writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number, true, false or the text of a menu item"
)]
pub enum ControlValue {
    Switch(bool),
    /// Also the number of a menu item.
    Number(i64),
    /// The text of a menu item.
    Text(String),
}

impl fmt::Display for ControlValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(on) => write!(f, "{on}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}
