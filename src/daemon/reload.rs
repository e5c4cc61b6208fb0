//! A change of what the daemon does, while it does it: other cameras, another model, other settings, without
//! losing a subscriber. Where they come from (the configuration file) is the caller's business. The same thread changes
//! what the machine makes necessary ([`super::adapt`]), so that the two never change the model at once.
//!
//! Loading takes place in a thread of its own, beside the inference; what cannot be loaded changes nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::adapt::{Adapter, Choice, Pulse};
use super::fleet::Fleet;
use super::inference::{Next, Order};
use super::{Camera, Settings, Work, panic_text, service};
use crate::publish::wire::Reason;
use crate::slot::Slots;

/// How often it is asked whether something is wanted.
const INTERVAL: Duration = Duration::from_millis(250);

/// Who knows what is wanted.
pub trait Reload: Send {
    /// Whether something may be wanted that is not so yet. Asked four times a second: must be quick.
    fn is_due(&mut self) -> bool;

    /// What is wanted now. May take its time.
    ///
    /// # Errors
    /// Why it is not done, for the log. Everything then stays as it is.
    fn load(&mut self) -> Result<Change, String>;
}

/// What is wanted.
pub struct Change {
    /// `None`: the present one.
    pub choice: Option<Choice>,
    pub settings: Settings,
    /// All that are to be watched; those that are watched already go on undisturbed.
    pub cameras: Vec<Camera>,
}

/// What the thread works on.
pub struct Reloading {
    pub slots: Arc<Slots>,
    pub orders: Sender<Order>,
    pub fleet: Arc<Mutex<Fleet>>,
    pub pulse: Arc<Pulse>,
    pub adapter: Option<Adapter>,
}

impl Reloading {
    /// Until the slots are stopped.
    pub fn run(mut self, mut reload: Option<Box<dyn Reload>>) {
        while !self.slots.over() {
            // A panic leaves `reload` as it was between two of its steps; it is asked again with the next change.
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                if let Some(reload) = &mut reload {
                    self.turn(reload.as_mut());
                }
            }));
            if let Err(panic) = outcome {
                refused(&panic_text(panic.as_ref()));
            }
            self.adapt();
            thread::sleep(INTERVAL);
        }
    }

    /// A failure of ours in there costs the adapting, not the labels.
    fn adapt(&mut self) {
        let Some(adapter) = &mut self.adapter else {
            return;
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| adapter.turn())) {
            let reason = panic_text(panic.as_ref());
            log::error!("the model is not adapted to this machine any more: {reason}");
            self.adapter = None;
        }
    }

    fn turn(&mut self, reload: &mut dyn Reload) {
        if !reload.is_due() {
            return;
        }
        service::reloading();
        match reload.load() {
            Ok(change) => self.apply(change),
            Err(reason) => refused(&reason),
        }
    }

    fn apply(&mut self, change: Change) {
        let settings = change.settings;
        let work = Work::of(change.cameras.iter().map(|camera| camera.looks.len()));
        // Nobody listens only when the inference has ended, and with it all of this.
        let _ = self.orders.send(Order::Settings(settings));
        if let Some(Choice { model, others }) = change.choice {
            let next = Next::Model(Box::new(model), Reason::Config);
            let _ = self.orders.send(Order::Next(next));
            let (pulse, orders) = (&self.pulse, &self.orders);
            self.adapter = others.map(|others| {
                Adapter::new(others, (&settings, work), Arc::clone(pulse), orders.clone())
            });
        } else if let Some(adapter) = &mut self.adapter {
            adapter.change(settings.wishes(work));
        }
        let mut fleet = self.fleet.lock().unwrap_or_else(PoisonError::into_inner);
        match fleet.change(change.cameras) {
            Ok(()) => {
                log::info!("reloaded");
                service::ready("reloaded");
            }
            Err(error) => refused(&error.to_string()),
        }
    }
}

fn refused(reason: &str) {
    log::error!("not reloaded, everything goes on as before: {reason}");
    service::ready(&format!("the last reload was refused: {reason}"));
}
