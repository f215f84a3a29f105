//! Settings of llama.cpp that change how fast a model is and how much memory it takes, and not what it says beyond rounding.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a model is run. The defaults are what suits most machines; `promptd tune` finds out what suits one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tuning {
    /// Attention that never writes its scores to memory.
    pub flash_attention: bool,
    /// Most tokens in one step of a decoder. Larger ones make prompts faster on some machines, and cost compute buffer.
    pub batch: u32,
    /// Weights in an order that computes faster, where the back end has one: a copy of them in memory.
    pub repack: bool,
    /// The file is mapped, so that its pages are read when they are needed and dropped when memory is short. Else it is read
    /// into memory of the process.
    pub map: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { flash_attention: true, batch: 512, repack: true, map: true }
    }
}
