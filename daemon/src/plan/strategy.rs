//! The ways to run a model: how exact its weights are, and where it is computed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::job::Precision;

/// Where a model is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// On the CPU alone; its process loads no other back end.
    Cpu,
    /// Some layers on a discrete GPU, the rest on the CPU. On unified memory it frees nothing and is never tried.
    Partial,
    /// All layers on the GPU.
    Gpu,
}

impl Placement {
    /// Its name in configuration, strategies and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Partial => "partial",
            Self::Gpu => "gpu",
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One rung of a ladder. Shows as `gpu:f16`, in JSON as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Strategy {
    /// Where it is computed.
    pub placement: Placement,
    /// How exact its weights are.
    pub precision: Precision,
}

impl Strategy {
    /// The strategy of these two.
    pub const fn new(placement: Placement, precision: Precision) -> Self {
        Self { placement, precision }
    }

    /// Reads `<placement>:<precision>`; the error says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let placements = [Placement::Gpu, Placement::Partial, Placement::Cpu];
        let parts = text.split_once(':').and_then(|(placement, precision)| {
            let placement = placements.into_iter().find(|known| known.as_str() == placement)?;
            Some(Self::new(placement, Precision::parse(precision)?))
        });
        parts.ok_or_else(|| "write <placement>:<precision> of gpu, partial, cpu and f16, int8, int4".to_owned())
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.placement, self.precision))
    }
}

impl From<Strategy> for String {
    fn from(strategy: Strategy) -> Self {
        strategy.to_string()
    }
}

impl TryFrom<String> for Strategy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_shows_and_nothing_else() {
        for placement in [Placement::Gpu, Placement::Partial, Placement::Cpu] {
            for precision in Precision::ALL {
                let strategy = Strategy::new(placement, precision);
                assert_eq!(Strategy::parse(&strategy.to_string()), Ok(strategy));
                let json = serde_json::to_string(&strategy).unwrap();
                assert_eq!(json, format!("\"{strategy}\""));
                assert_eq!(serde_json::from_str::<Strategy>(&json).unwrap(), strategy);
            }
        }
        for wrong in ["", "gpu", "gpu:", ":f16", "gpu:f32", "cpu:int8 ", "GPU:f16", "cpu:int8:x"] {
            assert!(Strategy::parse(wrong).unwrap_err().contains("int4"), "{wrong}");
        }
    }
}
