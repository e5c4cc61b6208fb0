//! A machine in minutes: models that cost time and memory, other programs that take both, and a processor that gets
//! warm by working. It asks a governor once a second, does what it says, and notes what came of it.

use std::time::{Duration, Instant};

use super::{Cause, Effort, Governor, Heat, Memory, Readings, Rung, Settings, Spent, Step};
use crate::adapt::Cost;

pub const MIB: u64 = 1 << 20;

/// What other programs and the weather do for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weather {
    pub seconds: u32,
    /// How many times longer everything takes.
    pub load: f64,
    /// MiB that other programs hold.
    pub taken: u64,
    /// Degrees around the machine.
    pub ambient: f64,
    /// Sensors can be read.
    pub sensors: bool,
}

pub const GOOD: Weather = Weather {
    seconds: 0,
    load: 1.0,
    taken: 0,
    ambient: 25.0,
    sensors: true,
};

impl Weather {
    pub fn lasting(self, seconds: u32) -> Self {
        Self { seconds, ..self }
    }
}

/// Something that the governor did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event {
    pub second: u32,
    pub to: Rung,
    pub cause: Cause,
}

pub struct Simulator {
    pub governor: Governor,
    pub events: Vec<Event>,
    pub stuck: Vec<(u32, Cause)>,
    /// Seconds so far.
    pub second: u32,
    /// The most memory that was used while changing, over what there was, in bytes. 0: never too much.
    pub overdrawn: u64,
    start: Instant,
    models: Vec<Cost>,
    limit: u64,
    pub temperature: f64,
}

pub fn cost(ms: u64, mib: u64) -> Cost {
    Cost {
        inference: Duration::from_millis(ms),
        resident: mib * MIB,
        opinion: Duration::ZERO,
    }
}

impl Simulator {
    pub fn new(settings: Settings, models: &[Cost], limit: u64) -> Self {
        let known = models.iter().copied().map(Some).collect();
        Self {
            governor: Governor::new(settings, known, 0),
            events: Vec::new(),
            stuck: Vec::new(),
            second: 0,
            overdrawn: 0,
            start: Instant::now(),
            models: models.to_vec(),
            limit,
            temperature: 40.0,
        }
    }

    pub fn run(&mut self, weather: Weather) {
        for _ in 0..weather.seconds {
            self.tick(weather);
        }
    }

    fn tick(&mut self, weather: Weather) {
        self.second += 1;
        let rung = self.governor.rung();
        self.warm(rung, weather);
        let readings = self.readings(rung, weather);
        match self.governor.step(&readings) {
            Step::Stay => {}
            Step::Stuck(cause) => self.stuck.push((self.second, cause)),
            Step::Move { to, cause, beside } => {
                self.change(rung, to, beside, weather);
                self.governor.moved(to, readings.at);
                self.events.push(Event {
                    second: self.second,
                    to,
                    cause,
                });
            }
        }
    }

    /// The whole processor at work warms by 45 degrees over the air around it, within minutes.
    fn warm(&mut self, rung: Rung, weather: Weather) {
        let work = f64::from(rung.effort.stretch()).recip();
        let work = if rung.effort == Effort::Least {
            work / 2.0
        } else {
            work
        };
        // a larger model keeps the memory busier
        let model = self.models[rung.model].resident as f64 / self.models[0].resident as f64;
        let towards = weather.ambient + 30.0 * work + 15.0 * work * model;
        self.temperature += (towards - self.temperature) / 120.0;
    }

    fn readings(&self, rung: Rung, weather: Weather) -> Readings {
        let inference = self.models[rung.model].inference.mul_f64(weather.load);
        let used = weather.taken * MIB + self.models[rung.model].resident;
        let heat = match self.temperature {
            warm if warm >= 82.0 => Heat::Hot,
            warm if warm > 75.0 => Heat::Warm,
            _ => Heat::Cool,
        };
        Readings {
            at: self.start + Duration::from_secs(self.second.into()),
            frame: Some(Spent {
                preparing: Duration::from_millis(2),
                inference,
            }),
            memory: weather.sensors.then(|| Memory {
                free: self.limit.saturating_sub(used),
                stalls: false,
            }),
            heat: if weather.sensors { heat } else { Heat::Unknown },
        }
    }

    fn change(&mut self, from: Rung, to: Rung, beside: bool, weather: Weather) {
        if from.model == to.model || !weather.sensors {
            return;
        }
        let before = if beside {
            self.models[from.model].resident
        } else {
            0
        };
        let used = weather.taken * MIB + before + self.models[to.model].resident;
        self.overdrawn = self.overdrawn.max(used.saturating_sub(self.limit));
    }

    /// The seconds between each two events.
    pub fn gaps(&self) -> impl Iterator<Item = u32> {
        self.events
            .windows(2)
            .map(|pair| pair[1].second - pair[0].second)
    }

    pub fn models_in_turn(&self) -> Vec<usize> {
        self.events.iter().map(|event| event.to.model).collect()
    }
}
