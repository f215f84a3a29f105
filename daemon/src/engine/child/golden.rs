//! The golden prompt: a model that loads and computes nonsense must not serve.

use regex::Regex;
use thiserror::Error;

use super::chooser::argmax;
use super::link::Shared;
use super::llama::{Batch, Context, Decoded, Model, Token};
use super::prompt::{PromptError, Prompter};
use crate::engine::protocol::Golden;
use crate::job::Task;

/// English that every language model has seen the like of.
const SENTENCE: &str =
    "The quick brown fox jumps over the lazy dog. Water boils at one hundred degrees, and the sun rises in the east.";

/// The mean loss on the sentence must stay below this share of the loss of a guess, ln(vocabulary). `SmolLM2` with 135 M
/// parameters reaches 0.33; random or corrupted weights 1.
const LOSS_SHARE: f64 = 0.6;

/// Tokens to generate for the operator's prompt.
const ANSWER_TOKENS: usize = 64;

/// Why a model failed its golden prompt.
#[derive(Debug, Error)]
pub enum GoldenError {
    /// The prompt could not be made.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// llama.cpp failed.
    #[error("{0}")]
    Decode(String),
    /// NaN or infinite.
    #[error("the model computes values that are no numbers")]
    NotFinite,
    /// The model does not know English, or anything.
    #[error("the loss on the golden sentence is {loss:.2}; at most {limit:.2} is allowed")]
    Loss {
        /// Nats per token.
        loss: f64,
        /// The bound.
        limit: f64,
    },
    /// The operator's expression is broken.
    #[error("golden_expect: {0}")]
    Expression(#[from] regex::Error),
    /// The answer is another one.
    #[error("the answer to golden_prompt does not match golden_expect")]
    Mismatch,
}

/// Lets the model answer; it also warms up every buffer.
pub fn check(
    model: &Model,
    context: &mut Context,
    prompter: &Prompter,
    golden: &Golden,
    shared: &Shared,
) -> Result<(), GoldenError> {
    let result = match golden {
        _ if !model.generates() => embedding(model, context, prompter),
        Golden::Loss => loss(model, context, prompter, shared),
        Golden::Answer { prompt, expect } => answer(model, context, prompter, prompt, &Regex::new(expect)?),
    };
    context.truncate(0, 0);
    result
}

fn loss(model: &Model, context: &mut Context, prompter: &Prompter, shared: &Shared) -> Result<(), GoldenError> {
    let tokens = prompter.raw(model, SENTENCE)?;
    let mut batch = Batch::default();
    let mut sum = 0.0;
    // One output for each sequence is all that the compute buffer has room for.
    for (chunk, start) in tokens.chunks(context.n_sequences()).zip((0..).step_by(context.n_sequences())) {
        batch.clear();
        for (offset, &token) in chunk.iter().enumerate() {
            batch.add(token, start + offset, 0, true);
        }
        decode(context, &mut batch)?;
        shared.progress();
        for offset in 0..chunk.len() {
            let Some(&next) = tokens.get(start + offset + 1) else { break };
            let logits = context.logits(&batch, offset).ok_or(GoldenError::NotFinite)?;
            sum += surprise(logits, next).ok_or(GoldenError::NotFinite)?;
        }
    }
    let loss = sum / (tokens.len() - 1).max(1) as f64;
    let limit = LOSS_SHARE * (model.n_vocab() as f64).ln();
    tracing::info!("golden sentence: loss {loss:.2}, limit {limit:.2}");
    if loss > limit { Err(GoldenError::Loss { loss, limit }) } else { Ok(()) }
}

/// An encoder must make numbers of the sentence, and not all of them zero.
fn embedding(model: &Model, context: &mut Context, prompter: &Prompter) -> Result<(), GoldenError> {
    let mut tokens = prompter.raw(model, SENTENCE)?;
    tokens.truncate(context.n_batch());
    let mut batch = Batch::default();
    for (position, &token) in tokens.iter().enumerate() {
        batch.add(token, position, 0, true);
    }
    decode(context, &mut batch)?;
    let values = context.embedding(tokens.len().saturating_sub(1)).ok_or(GoldenError::NotFinite)?;
    let sound = values.iter().all(|value| value.is_finite()) && values.iter().any(|value| *value != 0.0);
    if sound { Ok(()) } else { Err(GoldenError::NotFinite) }
}

/// −ln p of a token.
fn surprise(logits: &[f32], token: Token) -> Option<f64> {
    let best = f64::from(logits[usize::try_from(argmax(logits)?).ok()?]);
    let sum: f64 = logits.iter().map(|&l| (f64::from(l) - best).exp()).sum();
    let chosen = f64::from(*logits.get(usize::try_from(token).ok()?)?);
    Some(best + sum.ln() - chosen).filter(|s| s.is_finite())
}

fn answer(
    model: &Model,
    context: &mut Context,
    prompter: &Prompter,
    prompt: &str,
    expect: &Regex,
) -> Result<(), GoldenError> {
    let tokens = prompter.tokens(model, &Task::Generate { prompt: prompt.to_owned() })?;
    let mut batch = Batch::default();
    let mut bytes = Vec::new();
    let mut length = 0;
    let mut last = 0;
    for chunk in tokens.chunks(context.n_batch()) {
        batch.clear();
        for &token in chunk {
            last = batch.add(token, length, 0, length + 1 == tokens.len());
            length += 1;
        }
        decode(context, &mut batch)?;
    }
    for _ in 0..ANSWER_TOKENS.min(context.tokens_per_sequence().saturating_sub(length)) {
        let logits = context.logits(&batch, last).ok_or(GoldenError::NotFinite)?;
        let token = argmax(logits).ok_or(GoldenError::NotFinite)?;
        if model.is_end(token) {
            break;
        }
        model.append_piece(token, &mut bytes);
        batch.clear();
        last = batch.add(token, length, 0, true);
        length += 1;
        decode(context, &mut batch)?;
    }
    if expect.is_match(&String::from_utf8_lossy(&bytes)) { Ok(()) } else { Err(GoldenError::Mismatch) }
}

fn decode(context: &mut Context, batch: &mut Batch) -> Result<(), GoldenError> {
    match context.decode(batch) {
        Ok(Decoded::Done) => Ok(()),
        Ok(Decoded::Aborted) => Err(GoldenError::Decode("the golden prompt was aborted".into())),
        Err(e) => Err(GoldenError::Decode(e.to_string())),
    }
}
