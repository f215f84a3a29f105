//! A text that the context does not hold: it is cut into parts that fit, each is worked on, and of the answers one is made by the
//! same task. A part, or the answers together, may be too long again: then that is cut in the same way, as a job of its own.

use sha2::{Digest, Sha256};

use super::{Bounds, Order, PartOf, Place, StepKey, What};
use crate::job::{ErrorCode, JobError, Long, Output, Overflow, Task};
use crate::task::Definition;
use crate::task::cut::cut;
use serde_json::Value;

/// A text is cut or put together so often at most: each time makes it a half or less, or the answers to it.
const DEPTH_MAX: u32 = 12;

/// Most parts of one text.
const PARTS_MAX: usize = 256;

/// Bytes of a token where more were measured, or it was not worth to count the tokens: what most tokenizers make of English.
const BYTES_PER_TOKEN: f64 = 4.0;

/// So much of the room is used: parts of one text are not all alike.
const SHARE: f64 = 0.85;

/// Answers that have more than this share of the text's bytes make it no shorter.
const SHORTER: f64 = 0.75;

/// Parts shorter than this tell nothing: the task's own words leave no room in the context.
const PART_MIN: usize = 64;

#[derive(Debug)]
pub(super) struct LongRun {
    long: Long,
    definition: Definition,
    bounds: Bounds,
    parts: Vec<Part>,
    /// The step that makes one answer of those to the parts.
    whole: Whole,
    failed: Option<JobError>,
}

#[derive(Debug)]
struct Part {
    key: StepKey,
    task: Option<Task>,
    answer: Option<String>,
}

#[derive(Debug)]
enum Whole {
    Waiting,
    Running,
    Ended(Output),
}

impl LongRun {
    pub fn new(
        long: &Long,
        definition: &Definition,
        (overflow, answer): (Overflow, u32),
        bounds: Bounds,
    ) -> Result<Self, JobError> {
        let text = long.text();
        let too_long = |why: &str| {
            let Overflow { tokens, context } = overflow;
            let text = format!("the prompt has {tokens} tokens, the context holds {context}, and {why}");
            JobError::new(ErrorCode::ContextOverflow, text)
        };
        if long.depth >= DEPTH_MAX {
            return Err(too_long(&format!("it has been cut {DEPTH_MAX} times")));
        }
        let most = part_bytes(text.len(), overflow, answer);
        if most < PART_MIN {
            return Err(too_long("the task's own words leave no room for a part of the text"));
        }
        let ranges = cut(text, most);
        if ranges.len() > PARTS_MAX {
            return Err(too_long(&format!("{} parts would be needed; allowed are {PARTS_MAX}", ranges.len())));
        }
        let mut run = Self {
            long: long.clone(),
            definition: definition.clone(),
            bounds,
            parts: Vec::new(),
            whole: Whole::Waiting,
            failed: None,
        };
        for range in ranges {
            let part = &text[range.clone()];
            if part.trim().is_empty() {
                continue;
            }
            let key = StepKey(format!("{}-{}", range.start, range.end));
            run.parts.push(Part { key, task: Some(run.task(part)?), answer: None });
        }
        Ok(run)
    }

    /// The task on another text.
    fn task(&self, text: &str) -> Result<Task, JobError> {
        let mut fields = self.long.fields.clone();
        fields.insert(self.long.field.clone(), Value::String(text.to_owned()));
        let mut task = self.definition.task(fields, self.bounds.texts)?;
        if let Task::Long { long, .. } = &mut task {
            long.depth = self.long.depth + 1;
        }
        Ok(task)
    }

    pub fn next(&mut self) -> Option<(Place, Order)> {
        if self.failed.is_some() {
            return None;
        }
        let waiting =
            self.parts.iter_mut().enumerate().find_map(|(index, part)| Some((index, part.task.take()?, &part.key)));
        if let Some((index, task, key)) = waiting {
            let order = Order { key: key.clone(), what: What::Ready(task), text: PartOf::Nothing };
            return Some(((index, 0), order));
        }
        if !matches!(self.whole, Whole::Waiting) {
            return None;
        }
        let answers: Vec<&str> = self.parts.iter().map(|part| part.answer.as_deref()).collect::<Option<_>>()?;
        let text = answers.join(&self.long.join);
        if text.len() as f64 > self.long.text().len() as f64 * SHORTER {
            let message =
                "the text does not fit into the context, and the answers to its parts are not shorter than it";
            self.failed = Some(JobError::new(ErrorCode::ContextOverflow, message));
            return None;
        }
        match self.task(&text) {
            Ok(task) => {
                self.whole = Whole::Running;
                let key = StepKey(format!("whole-{}", hash(&text)));
                Some(((self.parts.len(), 0), Order { key, what: What::Ready(task), text: PartOf::All }))
            }
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }

    pub fn ended(&mut self, (index, _): Place, result: Result<Output, JobError>) {
        match (result, self.parts.get_mut(index)) {
            (Ok(output), None) => self.whole = Whole::Ended(output),
            (Ok(Output::Text(answer) | Output::Json(answer)), Some(part)) => {
                part.answer = Some(answer.trim().to_owned());
            }
            (Ok(_), Some(_)) => {
                self.failed = Some(JobError::new(ErrorCode::Internal, "the answer to a part of the text is no text"));
            }
            (Err(error), _) => _ = self.failed.get_or_insert(error),
        }
    }

    pub fn end(&mut self) -> Option<Result<Output, JobError>> {
        if let Some(error) = self.failed.clone() {
            return Some(Err(error));
        }
        match std::mem::replace(&mut self.whole, Whole::Running) {
            Whole::Ended(output) => Some(Ok(output)),
            other => {
                self.whole = other;
                None
            }
        }
    }
}

/// Bytes of a part that the context holds beside the task's own words and an answer, by what was measured of the whole. Half
/// of the text at most.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "less than the text has")]
fn part_bytes(text: usize, Overflow { tokens, context }: Overflow, answer: u32) -> usize {
    let bytes_per_token = (text as f64 / (tokens.max(1) as f64)).min(BYTES_PER_TOKEN);
    let room = context.saturating_sub(u64::from(answer)).max(context / 2);
    let fits = room as f64 * SHARE * bytes_per_token;
    (fits as usize).min(text.div_ceil(2))
}

/// Enough to tell that it is another text.
fn hash(text: &str) -> String {
    let hash = Sha256::digest(text);
    let first = hash.first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(first))
}
