//! How hot it is, and why.

use std::fmt;

use serde::Serialize;

/// How hot it is, and what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Heat {
    /// All is well.
    Normal,
    /// Engines compute a part of the time.
    Soft,
    /// They pause, and no new work is taken.
    Hard,
}

impl Heat {
    /// Its name in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Soft => "soft",
            Self::Hard => "hard",
        }
    }
}

impl fmt::Display for Heat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why it is too hot.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// A zone is above a limit, or was a moment ago.
    Hot {
        /// Its name.
        zone: String,
        /// Its temperature, degrees Celsius.
        celsius: f32,
        /// The limit, degrees Celsius.
        limit: f32,
    },
    /// A zone is about to be above its hard limit.
    Rising {
        /// Its name.
        zone: String,
        /// Its temperature, degrees Celsius.
        celsius: f32,
        /// How fast it rises, degrees Celsius in a second.
        rate: f32,
        /// The hard limit, degrees Celsius.
        limit: f32,
    },
    /// The hardware holds itself back; this is what says so.
    Throttled(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hot { zone, celsius, limit } => write!(f, "{zone} is at {celsius:.1} °C, its limit is {limit:.1} °C"),
            Self::Rising { zone, celsius, rate, limit } => {
                write!(f, "{zone} is at {celsius:.1} °C and rises by {rate:.1} °C/s, its limit is {limit:.1} °C")
            }
            Self::Throttled(what) => write!(f, "the hardware holds itself back: {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_text_name_levels_alike() {
        for heat in [Heat::Normal, Heat::Soft, Heat::Hard] {
            assert_eq!(serde_json::to_string(&heat).unwrap(), format!("\"{heat}\""));
        }
    }
}
