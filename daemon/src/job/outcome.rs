//! How a job ended.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Embedding, Entity, ErrorCode, Found, JobError, Labelled, ModelName, Ranked, SessionReport, TokenLogprob};

/// The one end that every accepted job has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was answered.
    Completed(Completion),
    /// It was not.
    Failed(JobError),
}

impl Outcome {
    /// Why there is no answer.
    pub fn error(&self) -> Option<ErrorCode> {
        match self {
            Self::Completed(_) => None,
            Self::Failed(error) => Some(error.code),
        }
    }
}

/// An answer and what it cost.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// What it is.
    pub output: Output,
    /// Why it ended there.
    pub finish: Finish,
    /// The model that answered.
    pub model: ModelName,
    /// The strategy that the model ran with, such as `cpu:int4`.
    pub strategy: String,
    /// How likely each of its tokens was, if that was asked for.
    pub logprobs: Vec<TokenLogprob>,
    /// Tokens.
    pub usage: Usage,
    /// Times.
    pub timings: Timings,
    /// How many `delta` messages were sent for it.
    pub deltas: u32,
    /// Energy that the board used for it, joules, where that is known.
    pub energy_joules: Option<f64>,
    /// What became of its session, if it has one.
    pub session: Option<Box<SessionReport>>,
}

/// Sizes only: answers do not belong in logs.
impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion")
            .field("output", &self.output)
            .field("finish", &self.finish)
            .field("usage", &self.usage)
            .finish_non_exhaustive()
    }
}

/// What a job gives.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Output {
    /// Text that a model has generated, whole.
    Text(String),
    /// A value, as JSON text.
    Json(String),
    /// An embedding.
    Embedding(Embedding),
    /// Every class, the most likely first; their scores have the sum 1.
    Labels(Vec<Labelled>),
    /// What was found in a text, in its order; parts do not overlap.
    Entities(Vec<Entity>),
    /// What a context tells about a question.
    Found(Found),
    /// Every document, the one that fits best first.
    Ranking(Vec<Ranked>),
    /// Of many inputs, in their order, what each gives, or why it gives nothing.
    Each(Vec<Result<Output, JobError>>),
}

/// Sizes only, as above.
impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Json(text) => write!(f, "Json({} bytes)", text.len()),
            Self::Embedding(embedding) => embedding.fmt(f),
            Self::Labels(labels) => write!(f, "Labels({})", labels.len()),
            Self::Entities(entities) => write!(f, "Entities({})", entities.len()),
            Self::Found(found) => found.fmt(f),
            Self::Ranking(documents) => write!(f, "Ranking({} documents)", documents.len()),
            Self::Each(outputs) => write!(f, "Each({} outputs)", outputs.len()),
        }
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model ended it, or a stop text was met.
    Stop,
    /// `max_tokens` or the end of the context.
    Length,
    /// `max_bytes`.
    Truncated,
    /// It is complete: a value of the schema, or a text that matches the regular expression.
    Schema,
    /// It is one of the choices.
    Choice,
}

impl Finish {
    /// Every reason, in the order of the interface document.
    pub const ALL: [Self; 5] = [Self::Stop, Self::Length, Self::Truncated, Self::Schema, Self::Choice];

    /// As replies spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Truncated => "truncated",
            Self::Schema => "schema",
            Self::Choice => "choice",
        }
    }
}

/// Token counts of one job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Tokens of the prompt, template included.
    pub prompt_tokens: u32,
    /// Of these, how many were not computed again.
    pub cached_tokens: u32,
    /// Tokens generated.
    pub generated_tokens: u32,
}

/// Where the time of one job went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// From receipt to the engine.
    pub queue: Duration,
    /// From the engine's receipt to the first token.
    pub prefill: Duration,
    /// From the first token to the last.
    pub decode: Duration,
    /// From receipt to the outcome.
    pub total: Duration,
}
