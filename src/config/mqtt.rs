//! `[mqtt]`: a broker that labels go to.

use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

/// Which broker, and as whom.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mqtt {
    pub url: Option<Broker>,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    pub device: Option<String>,
    /// Labels that get a binary sensor each.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Home Assistant's prefix; empty: nothing is announced to it.
    pub discovery: Option<String>,
}

/// `mqtt://HOST`, `mqtts://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Broker {
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

impl FromStr for Broker {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no broker, like mqtt://HOST or mqtts://HOST:8883");
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let (tls, usual) = match scheme {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            _ => return Err(wrong()),
        };
        if rest.contains('@') {
            let instead = "name the user by `username` and `password_file`, not in the address";
            return Err(format!("{text:?}: {instead}"));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong())?)
            }
            _ => (rest, usual),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || port == 0 || host.contains(['/', '?', '#', ' ']) {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            tls,
        })
    }
}

impl TryFrom<String> for Broker {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_has_a_host_and_a_usual_port() {
        let read = |text: &str| {
            let broker = text.parse::<Broker>().unwrap();
            (broker.host, broker.port, broker.tls)
        };
        assert_eq!(read("mqtt://pi"), ("pi".into(), 1883, false));
        assert_eq!(
            read("mqtts://broker.example/"),
            ("broker.example".into(), 8883, true)
        );
        assert_eq!(
            read("mqtt://10.0.0.2:1884"),
            ("10.0.0.2".into(), 1884, false)
        );
        assert_eq!(read("mqtt://[::1]:1884"), ("::1".into(), 1884, false));
        assert_eq!(read("mqtt://[::1]"), ("::1".into(), 1883, false));
        for wrong in [
            "",
            "pi",
            "http://pi",
            "mqtt://",
            "mqtt://pi:x",
            "mqtt://pi:0",
            "mqtt://pi/x",
            "mqtt://a b",
        ] {
            assert!(wrong.parse::<Broker>().is_err(), "{wrong}");
        }
        assert!(
            "mqtt://me:secret@pi"
                .parse::<Broker>()
                .unwrap_err()
                .contains("password_file")
        );
    }
}
