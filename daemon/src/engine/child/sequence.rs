//! One job in the batch loop.

use std::time::{Duration, Instant};

use super::cache::Asker;
use super::chooser::argmax;
use super::grammar::{Grammar, GrammarError};
use super::llama::{Model, Token};
use super::pace::CHUNK;
use super::scorer::{Place, Scorer, kept};
use super::writer::Writer;
use crate::engine::protocol::{Answer, Instructions, SessionUse};
use crate::job::{ErrorCode, Finish, JobId, Usage};

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
    /// So many tokens of those in memory are kept; others come after them.
    Back(usize),
}

/// What is made of a prompt.
pub enum Work {
    /// A text.
    Writes(Box<Writer>),
    /// Scores of labels.
    Scores(Scorer),
}

/// Why a job cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For the client's program.
    pub code: ErrorCode,
    /// For its developer.
    pub message: String,
}

impl Failure {
    /// A broken model.
    pub fn no_numbers() -> Self {
        Self { code: ErrorCode::EngineFailed, message: "the model computed values that are no numbers".to_owned() }
    }
}

impl From<GrammarError> for Failure {
    fn from(error: GrammarError) -> Self {
        Self { code: error.code(), message: error.to_string() }
    }
}

/// Where a job comes from.
pub struct Source {
    /// The session that it is a turn of.
    pub session: Option<SessionUse>,
    /// What its prompt is made of.
    pub instructions: Option<Instructions>,
}

impl Source {
    /// Who asks.
    pub fn asker(&self) -> Asker<'_> {
        Asker { session: self.session.map(|session| session.number), instructions: self.instructions.as_ref() }
    }
}

/// One job that runs.
pub struct Sequence {
    /// Which job.
    pub job: JobId,
    /// Where it is.
    pub state: State,
    /// What it may find of other prompts.
    pub source: Source,
    /// The prompt, and as much of the answer as is chosen.
    tokens: Vec<Token>,
    /// How many of them are the prompt.
    prompt: usize,
    /// Remembered turns that the prompt lacks.
    dropped: u32,
    usage: Usage,
    work: Work,
    received: Instant,
    /// When it got its slot.
    began: Instant,
    first_token: Option<Instant>,
}

impl Sequence {
    /// A job whose prompt lacks so many remembered turns.
    pub fn new(
        job: JobId,
        received: Instant,
        (prompt, dropped): (Vec<Token>, u32),
        source: Source,
        work: Work,
    ) -> Self {
        let usage = Usage {
            prompt_tokens: u32::try_from(prompt.len()).unwrap_or(u32::MAX),
            cached_tokens: 0,
            generated_tokens: 0,
        };
        Self {
            job,
            state: State::Prefill(0),
            source,
            prompt: prompt.len(),
            tokens: prompt,
            dropped,
            usage,
            work,
            received,
            began: Instant::now(),
            first_token: None,
        }
    }

    /// So many tokens of its prompt were computed before it, and are in its memory now.
    pub fn restored(&mut self, tokens: usize) {
        let saved = u32::try_from(tokens - self.length().min(tokens)).unwrap_or(u32::MAX);
        // One that made room gets them again.
        self.usage.cached_tokens = self.usage.cached_tokens.max(saved);
        self.state = State::Prefill(tokens);
    }

    /// What the next turn of its session may begin with, if it is one: all that is in its memory. Where the same values must
    /// come of it, what was computed on the grid of prompts.
    pub fn turn(&self, reproducible: bool) -> Option<(SessionUse, Vec<Token>)> {
        let most = if reproducible { self.prompt - self.prompt % CHUNK } else { self.tokens.len() };
        self.source.session.map(|session| (session, self.tokens[..most].to_vec()))
    }

    /// Whether it waits for its grammar, and takes part in no step.
    pub fn waits(&self) -> bool {
        matches!(&self.work, Work::Writes(writer) if writer.waits())
    }

    /// What it has waited for. That was no time of its prompt, by which others are forecast.
    pub fn hold(&mut self, grammar: Result<Grammar, GrammarError>) {
        if self.waits() {
            self.received += self.began.elapsed();
        }
        if let Work::Writes(writer) = &mut self.work {
            writer.hold(grammar);
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

    /// It was parked for so long, which is no time of its prompt or its answer.
    pub fn paused(&mut self, pause: Duration) {
        if let Some(first) = &mut self.first_token {
            *first += pause;
        } else {
            self.received += pause;
            self.began += pause;
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

    /// Takes the logits of the last token.
    pub fn advance(&mut self, model: &Model, logits: &[f32]) -> Result<Advance, Failure> {
        let place = match &mut self.work {
            Work::Writes(writer) => {
                let advance = writer.advance(model, logits)?;
                self.usage.generated_tokens += 1;
                self.first_token.get_or_insert_with(Instant::now);
                if let Advance::GoesOn(token) = advance {
                    self.tokens.push(token);
                    self.state = State::Decode(token);
                }
                return Ok(advance);
            }
            Work::Scores(scorer) => {
                argmax(logits).ok_or_else(Failure::no_numbers)?;
                scorer.take(logits).then(|| scorer.place())
            }
        };
        // All that it computes is its prompt's.
        Ok(place.map_or(Advance::Ended(Finish::Stop), |place| self.go_to(place)))
    }

    /// What is in memory of another place is kept.
    fn go_to(&mut self, place: Place) -> Advance {
        let keep = kept(&self.tokens, &place.tokens);
        (self.tokens, self.prompt) = (place.tokens, place.prompt);
        let computed = u32::try_from(self.tokens.len() - keep).unwrap_or(u32::MAX);
        self.usage.prompt_tokens = self.usage.prompt_tokens.saturating_add(computed);
        self.state = State::Prefill(keep);
        Advance::Back(keep)
    }

    /// Text that a delta should carry.
    pub fn take_delta(&mut self) -> Option<String> {
        match &mut self.work {
            Work::Writes(writer) => writer.take_delta(),
            Work::Scores(_) => None,
        }
    }

    /// The answer.
    pub fn finish(mut self, finish: Finish) -> Answer {
        let now = Instant::now();
        let last_delta = self.take_delta();
        let (output, logprobs) = match self.work {
            Work::Writes(writer) => writer.finish(finish),
            Work::Scores(scorer) => (scorer.finish(), Vec::new()),
        };
        let first = self.first_token.unwrap_or(now);
        Answer {
            output,
            last_delta,
            finish,
            logprobs,
            dropped: self.dropped,
            usage: self.usage,
            prefill: first.saturating_duration_since(self.received),
            decode: now.saturating_duration_since(first),
        }
    }
}
