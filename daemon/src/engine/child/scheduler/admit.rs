//! From a job to a sequence with a prompt and memory of its own.

use std::time::Instant;

use super::Scheduler;
use crate::engine::child::asks;
use crate::engine::child::llama::Token;
use crate::engine::child::prompt::PromptError;
use crate::engine::child::scorer::Scorer;
use crate::engine::child::sequence::{Sequence, Source, Work};
use crate::engine::child::writer::{Shape, Writer};
use crate::engine::protocol::{EngineJob, FromChild};
use crate::job::{ErrorCode, JobError, Task};

impl Scheduler {
    /// Starts a job, or tells the daemon why not.
    pub(super) fn admit(&mut self, job: EngineJob, received: Instant) {
        let id = job.id;
        if let Err(JobError { code, message, overflow, .. }) = self.try_admit(job, received) {
            self.link.send(FromChild::Failed { job: id, code, message, overflow });
        }
    }

    fn try_admit(&mut self, job: EngineJob, received: Instant) -> Result<(), JobError> {
        let slot = self.slots.iter().position(Option::is_none);
        let slot = slot.ok_or_else(|| JobError::new(ErrorCode::Internal, "more jobs than sequences"))?;
        let context = self.context.tokens_per_sequence();
        let (prompt, dropped) = self.prompt(&job, context)?;
        // The cells of a sequence are its own, so prompt and answer are reserved by this.
        let room = context - prompt.len();
        let source = Source { session: job.session, instructions: job.instructions.clone() };
        let (id, recipe) = (job.id, Shape::recipe(&job));
        let work = match &job.task {
            Task::Classify { labels, .. } => Work::Scores(self.scorer(labels, &prompt, context)?),
            _ => Work::Writes(Box::new(Writer::new(job, &prompt, room, self.model.n_vocab()))),
        };
        if let Some(recipe) = recipe {
            self.order_grammar(id, recipe).map_err(plain)?;
        }
        self.expire();
        self.renew_openings();
        self.slots[slot] = Some(Sequence::new(id, received, (prompt, dropped), source, work));
        self.waiting.push(slot);
        Ok(())
    }

    /// What scores labels after a prompt, within so many tokens of context.
    fn scorer(&self, labels: &[String], prompt: &[Token], context: usize) -> Result<Scorer, JobError> {
        if !self.model.can_rewind() {
            let text = "the memory of this model cannot go back, as it must to score labels: use \"choices\" instead";
            return Err(JobError::new(ErrorCode::InvalidRequest, text));
        }
        let tokens = |label: &String| self.model.tokenize(label).map(|tokens| (label.clone(), tokens));
        let tokens: Result<Vec<_>, _> = labels.iter().map(tokens).collect();
        let tokens = tokens.map_err(|e| plain(refused(&e.into())))?;
        let empty = self.prompter.ask(&self.model, &asks::classify(labels, asks::NO_CONTENT));
        let empty = empty.map_err(|e| plain(refused(&e)))?;
        // They stand after each of the two, and a text may be shorter than one that says nothing.
        let room = context.saturating_sub(prompt.len().max(empty.len()));
        if let Some(index) = tokens.iter().position(|(_, tokens)| tokens.is_empty() || tokens.len() > room) {
            let text =
                format!("labels[{index}] has {} tokens; the prompt leaves room for 1 to {room}", tokens[index].1.len());
            return Err(JobError::new(ErrorCode::ContextOverflow, text));
        }
        Ok(Scorer::new(tokens, [prompt.to_vec(), empty]))
    }
}

pub(super) fn refused(error: &PromptError) -> (ErrorCode, String) {
    let code = match error {
        PromptError::Tokenize(_) => ErrorCode::EngineFailed,
        _ => ErrorCode::InvalidRequest,
    };
    (code, error.to_string())
}

/// An error that says no more than its code and text.
pub(super) fn plain((code, message): (ErrorCode, String)) -> JobError {
    JobError::new(code, message)
}
