//! One job of an encoder: its texts, and what has been made of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::engine::child::link::Shared;
use crate::engine::child::llama::{Model, Token};
use crate::engine::protocol::{Answer, EngineJob};
use crate::job::{Embedding, Encoding, ErrorCode, Finish, Input, JobError, JobId, Output, Task, Usage};

/// What becomes of the vectors.
enum Purpose {
    /// The answer is the one embedding.
    One(Encoding),
    /// The answer is all embeddings.
    Many(Encoding),
}

/// A job that is not finished.
pub struct Work {
    job: JobId,
    received: Instant,
    purpose: Purpose,
    /// Texts that are not computed yet: their places among all, and their tokens.
    waiting: VecDeque<(usize, Vec<Token>)>,
    /// By the places of the texts; none where one waits.
    vectors: Vec<Option<Result<Vec<f32>, JobError>>>,
    tokens: usize,
}

impl Work {
    /// Tokenizes the texts of a job. One that has more tokens than a step takes, or none, has its error already.
    pub fn new(
        model: &Model,
        most: usize,
        job: EngineJob,
        received: Instant,
        shared: &Shared,
    ) -> Result<Self, JobError> {
        let (purpose, texts) = match job.task {
            Task::Embed { input: Input::One(text), encoding } => (Purpose::One(encoding), vec![text]),
            Task::Embed { input: Input::Many(texts), encoding } => (Purpose::Many(encoding), texts),
            Task::Generate { .. } | Task::Chat { .. } => {
                let text = format!("the model is an encoder: it can't do the task \"{}\"", job.task.name());
                return Err(JobError::new(ErrorCode::InvalidRequest, text));
            }
        };
        let empty = model.tokenize_whole("").map_or(0, |tokens| tokens.len());
        let (job, waiting, tokens) = (job.id, VecDeque::new(), 0);
        let mut work = Self { job, received, purpose, waiting, vectors: Vec::with_capacity(texts.len()), tokens };
        for (place, text) in texts.iter().enumerate() {
            // Many long texts take the tokenizer a while.
            shared.progress();
            match tokens_of(model, most, empty, text) {
                Ok(tokens) => {
                    work.tokens += tokens.len();
                    work.waiting.push_back((place, tokens));
                    work.vectors.push(None);
                }
                Err(error) => work.vectors.push(Some(Err(error))),
            }
        }
        Ok(work)
    }

    /// Which job.
    pub fn job(&self) -> JobId {
        self.job
    }

    /// The tokens of the n-th text that is not computed yet.
    pub fn waiting(&self, n: usize) -> Option<&[Token]> {
        self.waiting.get(n).map(|(_, tokens)| tokens.as_slice())
    }

    /// The first text that waits has been computed.
    pub fn computed(&mut self, values: Option<&[f32]>) {
        let Some((place, _)) = self.waiting.pop_front() else { return };
        let broken = || JobError::new(ErrorCode::EngineFailed, "the model computed values that are no numbers");
        self.vectors[place] = Some(values.and_then(normalised).ok_or_else(broken));
    }

    /// Whether no text waits.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The answer, once no text waits.
    pub fn finish(self) -> Result<Answer, JobError> {
        let mut vectors = self.vectors.into_iter().flatten();
        let output = match self.purpose {
            Purpose::One(encoding) => {
                let missing = || Err(JobError::new(ErrorCode::Internal, "a job without a text"));
                embedding(encoding)(vectors.next().unwrap_or_else(missing))?
            }
            Purpose::Many(encoding) => Output::Each(vectors.map(embedding(encoding)).collect()),
        };
        let prompt_tokens = u32::try_from(self.tokens).unwrap_or(u32::MAX);
        Ok(Answer {
            output,
            last_delta: None,
            finish: Finish::Stop,
            usage: Usage { prompt_tokens, cached_tokens: 0, generated_tokens: 0 },
            prefill: self.received.elapsed(),
            decode: Duration::ZERO,
        })
    }
}

/// From a vector to what a client gets for it.
fn embedding(encoding: Encoding) -> impl Fn(Result<Vec<f32>, JobError>) -> Result<Output, JobError> {
    move |vector| vector.map(|values| Output::Embedding(Embedding { values, encoding }))
}

/// `empty` is how many tokens a text without any has.
fn tokens_of(model: &Model, most: usize, empty: usize, text: &str) -> Result<Vec<Token>, JobError> {
    let blank = || JobError::new(ErrorCode::InvalidRequest, "the text is empty, or has nothing that the model knows");
    if text.trim().is_empty() {
        return Err(blank());
    }
    let tokens =
        model.tokenize_whole(text).map_err(|error| JobError::new(ErrorCode::EngineFailed, error.to_string()))?;
    match tokens.len() {
        count if count <= empty => Err(blank()),
        count if count > most => {
            let text = format!("the text has {count} tokens; the model takes {most} at once");
            Err(JobError::new(ErrorCode::ContextOverflow, text))
        }
        _ => Ok(tokens),
    }
}

/// The vector with length 1; none if it has no direction.
fn normalised(values: &[f32]) -> Option<Vec<f32>> {
    let square: f64 = values.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    let length = square.sqrt();
    #[expect(clippy::cast_possible_truncation, reason = "at most 1")]
    let scaled = |value: &f32| (f64::from(*value) / length) as f32;
    (length.is_normal()).then(|| values.iter().map(scaled).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_get_length_one_and_those_without_a_direction_are_none() {
        assert_eq!(normalised(&[3.0, -4.0]), Some(vec![0.6, -0.8]));
        // Their squares are larger than an f32 can be.
        let far = 2_f32.powi(100);
        assert_eq!(normalised(&[3.0 * far, 4.0 * far]), Some(vec![0.6, 0.8]));
        for broken in [&[0.0, 0.0][..], &[], &[f32::NAN, 1.0], &[f32::INFINITY, 1.0]] {
            assert_eq!(normalised(broken), None, "{broken:?}");
        }
    }
}
