//! `[http]`: the page to look at.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

/// Where the page is and who may look at it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub listen: Option<Address>,
    pub token_file: Option<PathBuf>,
    #[serde(default)]
    pub insecure: bool,
    #[serde(default)]
    pub hosts: Vec<String>,
    pub preview_fps: Option<PreviewFps>,
}

/// An address of this machine and a port: `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`; of all its addresses `:8080`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Address(SocketAddr);

impl Address {
    #[must_use]
    pub fn get(self) -> SocketAddr {
        self.0
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None if text.starts_with(':') => format!("[::]{text}"),
            None => text.to_owned(),
        };
        numbers.parse().map(Self).map_err(|_| {
            format!("{text:?} is no address and port of this machine, like 127.0.0.1:8080")
        })
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Frames per second that people look at, 0.1 to 30.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "f32")]
pub struct PreviewFps(f32);

impl PreviewFps {
    #[must_use]
    pub fn get(self) -> f32 {
        self.0
    }
}

impl TryFrom<f32> for PreviewFps {
    type Error = &'static str;

    fn try_from(fps: f32) -> Result<Self, Self::Error> {
        if (0.1..=30.0).contains(&fps) {
            Ok(Self(fps))
        } else {
            Err("preview_fps must be 0.1 to 30")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_and_may_be_short() {
        let read = |text: &str| {
            text.parse::<Address>()
                .map(|address| address.get().to_string())
        };
        assert_eq!(read("127.0.0.1:8080").unwrap(), "127.0.0.1:8080");
        assert_eq!(read("localhost:80").unwrap(), "127.0.0.1:80");
        assert_eq!(read("[::1]:80").unwrap(), "[::1]:80");
        assert_eq!(read(":80").unwrap(), "[::]:80");
        for wrong in ["", "8080", "127.0.0.1", "pi.local:80", "127.0.0.1:65536"] {
            assert!(
                read(wrong).unwrap_err().contains("like 127.0.0.1:8080"),
                "{wrong}"
            );
        }
    }
}
