//! What form an answer must have.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most texts of which an answer may be one.
pub const CHOICES_MAX: usize = 1024;
/// Most tokens of which the likeliest alternatives are told.
pub const LOGPROBS_MAX: u8 = 5;

/// What an answer is held to, token by token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Constraint {
    /// A value that fits this JSON Schema; both are JSON.
    Schema(String),
    /// One of these texts: at least one, all different, none blank.
    Choices(Vec<String>),
    /// A text that this regular expression matches as a whole.
    Regex(String),
}

impl Constraint {
    /// Bytes of what a client has sent.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Schema(text) | Self::Regex(text) => text.len(),
            Self::Choices(choices) => choices.iter().map(String::len).sum(),
        }
    }
}

/// The size only: it may hold a client's text.
impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Schema(_) => "Schema",
            Self::Choices(_) => "Choices",
            Self::Regex(_) => "Regex",
        };
        write!(f, "{kind}({} bytes)", self.bytes())
    }
}

/// How likely a token of an answer was, in the model's eyes: before a constraint, a temperature or any other sampler.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenLogprob {
    /// Its text. An incomplete character is U+FFFD.
    pub token: String,
    /// The natural logarithm of its probability.
    pub logprob: f32,
    /// The likeliest tokens in its place, by falling probability.
    pub top: Vec<Alternative>,
}

/// A token that might have come.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alternative {
    /// Its text.
    pub token: String,
    /// The natural logarithm of its probability.
    pub logprob: f32,
}

impl fmt::Debug for TokenLogprob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenLogprob({} bytes, {} alternatives)", self.token.len(), self.top.len())
    }
}
