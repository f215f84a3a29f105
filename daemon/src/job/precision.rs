//! How exactly a model's weights are stored.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The rung of the precision ladder that a model stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Fewer than 8 bits for most weights.
    Int4,
    /// 8 bits.
    Int8,
    /// 16 bits and more.
    F16,
}

impl Precision {
    /// Every rung, most exact first.
    pub const ALL: [Self; 3] = [Self::F16, Self::Int8, Self::Int4];

    /// Its name in configuration, strategies and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::F16 => "f16",
        }
    }

    /// The rung of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.as_str() == text)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
