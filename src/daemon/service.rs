//! What systemd is told. Without systemd (no `NOTIFY_SOCKET`) all of it does nothing.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The model is loaded and the socket listens; `status` is what `systemctl status` shows.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A change has begun; [`ready`] ends it.
pub fn reloading() {
    tell(&[NotifyState::Reloading]);
}

/// The end has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("cannot notify the service manager: {error}");
    }
}

/// Tells systemd that the inference loop turns: four times per watchdog interval, however fast it turns.
#[derive(Debug)]
pub struct Watchdog {
    interval: Option<Duration>,
    fed: Option<Instant>,
}

impl Watchdog {
    /// As `WATCHDOG_USEC` asks for.
    pub fn from_environment() -> Self {
        Self {
            interval: sd_notify::watchdog_enabled().map(|limit| limit / 4),
            fed: None,
        }
    }

    pub fn feed(&mut self, now: Instant) {
        if self.is_due(now) {
            self.fed = Some(now);
            tell(&[NotifyState::Watchdog]);
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let due = |interval| {
            self.fed
                .is_none_or(|fed| now.saturating_duration_since(fed) >= interval)
        };
        self.interval.is_some_and(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_four_times_per_interval() {
        let start = Instant::now();
        let mut watchdog = Watchdog {
            interval: Some(Duration::from_secs(10) / 4),
            fed: None,
        };
        let turns = (0..200).map(|turn| start + turn * Duration::from_millis(100));
        let fed = turns.filter(|&now| {
            let due = watchdog.is_due(now);
            watchdog.feed(now);
            due
        });
        assert_eq!(fed.count(), 8);
    }

    #[test]
    fn without_a_watchdog_nothing_is_due() {
        assert!(
            !Watchdog {
                interval: None,
                fed: None
            }
            .is_due(Instant::now())
        );
    }
}
