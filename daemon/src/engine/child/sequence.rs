//! One job in the batch loop.

use std::time::{Duration, Instant};

use super::chooser::Chooser;
use super::llama::{Model, Token};
use super::text::{Step, TextStream};
use crate::engine::protocol::{Answer, EngineJob};
use crate::job::{Finish, JobId, Output, Usage};

/// Where a sequence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// So many tokens of the prompt are in memory; of prompt and answer, if what was in memory is computed once more.
    Prefill(usize),
    /// The prompt is in memory, and this token is chosen and not computed.
    Decode(Token),
}

/// What a chosen token means for its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advance {
    /// There is more to come.
    GoesOn,
    /// The answer is complete.
    Ended(Finish),
    /// The model computed values that are no numbers.
    Broken,
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
    chooser: Chooser,
    text: TextStream,
    output: String,
    unsent: String,
    stream: bool,
    max_tokens: u32,
    max_bytes: usize,
    ignore_eos: bool,
    received: Instant,
    first_token: Option<Instant>,
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
        let chooser = Chooser::new(&job.sampling, n_vocab, &prompt);
        Self {
            job: job.id,
            state: State::Prefill(cached),
            prompt: prompt.len(),
            tokens: prompt,
            cached,
            chooser,
            text: TextStream::new(job.output.stop),
            output: String::new(),
            unsent: String::new(),
            stream: job.stream,
            max_tokens: job.output.max_tokens.min(u32::try_from(room).unwrap_or(u32::MAX)),
            max_bytes: job.output.max_bytes.map_or(usize::MAX, |bytes| bytes as usize),
            ignore_eos: job.output.ignore_eos,
            received,
            first_token: None,
        }
    }

    /// The whole prompt.
    pub fn prompt(&self) -> &[Token] {
        &self.tokens[..self.prompt]
    }

    /// The prompt, and as much of the answer as is chosen.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    fn generated(&self) -> u32 {
        u32::try_from(self.tokens.len() - self.prompt).unwrap_or(u32::MAX)
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
    pub fn advance(&mut self, model: &Model, logits: &[f32]) -> Advance {
        let Some(token) = self.chooser.choose(logits) else { return Advance::Broken };
        self.first_token.get_or_insert_with(Instant::now);
        self.tokens.push(token);
        self.state = State::Decode(token);
        self.take(model, token).map_or(Advance::GoesOn, Advance::Ended)
    }

    fn take(&mut self, model: &Model, token: Token) -> Option<Finish> {
        if model.is_end(token) && !self.ignore_eos {
            let rest = self.text.finish();
            return Some(self.show(&rest).unwrap_or(Finish::Stop));
        }
        let mut bytes = Vec::with_capacity(16);
        model.append_piece(token, &mut bytes);
        let stopped = match self.text.push(&bytes) {
            Step::Text(text) => self.show(&text),
            Step::Stopped(text) => Some(self.show(&text).unwrap_or(Finish::Stop)),
        };
        stopped.or_else(|| {
            (self.generated() >= self.max_tokens).then(|| {
                let rest = self.text.finish();
                self.show(&rest).unwrap_or(Finish::Length)
            })
        })
    }

    /// Adds text to the answer, up to the limit in bytes.
    fn show(&mut self, text: &str) -> Option<Finish> {
        let room = self.max_bytes - self.output.len();
        let truncated = text.len() > room;
        let text = if truncated { &text[..text.floor_char_boundary(room)] } else { text };
        self.output.push_str(text);
        if self.stream {
            self.unsent.push_str(text);
        }
        truncated.then_some(Finish::Truncated)
    }

    /// Text that a delta should carry.
    pub fn take_delta(&mut self) -> Option<String> {
        (!self.unsent.is_empty()).then(|| std::mem::take(&mut self.unsent))
    }

    /// The answer.
    pub fn finish(mut self, finish: Finish) -> Answer {
        let now = Instant::now();
        let first = self.first_token.unwrap_or(now);
        Answer {
            last_delta: self.take_delta(),
            finish,
            usage: Usage {
                prompt_tokens: u32::try_from(self.prompt).unwrap_or(u32::MAX),
                cached_tokens: u32::try_from(self.cached).unwrap_or(u32::MAX),
                generated_tokens: self.generated(),
            },
            prefill: first.saturating_duration_since(self.received),
            decode: now.saturating_duration_since(first),
            output: Output::Text(self.output),
        }
    }
}
