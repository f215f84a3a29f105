//! One job of an encoder: its texts, and what has been made of them.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::answers::{broken, ranking};
use super::skills::Purpose;
use super::words::Tokenized;
use crate::engine::child::llama::Token;
use crate::engine::protocol::Answer;
use crate::job::{ErrorCode, Finish, JobError, JobId, Output, Usage};

/// A job that is not finished.
pub struct Work {
    job: JobId,
    received: Instant,
    purpose: Purpose,
    /// What is not computed yet, with the places of its texts among all; the pieces of a text one after the other.
    waiting: VecDeque<(usize, Piece)>,
    /// All texts, or why nothing can be made of one.
    texts: Vec<Result<Text, JobError>>,
    tokens: usize,
}

/// What is computed at once.
pub struct Piece {
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// Those of which the values are kept, where each token has its own.
    pub kept: Range<usize>,
}

/// A text and what has been computed of it.
pub struct Text {
    /// Its words, where they count.
    pub words: Option<Tokenized>,
    /// What the model gives for it, or for its tokens one after the other.
    pub values: Vec<f32>,
}

impl Text {
    /// One that counts as a whole.
    pub fn whole() -> Self {
        Self { words: None, values: Vec::new() }
    }

    /// One of which each word counts.
    pub fn of_words(words: Tokenized) -> Self {
        Self { words: Some(words), values: Vec::new() }
    }
}

impl Work {
    /// A job without any texts yet.
    pub fn new(job: JobId, received: Instant, purpose: Purpose) -> Self {
        Self { job, received, purpose, waiting: VecDeque::new(), texts: Vec::new(), tokens: 0 }
    }

    /// Adds its next text, with all pieces that must be computed.
    pub fn add(&mut self, cut: Result<(Text, Vec<Piece>), JobError>) {
        let place = self.texts.len();
        self.texts.push(cut.map(|(text, pieces)| {
            self.tokens += pieces.iter().map(|piece| piece.tokens.len()).sum::<usize>();
            self.waiting.extend(pieces.into_iter().map(|piece| (place, piece)));
            text
        }));
    }

    /// Which job.
    pub fn job(&self) -> JobId {
        self.job
    }

    /// The tokens of the n-th piece that is not computed yet.
    pub fn waiting(&self, n: usize) -> Option<&[Token]> {
        self.waiting.get(n).map(|(_, piece)| piece.tokens.as_slice())
    }

    /// The first piece that waits has been computed.
    pub fn computed(&mut self, values: Option<Vec<f32>>) {
        let Some((place, piece)) = self.waiting.pop_front() else { return };
        let Ok(text) = &mut self.texts[place] else { return };
        match values {
            Some(values) if text.words.is_none() => text.values = values,
            Some(values) => {
                let classes = values.len() / piece.tokens.len().max(1);
                text.values.extend_from_slice(&values[piece.kept.start * classes..piece.kept.end * classes]);
            }
            None => self.texts[place] = Err(broken()),
        }
    }

    /// Whether nothing waits.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The answer, once nothing waits.
    pub fn finish(self) -> Result<Answer, JobError> {
        let mut texts = self.texts.into_iter();
        let output = match self.purpose {
            Purpose::One(making) => making.make(&first(&mut texts)?)?,
            Purpose::Many(making) => Output::Each(texts.map(|text| making.make(&text?)).collect()),
            Purpose::Ranking => {
                let question = first(&mut texts)?.values;
                let documents = texts.enumerate().map(|(index, document)| {
                    document.map(|text| text.values).map_err(|JobError { code, message, .. }| {
                        JobError::new(code, format!("documents[{index}]: {message}"))
                    })
                });
                ranking(&question, &documents.collect::<Result<Vec<_>, _>>()?)?
            }
        };
        let prompt_tokens = u32::try_from(self.tokens).unwrap_or(u32::MAX);
        Ok(Answer {
            output,
            last_delta: None,
            finish: Finish::Stop,
            logprobs: Vec::new(),
            dropped: 0,
            usage: Usage { prompt_tokens, cached_tokens: 0, generated_tokens: 0 },
            prefill: self.received.elapsed(),
            decode: Duration::ZERO,
        })
    }
}

/// The first text, which every job has.
fn first(texts: &mut impl Iterator<Item = Result<Text, JobError>>) -> Result<Text, JobError> {
    texts.next().unwrap_or_else(|| Err(JobError::new(ErrorCode::Internal, "a job without a text")))
}
