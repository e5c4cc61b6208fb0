//! Asks the governor once a second, and does what it says: another model is loaded here, beside the running one where
//! there is memory for both, and handed to the inference thread; which of the two may be used is never in doubt.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use super::inference::{Next, Order};
use super::{Model, Settings, Work};
use crate::adapt::Cost;
use crate::adapt::governor::{
    self, Cause, Effort, Governor, Heat, Memory, Readings, Rung, Spent, Step,
};
use crate::adapt::sensors::Sensors;
use crate::publish::wire::{OtherModel, Reason};

/// Between two readings.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the inference thread may take to let go of a model: the slowest inference there is.
const LETTING_GO: Duration = Duration::from_secs(25);

/// Models that may take each other's place.
pub trait Shelf: Send {
    /// Reads a model, by its place in the order of preference; ready to run.
    ///
    /// # Errors
    /// Why it cannot run, for the log.
    fn load(&mut self, model: usize) -> Result<Model, String>;
}

/// A model and those that may take its place while it runs.
pub struct Choice {
    pub model: Model,
    pub others: Option<Others>,
}

/// What the governor knows of the models, in the order of preference; the present one is among them.
pub struct Others {
    pub shelf: Box<dyn Shelf>,
    pub models: Vec<Known>,
    pub present: usize,
    /// What is asked how the machine is.
    pub sensors: Sensors,
}

/// A model that may run.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    pub name: String,
    /// `None`: it cannot be had.
    pub cost: Option<Cost>,
    /// Not only guessed, for want of memory to try it in.
    pub measured: bool,
}

/// What the inference thread says of its work since it was last asked.
#[derive(Debug)]
pub struct Pulse {
    frames: AtomicU64,
    /// Microseconds.
    preparing: AtomicU64,
    inference: AtomicU64,
    origin: Instant,
    /// When the present one was begun, in microseconds since `origin`; 0 if there is none.
    begun: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            frames: AtomicU64::new(0),
            preparing: AtomicU64::new(0),
            inference: AtomicU64::new(0),
            origin: Instant::now(),
            begun: AtomicU64::new(0),
        }
    }
}

impl Pulse {
    /// A picture is looked at.
    pub fn begin(&self) {
        self.begun.store(self.now(), Ordering::Relaxed);
    }

    /// Whatever came of it.
    pub fn end(&self) {
        self.begun.store(0, Ordering::Relaxed);
    }

    /// Never 0.
    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros())
            .unwrap_or(u64::MAX)
            .max(1)
    }

    pub fn beat(&self, preparing_ms: f32, inference_ms: f32) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // a time, in microseconds
        let micros = |ms: f32| (ms.max(0.0) * 1e3) as u64;
        self.preparing
            .fetch_add(micros(preparing_ms), Ordering::Relaxed);
        self.inference
            .fetch_add(micros(inference_ms), Ordering::Relaxed);
        self.frames.fetch_add(1, Ordering::Release);
    }

    fn unfinished(&self) -> Option<Spent> {
        let begun = self.begun.load(Ordering::Relaxed);
        let so_far = Duration::from_micros(self.now().saturating_sub(begun));
        (begun != 0).then_some(Spent {
            preparing: Duration::ZERO,
            inference: so_far,
        })
    }

    /// The average of the frames since the last call, and begins anew. Of none but one that is looked at for longer
    /// than is between two calls, what that took so far.
    fn take(&self) -> Option<Spent> {
        let frames = self.frames.swap(0, Ordering::Acquire);
        if frames == 0 {
            return self
                .unfinished()
                .filter(|spent| spent.inference >= INTERVAL);
        }
        let time = |sum: &AtomicU64| {
            let total = sum.swap(0, Ordering::Relaxed);
            Some(Duration::from_micros(total.checked_div(frames)?))
        };
        let (preparing, inference) = (time(&self.preparing), time(&self.inference));
        Some(Spent {
            preparing: preparing?,
            inference: inference?,
        })
    }
}

/// What the adapting is made of.
pub struct Adapter {
    governor: Governor,
    shelf: Box<dyn Shelf>,
    models: Vec<Known>,
    sensors: Sensors,
    pulse: Arc<Pulse>,
    orders: Sender<Order>,
    due: Instant,
}

impl Adapter {
    pub fn new(
        others: Others,
        (settings, work): (&Settings, Work),
        pulse: Arc<Pulse>,
        orders: Sender<Order>,
    ) -> Self {
        let Others {
            shelf,
            models,
            present,
            sensors,
        } = others;
        let costs = models.iter().map(|known| known.cost).collect();
        Self {
            governor: Governor::new(settings.wishes(work), costs, present),
            shelf,
            models,
            sensors,
            pulse,
            orders,
            due: Instant::now() + INTERVAL,
        }
    }

    pub fn change(&mut self, wishes: governor::Settings) {
        self.governor.change(wishes);
    }

