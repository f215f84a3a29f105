//! What an engine really holds.

use serde::{Deserialize, Serialize};

use crate::plan::Bytes;

/// Memory of a child, from the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealMemory {
    /// Pages of its own.
    pub anonymous: Bytes,
    /// Pages of files that it has mapped: weights and libraries.
    pub file: Bytes,
    /// GPU memory that was taken while it loaded.
    pub device: Bytes,
}

impl RealMemory {
    /// What it holds of the host's memory.
    pub fn host(&self) -> Bytes {
        Bytes(self.anonymous.0.saturating_add(self.file.0))
    }
}
