//! A change of what the daemon does, while it does it: other cameras, another model, other settings, without
//! losing a subscriber. Where they come from (the configuration file) is the caller's business.
//!
//! Loading takes place in a thread of its own, beside the inference; what cannot be loaded changes nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::fleet::Fleet;
use super::inference::Order;
use super::{Camera, Model, Settings, panic_text, service};
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
    pub model: Option<Model>,
    pub settings: Settings,
    /// All that are to be watched; those that are watched already go on undisturbed.
    pub cameras: Vec<Camera>,
}

/// What the thread works on.
pub struct Reloading {
    pub slots: Arc<Slots>,
    pub orders: Sender<Order>,
    pub fleet: Arc<Mutex<Fleet>>,
}

impl Reloading {
    /// Until the slots are stopped.
    pub fn run(&self, mut reload: Box<dyn Reload>) {
        while !self.slots.over() {
            // A panic leaves `reload` as it was between two of its steps; it is asked again with the next change.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.turn(reload.as_mut())));
            if let Err(panic) = outcome {
                refused(&panic_text(panic.as_ref()));
            }
            thread::sleep(INTERVAL);
        }
    }

    fn turn(&self, reload: &mut dyn Reload) {
        if !reload.is_due() {
            return;
        }
        service::reloading();
        match reload.load() {
            Ok(change) => self.apply(change),
            Err(reason) => refused(&reason),
        }
    }

    fn apply(&self, change: Change) {
        // Nobody listens only when the inference has ended, and with it all of this.
        let _ = self.orders.send(Order::Settings(change.settings));
        if let Some(model) = change.model {
            let _ = self
                .orders
                .send(Order::Model(Box::new(model), Reason::Config));
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
