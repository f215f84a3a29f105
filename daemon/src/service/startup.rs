//! What a daemon starts with.

use std::fmt;

use crate::config::{ConfigError, Loaded, LogLevel, Origin};

/// What a daemon starts with.
pub struct Startup {
    /// The configuration.
    pub loaded: Loaded,
    /// Where it is read again.
    pub origin: Origin,
    /// What is wrong with the one that is there now; then [`loaded`](Self::loaded) is the last good one.
    pub broken: Option<ConfigError>,
    /// Changes how much is logged.
    pub set_log_level: SetLogLevel,
}

/// Changes how much is logged, from now on.
pub type SetLogLevel = Box<dyn Fn(LogLevel)>;

impl fmt::Debug for Startup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Startup({:?}, broken: {:?})", self.origin, self.broken)
    }
}
