//! The prompt of a job, with as many of its session's turns as the context holds.

use super::Scheduler;
use super::admit::{plain, refused};
use crate::engine::child::llama::Token;
use crate::engine::protocol::EngineJob;
use crate::job::{ErrorCode, JobError, Overflow, Task, turn_starts};

/// A part of the context that is left to the answer where turns can be left out instead, if it may become so long.
const ANSWER_SHARE: usize = 4;

/// Tokens, and how many remembered turns they lack.
type Prompt = (Vec<Token>, u32);

impl Scheduler {
    /// The prompt of a job. Where it is too long for the context, the oldest turns that its session remembers are left out, as
    /// few as will do.
    pub(super) fn prompt(&self, job: &EngineJob, context: usize) -> Result<Prompt, JobError> {
        let full = self.tokens(&job.task, context);
        let Task::Chat { messages } = &job.task else { return full.map(|tokens| (tokens, 0)) };
        let Some(remembered) = messages.get(job.memory.clone()).filter(|memory| !memory.is_empty()) else {
            return full.map(|tokens| (tokens, 0));
        };
        let answer = (job.output.max_tokens as usize).min(context / ANSWER_SHARE);
        let fits = |prompt: &Result<Vec<Token>, JobError>| match prompt {
            Ok(tokens) => tokens.len() + answer <= context,
            // Whatever is wrong, with fewer turns it may be right: a template may be at the end of its fuel.
            Err(_) => false,
        };
        if fits(&full) {
            return full.map(|tokens| (tokens, 0));
        }
        // Where the remembered turns begin, and where the last of them ends.
        let cuts: Vec<usize> = turn_starts(remembered).chain([remembered.len()]).collect();
        let without = |turns: usize| {
            let (head, rest) = (&messages[..job.memory.start], &messages[job.memory.start + cuts[turns]..]);
            self.tokens(&Task::Chat { messages: [head, rest].concat() }, context)
        };
        // So many are too few, and so many are enough, or all that there are.
        let (mut few, mut enough) = (0, cuts.len() - 1);
        let mut prompt = without(enough);
        while enough - few > 1 {
            let middle = usize::midpoint(few, enough);
            let tried = without(middle);
            if fits(&tried) {
                (enough, prompt) = (middle, tried);
            } else {
                few = middle;
            }
        }
        prompt.map(|tokens| (tokens, u32::try_from(enough).unwrap_or(u32::MAX)))
    }

    /// The tokens of a task, if the context holds them and one more.
    fn tokens(&self, task: &Task, context: usize) -> Result<Vec<Token>, JobError> {
        // A text that can't fit is not worth the tokenizer's time.
        let least = task.bytes() / self.longest_token;
        if least >= context {
            return Err(overflow("at least ", least, context));
        }
        let prompt = self.prompter.tokens(&self.model, task).map_err(|e| plain(refused(&e)))?;
        if prompt.is_empty() {
            return Err(JobError::new(ErrorCode::InvalidRequest, "the prompt has no tokens"));
        }
        if prompt.len() >= context {
            return Err(overflow("", prompt.len(), context));
        }
        Ok(prompt)
    }
}

fn overflow(least: &str, tokens: usize, context: usize) -> JobError {
    let message =
        format!("the prompt has {least}{tokens} tokens; the context holds {context}, one of them for the answer");
    JobError::new(ErrorCode::ContextOverflow, message)
        .overflow(Overflow { tokens: tokens as u64, context: context as u64 })
}
