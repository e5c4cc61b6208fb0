//! The state machine against a camera that misbehaves, in its own time.

// Tests like this module; said again for tests/tidy.rs, which reads one file at a time.
#[cfg(test)]
mod controls;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod layout;
#[cfg(test)]
mod negotiate;
#[cfg(test)]
mod open;
#[cfg(test)]
mod property;
#[cfg(test)]
mod stream;
