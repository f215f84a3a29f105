//! Writes one answer: from the logits of a step to text that may be shown.

use super::chooser::Chooser;
use super::grammar::{Grammar, GrammarError, Recipe};
use super::llama::{Model, Token};
use super::logprobs::{Logprobs, log_sum, logprob_of};
use super::sequence::{Advance, Failure};
use super::spans::{self, Mark};
use super::text::{Step, TextStream};
use crate::engine::protocol::EngineJob;
use crate::job::{Constraint, Finish, Input, Output, Task, TokenLogprob};

/// What holds an answer to its form.
pub enum Form {
    /// Nothing.
    Free,
    /// A grammar that is still being built.
    Awaited,
    /// A grammar.
    Held(Box<Grammar>),
    /// There is none: it cannot be built.
    Refused(GrammarError),
}

/// What is made of an answer's text.
pub enum Shape {
    /// Nothing: it is the output.
    Text,
    /// The value of a schema, if it is complete.
    Value,
    /// The entities of this text.
    Entities(String),
    /// The part of this text that it names.
    Part(String),
}

impl Shape {
    /// What a job wants.
    pub fn of(job: &EngineJob) -> Self {
        match (&job.task, &job.output.constraint) {
            (Task::Extract { input: Input::One(text), .. }, _) => Self::Entities(text.clone()),
            (Task::Answer { context, .. }, _) => Self::Part(context.clone()),
            (_, Some(Constraint::Schema(_))) => Self::Value,
            (_, Some(Constraint::Choices(_) | Constraint::Regex(_)) | None) => Self::Text,
        }
    }

    /// What holds an answer to it, if anything does.
    pub fn recipe(job: &EngineJob) -> Option<Recipe> {
        match &job.task {
            Task::Extract { input: Input::One(input), types } => {
                Some(Recipe::Entities { input: input.clone(), types: types.clone() })
            }
            Task::Answer { context, .. } => Some(Recipe::Part(context.clone())),
            _ => job.output.constraint.clone().map(Recipe::Constraint),
        }
    }

    /// Whether it is found in a text.
    fn is_found(&self) -> bool {
        matches!(self, Self::Entities(_) | Self::Part(_))
    }
}

/// An answer and all that decides on it.
pub struct Writer {
    chooser: Chooser,
    form: Form,
    /// How an answer ends that is complete in its form.
    complete: Finish,
    text: TextStream,
    output: String,
    unsent: String,
    stream: bool,
    /// Tokens that may still come.
    left: u32,
    max_bytes: usize,
    ignore_eos: bool,
    logprobs: Option<Logprobs>,
    shape: Shape,
    /// Where each token ends, if its likelihood counts for what is found.
    marks: Vec<Mark>,
}

impl Writer {
    /// The answer of a job whose prompt leaves room for `room` tokens, at least one.
    pub fn new(job: EngineJob, prompt: &[Token], room: usize, n_vocab: usize) -> Self {
        let form = if Shape::recipe(&job).is_some() { Form::Awaited } else { Form::Free };
        let shape = Shape::of(&job);
        let EngineJob { sampling, output, stream, .. } = job;
        Self {
            chooser: Chooser::new(&sampling, n_vocab, prompt),
            form,
            complete: match output.constraint {
                Some(Constraint::Choices(_)) => Finish::Choice,
                Some(Constraint::Schema(_) | Constraint::Regex(_)) => Finish::Schema,
                None => Finish::Stop,
            },
            text: TextStream::new(output.stop),
            output: String::new(),
            unsent: String::new(),
            // Only a text comes piece by piece.
            stream: stream && !shape.is_found(),
            left: output.max_tokens.min(u32::try_from(room).unwrap_or(u32::MAX)),
            max_bytes: output.max_bytes.map_or(usize::MAX, |bytes| bytes as usize),
            ignore_eos: output.ignore_eos,
            logprobs: output.logprobs.map(Logprobs::new),
            shape,
            marks: Vec::new(),
        }
    }

    /// Whether it cannot begin yet.
    pub fn waits(&self) -> bool {
        matches!(self.form, Form::Awaited)
    }

    /// What it has waited for.
    pub fn hold(&mut self, grammar: Result<Grammar, GrammarError>) {
        self.form = grammar.map_or_else(Form::Refused, |grammar| Form::Held(Box::new(grammar)));
    }

    /// Chooses the next token and takes it.
    pub fn advance(&mut self, model: &Model, logits: &[f32]) -> Result<Advance, Failure> {
        let token = self.choose(logits)?;
        if let Some(logprobs) = &mut self.logprobs {
            logprobs.add(model, logits, token);
        }
        let complete = match &mut self.form {
            Form::Held(grammar) => grammar.take(token)?,
            Form::Free | Form::Awaited | Form::Refused(_) => false,
        };
        let ended = self.take(model, token, complete);
        if self.shape.is_found() {
            // Nothing is held back without a stop text.
            self.marks.push(Mark { end: self.output.len(), logprob: logprob_of(logits, token, log_sum(logits)) });
        }
        Ok(ended.map_or(Advance::GoesOn(token), Advance::Ended))
    }

    fn choose(&mut self, logits: &[f32]) -> Result<Token, Failure> {
        match &mut self.form {
            Form::Free => self.chooser.choose(logits),
            Form::Held(grammar) => self.chooser.choose(grammar.mask(logits)?),
            Form::Awaited => None,
            Form::Refused(error) => return Err(error.clone().into()),
        }
        .ok_or_else(Failure::no_numbers)
    }

    fn take(&mut self, model: &Model, token: Token, complete: bool) -> Option<Finish> {
        self.left = self.left.saturating_sub(1);
        let held = matches!(self.form, Form::Held(_));
        if model.is_end(token) && (held || !self.ignore_eos) {
            return Some(self.end(if held { self.complete } else { Finish::Stop }));
        }
        let mut bytes = Vec::with_capacity(16);
        model.append_piece(token, &mut bytes);
        let stopped = match self.text.push(&bytes) {
            Step::Text(text) => self.show(&text),
            Step::Stopped(text) => Some(self.show(&text).unwrap_or(Finish::Stop)),
        };
        stopped
            .or_else(|| complete.then(|| self.end(self.complete)))
            .or_else(|| (self.left == 0).then(|| self.end(Finish::Length)))
    }

    /// Shows what was held back, and ends for this reason if there is room for it.
    fn end(&mut self, finish: Finish) -> Finish {
        let rest = self.text.finish();
        self.show(&rest).unwrap_or(finish)
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

    /// What is made of the answer, and how likely its tokens were.
    pub fn finish(self, finish: Finish) -> (Output, Vec<TokenLogprob>) {
        let text = self.output;
        let output = match self.shape {
            Shape::Value if finish == Finish::Schema => Output::Json(text),
            Shape::Text | Shape::Value => Output::Text(text),
            Shape::Entities(input) => Output::Entities(spans::entities(&input, &text, &self.marks)),
            Shape::Part(context) => Output::Found(spans::answer(&context, &text, &self.marks)),
        };
        (output, self.logprobs.map(Logprobs::told).unwrap_or_default())
    }
}
