//! Constrained output: which tokens may come next, by a grammar.
//!
//! llguidance's `Matcher` is held here, and each of its errors ends the job: an answer never goes on without its constraint.
//! Messages name limits and never quote texts, neither of a schema nor of an answer.

mod build;
mod recipe;
mod worker;

use std::time::Duration;

use llguidance::Matcher;
use llguidance::api::StopReason;
use thiserror::Error;

pub use self::recipe::Recipe;
pub use self::worker::{Built, Grammars, Vocabulary};

use super::llama::Token;
use crate::job::ErrorCode;

/// Why an answer cannot be held to its form.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GrammarError {
    /// The schema, expression or list is none, or asks for too much.
    #[error("{0}")]
    Unusable(String),
    /// It became too complex while the answer was written.
    #[error(
        "the constraint takes too much work for a token: allowed are {STEP_ITEMS} parser items and {STATES} lexer states"
    )]
    TooComplex,
    /// Nothing that it allows can be written with the model's tokens.
    #[error("the model has no token that the constraint allows where the answer is now")]
    NoToken,
    /// It is not built yet, and shall not be awaited any longer.
    #[error("the constraint takes longer than {} s to be made into a grammar", BUILD_MAX.as_secs())]
    TooSlow,
    /// The text of a task that finds parts of it asks for too much.
    #[error("the text is too long or too varied to be searched by a model that generates text")]
    Unsearchable,
    /// A defect.
    #[error("the constraint failed: {0}")]
    Failed(&'static str),
}

impl GrammarError {
    /// The code for the client.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unusable(_) | Self::TooComplex | Self::NoToken | Self::TooSlow => ErrorCode::InvalidSchema,
            Self::Unsearchable => ErrorCode::InvalidRequest,
            Self::Failed(_) => ErrorCode::EngineFailed,
        }
    }

    /// The same for a client that has sent no constraint, but a text to search.
    fn of_search(self) -> Self {
        match self {
            Self::Failed(_) => self,
            _ => Self::Unsearchable,
        }
    }
}

/// Longest time for one grammar. The limits below keep it far shorter; what they fail to bound shall not hold up others for ever.
pub const BUILD_MAX: Duration = Duration::from_secs(10);

/// Work to build a grammar's lexer, in llguidance's fuel: about 20 ms.
const BUILD_FUEL: u64 = 1_000_000;

/// Symbols of a grammar: a few hundred kilobytes of schema.
const SYMBOLS: usize = 100_000;

/// Work of the lexer for one token, in llguidance's fuel: about 15 ms.
const STEP_FUEL: u64 = 200_000;

/// Parser items for one token: about 3 ms.
const STEP_ITEMS: usize = 50_000;

/// Parser items in one place of the text.
const ROW_ITEMS: usize = 2_000;

/// States of a job's lexer, of 1 to 2 KiB each.
const STATES: usize = 16_384;

/// The state of one answer in its grammar.
pub struct Grammar {
    matcher: Matcher,
    /// Whether it is none that a client has sent.
    searches: bool,
    /// The logits, with −∞ for what may not come.
    masked: Vec<f32>,
}

impl Grammar {
    /// The logits of a step with −∞ for every token that may not come next.
    pub fn mask(&mut self, logits: &[f32]) -> Result<&[f32], GrammarError> {
        let allowed = self.matcher.compute_mask().map_err(|_| self.fault())?;
        self.masked.clear();
        self.masked.resize(logits.len(), f32::NEG_INFINITY);
        for (word, &bits) in allowed.as_slice().iter().enumerate() {
            let mut bits = bits;
            while bits != 0 {
                let token = word * 32 + bits.trailing_zeros() as usize;
                if let (Some(masked), Some(&logit)) = (self.masked.get_mut(token), logits.get(token)) {
                    *masked = logit;
                }
                bits &= bits - 1;
            }
        }
        Ok(&self.masked)
    }

    /// Takes a token that was chosen; true if the answer is complete and nothing can follow.
    pub fn take(&mut self, token: Token) -> Result<bool, GrammarError> {
        let token = u32::try_from(token).map_err(|_| GrammarError::Failed("a token is negative"))?;
        self.matcher.consume_token(token).map_err(|_| self.fault())?;
        if !self.matcher.is_stopped() {
            return Ok(false);
        }
        if self.matcher.stop_reason().is_ok() { Ok(true) } else { Err(self.fault()) }
    }

    fn fault(&self) -> GrammarError {
        let told = |words: &[&str]| self.matcher.get_error().is_some_and(|text| names(&text, words));
        let fault = match self.matcher.stop_reason() {
            StopReason::LexerTooComplex | StopReason::ParserTooComplex => GrammarError::TooComplex,
            // After an error the matcher keeps its text only, which may quote; these are llguidance's words for it.
            StopReason::InternalError if told(&["NoExtensionBias"]) => GrammarError::NoToken,
            StopReason::InternalError if told(&LIMITS) => GrammarError::TooComplex,
            _ => GrammarError::Failed("no token fits it any more"),
        };
        if self.searches { fault.of_search() } else { fault }
    }
}

/// What llguidance's messages have that tell that one of its limits is reached.
const LIMITS: [&str; 7] = ["too complex", "too many", "too big", "too large", "limit", "fuel", "TooComplex"];

/// Whether a message has one of these words.
fn names(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests;
