//! From the configuration to the page that the daemon serves, and what of this machine it shows.

use super::machine;
use crate::adapt::sensors::Sensors;
use crate::config::{Http, PreviewFps};
use crate::publish::http::{self, Readings};

/// Without a better wish.
const PREVIEW_FPS: f32 = 5.0;

/// What is wanted, if a page is.
#[must_use]
pub fn settings(http: &Http) -> Option<http::Settings> {
    let listen = http.listen?;
    Some(http::Settings {
        listen: listen.get(),
        token_file: http.token_file.clone(),
        insecure: http.insecure,
        hosts: http.hosts.clone(),
        preview_fps: http.preview_fps.map_or(PREVIEW_FPS, PreviewFps::get),
        sensors: Box::new(Machine(Sensors::from_environment())),
    })
}

struct Machine(Sensors);

impl http::Sensors for Machine {
    fn read(&mut self) -> Readings {
        let gauge = self.0.gauge();
        Readings {
            celsius: gauge.celsius,
            slowed: gauge.slowed,
            resident: machine::resident(),
        }
    }
}
