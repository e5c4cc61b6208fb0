//! How the machine feels, as publishers tell it. Who reads its sensors is the caller's business.

/// How the machine feels.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Readings {
    /// Of the processor, in degrees Celsius.
    pub celsius: Option<f64>,
    /// Heat or a weak supply slow it down.
    pub slowed: Option<bool>,
    /// Bytes of memory that this process has resident.
    pub resident: Option<u64>,
}

/// Who knows how the machine feels.
pub trait Sensors: Send + Sync {
    fn read(&mut self) -> Readings;
}
