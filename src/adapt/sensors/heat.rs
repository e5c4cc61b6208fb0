//! How warm the processor is, beside the temperature at which it is slowed down; and whether it is slowed down.
//!
//! From `thermal_zone*` (Documentation/driver-api/thermal/sysfs-api.rst), cpufreq's `scaling_max_freq`, and the
//! Raspberry Pi's `get_throttled`, whose firmware slows the processor down without telling Linux.

use std::path::{Path, PathBuf};

use super::{Heat, entries, line, number};

/// Degrees below the limit: nearer is hot.
const HOT: f64 = 3.0;
/// Nearer is warm.
const WARM: f64 = 10.0;
/// A processor that is slowed down farther below its limit is so for another reason than heat.
const RELATED: f64 = 25.0;
/// Temperatures that a working sensor shows of a working processor. Exactly 0 is a sensor that is off.
const PLAUSIBLE: (f64, f64) = (-40.0, 130.0);
/// Limits that make sense.
const LIMITS: (f64, f64) = (40.0, 130.0);
/// Where a zone says only at what temperature the machine switches itself off, it is slowed down so far below.
const BELOW_CRITICAL: f64 = 15.0;
/// Where it says nothing: a Raspberry Pi's, and what processors of laptops are made for.
const USUAL_LIMIT: f64 = if cfg!(target_arch = "x86_64") {
    95.0
} else {
    85.0
};
/// Parts of the names of zones that are about the processor, and not about a battery or a radio.
const PROCESSOR: [&str; 6] = ["cpu", "soc", "core", "pkg", "package", "tj"];
/// Of `get_throttled`: the frequency is capped, throttled, the soft temperature limit is reached.
const THROTTLED: u32 = 0b1110;
const UNDER_VOLTAGE: u32 = 0b0001;

#[derive(Debug)]
pub struct HeatSensors {
    zones: Vec<Zone>,
    policies: Vec<Policy>,
    firmware: Option<PathBuf>,
}

#[derive(Debug)]
struct Zone {
    path: PathBuf,
    name: String,
    /// In degrees Celsius.
    limit: f64,
    doubted: bool,
}

/// Processors that share a clock.
#[derive(Debug)]
struct Policy {
    path: PathBuf,
    /// The highest frequency that was allowed so far, in kHz.
    highest: u64,
}

/// What a chart shows; `None`: Linux does not say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gauge {
    /// Of the processor, in degrees Celsius.
    pub celsius: Option<f64>,
    /// Heat or a weak supply slow it down.
    pub slowed: Option<bool>,
}

/// Of the zone that is nearest to its limit.
struct Nearest {
    temperature: f64,
    below: f64,
}

impl HeatSensors {
    pub fn below(root: &Path) -> Self {
        let zones = entries(&root.join("sys/class/thermal"), "thermal_zone");
        let mut zones: Vec<Zone> = zones.into_iter().map(Zone::new).collect();
        let about = |zone: &Zone| PROCESSOR.iter().any(|part| zone.name.contains(part));
        if zones.iter().any(about) {
            zones.retain(about);
        }
        let policies = entries(&root.join("sys/devices/system/cpu/cpufreq"), "policy");
        let policies = policies.into_iter().map(|path| Policy { path, highest: 0 });
        Self {
            zones,
            policies: policies.collect(),
            firmware: firmware(root),
        }
    }

    pub fn read(&mut self) -> (Heat, String) {
        let nearest = self.nearest();
        let capped = self.capped();
        if let Some(why) = self.firmware_says() {
            return (Heat::Hot, describe(why, nearest.as_ref()));
        }
        let Some(nearest) = nearest else {
            return (Heat::Unknown, "no temperature is known".into());
        };
        if let Some(percent) = capped.filter(|_| nearest.below < RELATED) {
            let why = format!("the processor is slowed down to {percent} %");
            return (Heat::Hot, describe(&why, Some(&nearest)));
        }
        let heat = match nearest.below {
            below if below <= HOT => Heat::Hot,
            below if below < WARM => Heat::Warm,
            _ => Heat::Cool,
        };
        (heat, describe("the processor is warm", Some(&nearest)))
    }

