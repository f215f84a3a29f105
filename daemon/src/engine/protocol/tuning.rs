//! What a measurement of speed and quality is told, and what it tells.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::RealMemory;
use crate::plan::{KvType, Tuning};

/// How to run a decoder to measure it, on the CPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TuneParams {
    /// Folders of the back ends to load, in this order.
    pub backends: Vec<String>,
    /// Threads that compute.
    pub threads: u32,
    /// Tokens of the prompt; half as many of the text, if it has so many, are read one by one.
    pub tokens: u32,
    /// Answers at once where many are measured.
    pub sequences: u32,
    /// Element type of the KV cache.
    pub kv_type: KvType,
    /// The other settings.
    pub tuning: Tuning,
    /// Tokens of which to tell how likely they are, for each place of the text; without any, of the likeliest.
    pub wanted: Vec<Vec<i32>>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TuneReport {
    /// Time that the load took.
    pub load: Duration,
    /// Tokens of a prompt a second.
    pub prefill: f64,
    /// Tokens a second of one answer.
    pub decode: f64,
    /// Tokens a second of many answers together.
    pub together: f64,
    /// What the process holds.
    pub memory: RealMemory,
    /// The text's tokens: models with others cannot be compared.
    pub text: Vec<i32>,
    /// What the model says after each token of the text.
    pub places: Vec<Place>,
}

/// What comes after a token, in the model's eyes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The likeliest token.
    pub best: i32,
    /// Tokens, and the logarithms of their probabilities.
    pub logprobs: Vec<(i32, f32)>,
}