    /// Does what is due now.
    pub fn turn(&mut self) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = now + INTERVAL;
        let (heat, warmth) = self.sensors.heat();
        let readings = Readings {
            at: now,
            frame: self.pulse.take(),
            memory: self.sensors.memory(),
            heat,
        };
        match self.governor.step(&readings) {
            Step::Stay => {}
            Step::Stuck(cause) => log::warn!(
                "{}; nothing smaller is left to run",
                Why(cause, &readings, &warmth)
            ),
            Step::Move { to, cause, beside } => {
                let why = Why(cause, &readings, &warmth).to_string();
                self.make(to, reason(cause), why, beside);
            }
        }
    }

    fn make(&mut self, to: Rung, reason: Reason, why: String, beside: bool) {
        let from = self.governor.rung();
        let done = if to.model == from.model {
            self.order(Order::Effort(to.effort, reason, why));
            true
        } else if beside {
            self.exchange(to.model, reason, why)
        } else {
            self.replace((from.model, to.model), reason, why)
        };
        let now = Instant::now();
        if done {
            self.governor.moved(to, now);
        } else {
            self.governor.failed(to.model, now);
        }
        // what the model before took says nothing of this one
        self.pulse.take();
        self.due = now + INTERVAL;
    }

    /// Loads a model while the present one goes on.
    fn exchange(&mut self, to: usize, reason: Reason, why: String) -> bool {
        match self.load(to, why) {
            Ok(model) => {
                self.order(Order::Next(Next::Model(model, reason)));
                true
            }
            Err(error) => {
                log::warn!("{error}; the present model stays");
                false
            }
        }
    }

    /// Has the present model dropped before the next is loaded. Whatever happens, a model runs afterwards.
    fn replace(&mut self, (from, to): (usize, usize), reason: Reason, why: String) -> bool {
        let (gone, is_gone) = mpsc::sync_channel(1);
        let (next, coming) = mpsc::channel();
        let wanted = Arc::new(());
        self.order(Order::Next(Next::Vacate {
            wanted: Arc::downgrade(&wanted),
            gone,
            coming,
        }));
        if is_gone.recv_timeout(LETTING_GO).is_err() {
            log::warn!("the present model is not let go of");
            return false;
        }
        let loaded = self.load(to, why);
        let failed = loaded.as_ref().err().cloned();
        let model = loaded.or_else(|error| {
            log::warn!("{error}; back to the model before");
            self.load(from, error)
        });
        match model {
            // Nobody waits only when the inference has ended, and with it all of this.
            Ok(model) => drop(next.send((model, reason))),
            // dropping `next` tells the inference that there is no model: it ends, for the service to start afresh
            Err(error) => log::error!("{error}"),
        }
        failed.is_none()
    }

    fn load(&mut self, index: usize, why: String) -> Result<Box<Model>, String> {
        let mut model = self.shelf.load(index)?;
        model.detail = why;
        model.others = others(&self.models, index);
        Ok(Box::new(model))
    }

    fn order(&self, order: Order) {
        // Nobody listens only when the inference has ended, and with it all of this.
        let _ = self.orders.send(order);
    }
}

/// What the models that do not run would cost.
#[must_use]
pub fn others(models: &[Known], present: usize) -> Vec<OtherModel> {
    let others = models.iter().enumerate().filter(|&(i, _)| i != present);
    #[allow(clippy::cast_precision_loss)] // megabytes
    let told = |(_, known): (usize, &Known)| {
        let cost = known.cost.filter(|_| known.measured);
        cost.map(|cost| OtherModel {
            name: known.name.clone(),
            avg_ms: cost.inference.as_secs_f32() * 1e3,
            rss_mib: cost.resident as f32 / (1u32 << 20) as f32,
        })
    };
    others.filter_map(told).collect()
}

fn reason(cause: Cause) -> Reason {
    match cause {
        Cause::Load => Reason::Load,
        Cause::Memory => Reason::Memory,
        Cause::Heat => Reason::Heat,
        Cause::Recovered => Reason::Recovered,
    }
}

/// A cause in a person's words.
struct Why<'a>(Cause, &'a Readings, &'a str);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(cause, readings, warmth) = self;
        match cause {
            Cause::Load => {
                let took = readings
                    .frame
                    .map_or(Duration::ZERO, |s| s.preparing + s.inference);
                write!(
                    f,
                    "a picture takes {:.0} ms, which is more than there are",
                    took.as_secs_f64() * 1e3
                )
            }
            Cause::Memory => match readings.memory {
                Some(Memory {
                    free,
                    stalls: false,
                }) => write!(f, "{} MiB of memory are left", free >> 20),
                _ => f.write_str("programs wait for memory"),
            },
            Cause::Heat => f.write_str(warmth),
            Cause::Recovered => f.write_str(match readings.heat {
                Heat::Unknown => "there has been enough time and memory for a while",
                _ => "there has been enough time and memory for a while, and no heat",
            }),
        }
    }
}

/// What a rung spares, in a person's words.
#[must_use]
pub fn spared(effort: Effort) -> &'static str {
    match effort {
        Effort::Full => "all of the time is used",
        Effort::Half => "half of the time is left idle",
        Effort::Quarter => "three quarters of the time are left idle",
        Effort::Least => "three quarters of the time and half of the threads are left idle",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_is_the_average_since_it_was_felt_last() {
        let pulse = Pulse::default();
        assert_eq!(pulse.take(), None);
        pulse.beat(1.0, 10.0);
        pulse.beat(2.0, 30.0);
        let spent = Spent {
            preparing: Duration::from_micros(1500),
            inference: Duration::from_millis(20),
        };
        assert_eq!(pulse.take(), Some(spent));
        assert_eq!(pulse.take(), None);
        pulse.begin();
        assert_eq!(pulse.take(), None, "it may be done at once");
        std::thread::sleep(INTERVAL);
        assert!(
            pulse
                .take()
                .is_some_and(|spent| spent.inference >= INTERVAL)
        );
        pulse.end();
        assert_eq!(pulse.take(), None);
    }
}