    pub fn gauge(&mut self) -> Gauge {
        let celsius = self.nearest().map(|nearest| nearest.temperature);
        let known = self.firmware.is_some() || !self.policies.is_empty();
        let slowed = self.firmware_says().is_some() | self.capped().is_some();
        Gauge {
            celsius,
            slowed: known.then_some(slowed),
        }
    }

    fn nearest(&mut self) -> Option<Nearest> {
        let temperatures = self.zones.iter_mut().filter_map(Zone::read);
        temperatures.min_by(|a, b| a.below.total_cmp(&b.below))
    }

    /// To how many percent the slowest processors are limited, if any are.
    fn capped(&mut self) -> Option<u64> {
        self.policies.iter_mut().filter_map(Policy::capped).min()
    }

    /// Why the firmware slows the processor down, if it does.
    fn firmware_says(&self) -> Option<&'static str> {
        let flags = self.firmware.as_deref().and_then(flags)?;
        let weak = flags & UNDER_VOLTAGE != 0;
        (flags & THROTTLED != 0).then_some(if weak {
            "the power supply is too weak, and the firmware slows the processor down"
        } else {
            "the firmware slows the processor down"
        })
    }
}

fn describe(why: &str, nearest: Option<&Nearest>) -> String {
    nearest.map_or_else(
        || why.to_owned(),
        |zone| {
            let (temperature, limit) = (zone.temperature, zone.temperature + zone.below);
            format!("{why}: {temperature:.0} degrees, its limit is {limit:.0}")
        },
    )
}

impl Zone {
    fn new(path: PathBuf) -> Self {
        Self {
            name: line(&path.join("type")).unwrap_or_default().to_lowercase(),
            limit: limit(&path),
            path,
            doubted: false,
        }
    }

    fn read(&mut self) -> Option<Nearest> {
        let temperature = degrees(&self.path.join("temp"))?;
        let plausible = (PLAUSIBLE.0..=PLAUSIBLE.1).contains(&temperature) && temperature != 0.0;
        if !plausible {
            if !self.doubted {
                let path = self.path.display();
                log::warn!("{path} says {temperature} degrees; not believed");
            }
            self.doubted = true;
            return None;
        }
        Some(Nearest {
            temperature,
            below: self.limit - temperature,
        })
    }
}

/// Where the kernel begins to slow the processor down.
fn limit(zone: &Path) -> f64 {
    let trips = (0..16).map_while(|n| {
        let kind = line(&zone.join(format!("trip_point_{n}_type")))?;
        Some((kind, degrees(&zone.join(format!("trip_point_{n}_temp")))?))
    });
    let trips: Vec<(String, f64)> = trips
        .filter(|(_, temperature)| (LIMITS.0..=LIMITS.1).contains(temperature))
        .collect();
    let lowest = |kinds: &[&str]| {
        let of = trips
            .iter()
            .filter(|(kind, _)| kinds.contains(&kind.as_str()));
        of.map(|&(_, temperature)| temperature)
            .min_by(f64::total_cmp)
    };
    lowest(&["passive", "hot"])
        .or_else(|| lowest(&["critical"]).map(|critical| critical - BELOW_CRITICAL))
        .unwrap_or(USUAL_LIMIT)
}

/// From thousandths.
fn degrees(path: &Path) -> Option<f64> {
    number::<f64>(path).map(|thousandths| thousandths / 1000.0)
}

impl Policy {
    /// To how many percent of the highest frequency these processors are limited, if they are.
    fn capped(&mut self) -> Option<u64> {
        let allowed: u64 = number(&self.path.join("scaling_max_freq"))?;
        self.highest = self.highest.max(allowed);
        (allowed < self.highest).then(|| allowed * 100 / self.highest)
    }
}

/// The Raspberry Pi's firmware; its device is called differently on each model.
fn firmware(root: &Path) -> Option<PathBuf> {
    let buses = entries(&root.join("sys/devices/platform"), "soc");
    let devices = buses.iter().flat_map(|bus| entries(bus, "soc"));
    devices
        .map(|device| device.join("get_throttled"))
        .find(|path| path.exists())
}

fn flags(path: &Path) -> Option<u32> {
    let text = line(path)?;
    u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}
