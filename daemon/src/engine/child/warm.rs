//! The first steps of a fresh context: as large as steps get, so that the memory of later ones is taken already, and is seen.

use std::time::{Duration, Instant};

use super::link::Shared;
use super::llama::{Batch, Context, Model, Token};

/// Tokens of the step that tells how long a full one would take; it is computed twice, because the first one is slow: it
/// touches most of its memory for the first time.
const PROBE: usize = 32;

/// A full step that would take longer is left out: it would hold up the start, and on such a model its memory is small beside
/// the weights.
const LONGEST: Duration = Duration::from_secs(2);

/// Computes a prompt as long as one step takes, then one token for every sequence, and forgets both.
pub fn warm_up(model: &Model, context: &mut Context, shared: &Shared) {
    let most = context.n_batch().min(context.tokens_per_sequence());
    step(model, context, shared, PROBE.min(most));
    let start = Instant::now();
    step(model, context, shared, PROBE.min(most));
    let expected = start.elapsed().mul_f64(most as f64 / PROBE as f64);
    if expected <= LONGEST {
        step(model, context, shared, most);
    } else {
        tracing::info!("a full step would take {:.1} s: not warmed up", expected.as_secs_f64());
    }
    if !model.generates() {
        return;
    }
    let mut batch = Batch::default();
    for sequence in 0..context.n_sequences() {
        batch.add(0, 0, sequence, true);
    }
    compute(context, &mut batch, shared);
    for sequence in 0..context.n_sequences() {
        context.truncate(sequence, 0);
    }
}

fn step(model: &Model, context: &mut Context, shared: &Shared, tokens: usize) {
    let mut batch = Batch::default();
    let vocabulary = model.n_vocab().max(1);
    for position in 0..tokens {
        let token = Token::try_from(position % vocabulary).unwrap_or_default();
        batch.add(token, position, 0, position + 1 == tokens || !model.generates());
    }
    compute(context, &mut batch, shared);
    context.truncate(0, 0);
}

/// The golden prompt has computed already: what fails now is no reason to refuse a model, and the next job will tell.
fn compute(context: &mut Context, batch: &mut Batch, shared: &Shared) {
    if let Err(e) = context.decode(batch) {
        tracing::warn!("a step of the warm-up failed: {e}");
    }
    shared.progress();
}
