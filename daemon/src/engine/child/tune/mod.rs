//! Measures how fast a model is with some settings, and what it says about a text.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::chooser::argmax;
use super::golden::GoldenError;
use super::link::{Link, Shared};
use super::llama::{self, Backend, Batch, Context, ContextParams, Decoded, Model, Token, shares};
use super::logprobs::{best, log_sum, logprob_of};
use super::memory::{self, own_memory};
use super::{LoadError, model_path};
use crate::engine::protocol::{ModelKind, Phase, Place, TuneParams, TuneReport};
use crate::plan::{GpuLayers, LoadShape};

/// Plain English with some of what devices write.
const TEXT: &str = include_str!("text.txt");

/// How often the prompt is computed; the first time does not count.
const PROMPTS: usize = 3;

/// Steps with all sequences.
const STEPS: u32 = 24;

/// Tokens that are told of at each place. Nearly all of the probability is theirs.
const TOLD: usize = 32;

/// Measures.
pub fn tune(link: &Link, params: &TuneParams, model_file: &OwnedFd) -> Result<TuneReport, LoadError> {
    link.shared.enter(Phase::Loading);
    let start = Instant::now();
    let backend = Backend::load(&params.backends, false)?;
    let progress = |_| {
        link.shared.progress();
        true
    };
    let model = Model::load(&backend, &model_path(), ModelKind::Decoder, GpuLayers::None, params.tuning, progress)?;
    if model.has_encoder() {
        return Err(LoadError::EncoderDecoder);
    }
    let model = Rc::new(model);
    // Some models know no more positions than they were trained with.
    let tokens = params.tokens.max(2 * STEPS).min(model.trained_context());
    let shape = LoadShape { context: tokens, sequences: params.sequences, kv_type: params.kv_type };
    let (batch, flash_attention) = (params.tuning.batch, params.tuning.flash_attention);
    let mut context =
        Context::new(&model, ContextParams { shape, batch, threads: params.threads, flash_attention }, &link.shared)?;
    let load = start.elapsed();
    if shares(&context).is_some_and(|shares| shares.iter().any(llama::Share::is_repacked)) {
        memory::forget_mapping(model_file.as_fd());
    }
    link.shared.enter(Phase::Working);
    let text = model.tokenize_whole(TEXT)?;
    let tokens = params.tokens as usize;
    let prefill = prefill(&mut context, &text, tokens)?;
    let (decode, places) = read(&mut context, &text[..text.len().min(tokens / 2)], &params.wanted, &link.shared)?;
    let together = together(&mut context, &text)?;
    Ok(TuneReport { load, prefill, decode, together, memory: own_memory(), text, places })
}

/// Tokens of a prompt a second, at best: what disturbs only makes it slower.
fn prefill(context: &mut Context, text: &[Token], tokens: usize) -> Result<f64, LoadError> {
    let prompt: Vec<Token> = text.iter().copied().cycle().take(tokens.min(context.tokens_per_sequence())).collect();
    let (mut best, mut batch) = (Duration::MAX, Batch::default());
    for turn in 0..PROMPTS {
        let start = Instant::now();
        for (number, piece) in prompt.chunks(context.n_batch()).enumerate() {
            batch.clear();
            for (offset, &token) in piece.iter().enumerate() {
                let position = number * context.n_batch() + offset;
                batch.add(token, position, 0, position + 1 == prompt.len());
            }
            step(context, &mut batch)?;
        }
        if turn > 0 {
            best = best.min(start.elapsed());
        }
        context.truncate(0, 0);
    }
    Ok(prompt.len() as f64 / best.as_secs_f64())
}

/// Reads the text token by token, as an answer is written; tells how fast that was, and what the model expected.
fn read(
    context: &mut Context,
    text: &[Token],
    wanted: &[Vec<Token>],
    shared: &Shared,
) -> Result<(f64, Vec<Place>), LoadError> {
    let (mut times, mut places, mut batch) = (Vec::new(), Vec::new(), Batch::default());
    for (position, &token) in text.iter().enumerate() {
        batch.clear();
        let output = batch.add(token, position, 0, true);
        let start = Instant::now();
        step(context, &mut batch)?;
        times.push(start.elapsed());
        let logits = context.logits(&batch, output).ok_or(LoadError::Golden(GoldenError::NotFinite))?;
        places.push(place(logits, wanted.get(position).map(Vec::as_slice))?);
        shared.progress();
    }
    context.truncate(0, 0);
    Ok((1.0 / median(times).as_secs_f64(), places))
}

fn place(logits: &[f32], wanted: Option<&[Token]>) -> Result<Place, LoadError> {
    let likeliest = argmax(logits).ok_or(LoadError::Golden(GoldenError::NotFinite))?;
    let sum = log_sum(logits);
    let of = |token: Token| (token, logprob_of(logits, token, sum));
    let logprobs = match wanted {
        Some(tokens) => tokens.iter().copied().map(of).collect(),
        None => best(logits, TOLD).into_iter().map(|(_, token)| of(token)).collect(),
    };
    Ok(Place { best: likeliest, logprobs })
}

/// Tokens a second of all sequences together.
fn together(context: &mut Context, text: &[Token]) -> Result<f64, LoadError> {
    let (mut times, mut batch) = (Vec::new(), Batch::default());
    for position in 0..STEPS as usize {
        batch.clear();
        for sequence in 0..context.n_sequences() {
            batch.add(text[(position + sequence) % text.len()], position, sequence, true);
        }
        let start = Instant::now();
        step(context, &mut batch)?;
        times.push(start.elapsed());
    }
    for sequence in 0..context.n_sequences() {
        context.truncate(sequence, 0);
    }
    Ok(context.n_sequences() as f64 / median(times).as_secs_f64())
}

fn step(context: &mut Context, batch: &mut Batch) -> Result<(), LoadError> {
    match context.decode(batch) {
        Ok(Decoded::Done) => Ok(()),
        Ok(Decoded::Aborted) => Err(LoadError::Golden(GoldenError::Decode("a step was broken off".to_owned()))),
        Err(e) => Err(LoadError::Golden(GoldenError::Decode(e.to_string()))),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(Duration::MAX)
}
