//! One job in the batch loop.

use std::time::{Duration, Instant};

use super::grammar::{Grammar, GrammarError};
use super::llama::{Model, Token};
use super::writer::Writer;
use crate::engine::protocol::{Answer, EngineJob};
use crate::job::{Constraint, ErrorCode, Finish, JobId, Usage};

/// Where a sequence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// So many tokens of the prompt are in memory; of prompt and answer, if what was in memory is computed once more.
    Prefill(usize),
    /// The prompt is in memory, and this token is chosen and not computed.
    Decode(Token),
}

/// What the logits of a step mean for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advance {
    /// This token comes next, and more after it.
    GoesOn(Token),
    /// The answer is complete.
    Ended(Finish),
}

/// Why a job cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For the client's program.
    pub code: ErrorCode,
    /// For its developer.
    pub message: String,
}

impl From<GrammarError> for Failure {
    fn from(error: GrammarError) -> Self {
        Self { code: error.code(), message: error.to_string() }
    }
}

/// One job that runs.
pub struct Sequence {
    /// Which job.
    pub job: JobId,
    /// Where it is.
    pub state: State,
    /// The prompt, and as much of the answer as is chosen.
    tokens: Vec<Token>,
    /// How many of them are the prompt.
    prompt: usize,
    /// Tokens of the prompt that were in memory before it began.
    cached: usize,
    writer: Writer,
    /// Whether a complete answer is the value of a schema.
    is_value: bool,
    received: Instant,
    first_token: Option<Instant>,
    /// Tokens that were chosen.
    generated: u32,
}

impl Sequence {
    /// A job whose prompt leaves room for `room` tokens, at least one, and of whose prompt `cached` tokens are in memory.
    pub fn new(
        job: EngineJob,
        received: Instant,
        prompt: Vec<Token>,
        cached: usize,
        room: usize,
        n_vocab: usize,
    ) -> Self {
        let is_value = matches!(job.output.constraint, Some(Constraint::Schema(_)));
        let writer = Writer::new(&job.sampling, job.output, job.stream, &prompt, room, n_vocab);
        Self {
            job: job.id,
            state: State::Prefill(cached),
            prompt: prompt.len(),
            tokens: prompt,
            cached,
            writer,
            is_value,
            received,
            first_token: None,
            generated: 0,
        }
    }

    /// Whether it waits for its grammar, and takes part in no step.
    pub fn waits(&self) -> bool {
        self.writer.waits()
    }

    /// What it has waited for.
    pub fn hold(&mut self, grammar: Result<Grammar, GrammarError>) {
        self.writer.hold(grammar);
    }

    /// The whole prompt.
    pub fn prompt(&self) -> &[Token] {
        &self.tokens[..self.prompt]
    }

    /// The prompt, and as much of the answer as is chosen.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// It was parked for so long, which is no time of its prompt or its answer.
    pub fn paused(&mut self, pause: Duration) {
        match &mut self.first_token {
            Some(first) => *first += pause,
            None => self.received += pause,
        }
    }

    /// Whether it computes once more, one by one, what it has chosen before.
    pub fn replays(&self) -> bool {
        matches!(self.state, State::Prefill(done) if done >= self.prompt)
    }

    /// What was in memory is lost but for so many tokens: the rest is computed once more, and the answer goes on after it.
    pub fn recompute(&mut self, kept: usize) {
        self.state = State::Prefill(kept);
    }

    /// Tokens in memory when nothing is being computed.
    pub fn length(&self) -> usize {
        match self.state {
            State::Prefill(done) => done,
            State::Decode(_) => self.tokens.len() - 1,
        }
    }

    /// Chooses the next token from the logits of the last one.
    pub fn advance(&mut self, model: &Model, logits: &[f32]) -> Result<Advance, Failure> {
        let advance = self.writer.advance(model, logits)?;
        self.first_token.get_or_insert_with(Instant::now);
        self.generated += 1;
        if let Advance::GoesOn(token) = advance {
            self.tokens.push(token);
            self.state = State::Decode(token);
        }
        Ok(advance)
    }

    /// Text that a delta should carry.
    pub fn take_delta(&mut self) -> Option<String> {
        self.writer.take_delta()
    }

    /// The answer.
    pub fn finish(mut self, finish: Finish) -> Answer {
        let now = Instant::now();
        let last_delta = self.take_delta();
        let (output, logprobs) = self.writer.finish(finish, self.is_value);
        let first = self.first_token.unwrap_or(now);
        Answer {
            output,
            last_delta,
            finish,
            logprobs,
            usage: Usage {
                prompt_tokens: u32::try_from(self.prompt).unwrap_or(u32::MAX),
                cached_tokens: u32::try_from(self.cached).unwrap_or(u32::MAX),
                generated_tokens: self.generated,
            },
            prefill: first.saturating_duration_since(self.received),
            decode: now.saturating_duration_since(first),
        }
    }
}
