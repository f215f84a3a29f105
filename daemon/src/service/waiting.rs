//! Operators who wait for the end of what they have asked for.

use serde_json::{Map, Value};

use super::driver::Driver;
use super::models::{Down, DownWhy, ModelEntry, Stage, unavailable};
use super::operator::{Answer, Operator};
use crate::job::{ErrorCode, JobError, ModelName};

/// An operator who waits.
pub(super) struct Waiter {
    pub(super) operator: Operator,
    pub(super) verb: &'static str,
    pub(super) awaited: Awaited,
}

/// What an operator waits for.
pub(super) enum Awaited {
    /// Until nothing is under way with a model any more.
    Model(ModelName),
    /// The same with every model, after the configuration was read again.
    Models {
        /// What was new in it, the beginning of the answer.
        changes: Map<String, Value>,
    },
    /// Until the node has looked at itself.
    Findings,
}

impl Waiter {
    fn awaits(&self, model: &ModelName) -> bool {
        match &self.awaited {
            Awaited::Model(name) => name == model,
            Awaited::Models { .. } => true,
            Awaited::Findings => false,
        }
    }
}

impl Driver {
    /// Tells those who wait for a model how far it is.
    pub(super) fn report_progress(&self, index: usize, share: f32) {
        let name = self.models[index].name();
        for waiter in self.waiters.iter().filter(|waiter| waiter.awaits(name)) {
            match &waiter.operator {
                Operator::Socket(reply) => reply.progress("loading", Some(share)),
                Operator::Mqtt { id, reply, .. } => {
                    let publication = self.replies.control_progress(id, waiter.verb, "loading", Some(share), reply);
                    if !self.link.publish_transient(publication) {
                        tracing::debug!("a progress message was left out: the broker is slow");
                    }
                }
            }
        }
    }

    /// Answers those who wait for a model if nothing is under way with it any more.
    pub(super) fn answer_waiters(&mut self, index: usize) {
        let entry = &self.models[index];
        if entry.preparing.is_some() || entry.next.is_some() {
            return;
        }
        let name = entry.name().clone();
        let document = || serde_json::to_value(entry.document()).unwrap_or_default();
        let answer = match &entry.stage {
            Stage::Serving(_) | Stage::Down(Down { why: DownWhy::Operator, .. }) => Ok(document()),
            Stage::Down(Down { why: DownWhy::NoRoom, reason, .. }) => {
                Err(JobError::new(ErrorCode::MemoryHeadroom, format!("the model {name} does not fit: {reason}")))
            }
            Stage::Down(Down { why: DownWhy::Heat, .. }) => match self.heat_refusal() {
                Some(too_hot) => Err(too_hot),
                None => return,
            },
            Stage::Down(Down { why: DownWhy::Failed | DownWhy::Crashed, reason, .. }) => {
                Err(unavailable(&name, reason, None))
            }
            _ => return,
        };
        self.end_waiters(index, &answer);
    }

    /// Answers those who wait for a model: what they wait for has come to its end.
    pub(super) fn end_waiters(&mut self, index: usize, answer: &Answer) {
        let name = self.models[index].name();
        for waiter in self
            .waiters
            .extract_if(.., |waiter| matches!(&waiter.awaited, Awaited::Model(model) if model == name))
            .collect::<Vec<_>>()
        {
            self.answer(waiter.operator, waiter.verb, answer.clone());
        }
        self.answer_reloads();
    }

    /// Answers those who have had the configuration read again if nothing is under way with any model any more. What each
    /// model came to stands in its document.
    pub(super) fn answer_reloads(&mut self) {
        let busy = |entry: &ModelEntry| {
            let loads = matches!(entry.stage, Stage::Preparing { .. } | Stage::Loading(_) | Stage::Ending { .. });
            (loads || entry.preparing.is_some() || entry.next.is_some()) && !entry.is_leaving()
        };
        if self.models.iter().any(busy) {
            return;
        }
        for Waiter { operator, verb, awaited } in std::mem::take(&mut self.waiters) {
            match awaited {
                Awaited::Models { mut changes } => {
                    changes.insert("models".to_owned(), self.models_document());
                    self.answer(operator, verb, Ok(Value::Object(changes)));
                }
                other => self.waiters.push(Waiter { operator, verb, awaited: other }),
            }
        }
    }
}
