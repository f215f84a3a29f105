//! From a job to a sequence with a prompt and memory of its own.

use std::time::Instant;

use super::Scheduler;
use crate::engine::child::grammar::Recipe;
use crate::engine::child::prompt::PromptError;
use crate::engine::child::sequence::Sequence;
use crate::engine::protocol::{EngineJob, FromChild};
use crate::job::ErrorCode;

impl Scheduler {
    /// Starts a job, or tells the daemon why not.
    pub(super) fn admit(&mut self, job: EngineJob, received: Instant) {
        let id = job.id;
        if let Err((code, message)) = self.try_admit(job, received) {
            self.link.send(FromChild::Failed { job: id, code, message });
        }
    }

    fn try_admit(&mut self, job: EngineJob, received: Instant) -> Result<(), (ErrorCode, String)> {
        let slot = self.slots.iter().position(Option::is_none);
        let slot = slot.ok_or((ErrorCode::Internal, "more jobs than sequences".to_owned()))?;
        let context = self.context.tokens_per_sequence();
        // A text that can't fit is not worth the tokenizer's time.
        let least = job.task.bytes() / self.longest_token;
        if least >= context {
            return Err(overflow(format_args!("at least {least}"), context));
        }
        let prompt = self.prompter.tokens(&self.model, &job.task).map_err(|e| {
            let code = match e {
                PromptError::NoTemplate | PromptError::Template(_) | PromptError::NoMark | PromptError::Task(_) => {
                    ErrorCode::InvalidRequest
                }
                PromptError::Tokenize(_) => ErrorCode::EngineFailed,
            };
            (code, e.to_string())
        })?;
        if prompt.is_empty() {
            return Err((ErrorCode::InvalidRequest, "the prompt has no tokens".to_owned()));
        }
        if prompt.len() >= context {
            return Err(overflow(format_args!("{}", prompt.len()), context));
        }
        if let Some(constraint) = &job.output.constraint {
            self.order_grammar(job.id, Recipe::Constraint(constraint.clone()))?;
        }
        // The cells of a sequence are its own, so prompt and answer are reserved by this.
        let room = context - prompt.len();
        let cached = self.provide_prefix(slot, &prompt);
        self.slots[slot] = Some(Sequence::new(job, received, prompt, cached, room, self.model.n_vocab()));
        self.waiting.push(slot);
        Ok(())
    }
}

fn overflow(tokens: std::fmt::Arguments<'_>, context: usize) -> (ErrorCode, String) {
    let message = format!("the prompt has {tokens} tokens; the context holds {context}, one of them for the answer");
    (ErrorCode::ContextOverflow, message)
}
