//! What operators ask for, over MQTT and over the control socket alike.

use std::time::Instant;

use serde_json::{Map, Value, json};

use super::cooling;
use super::driver::{Driver, Phase};
use super::models::{Down, DownWhy, Review, Stage, Then};
use super::waiting::{Awaited, Waiter};
use crate::control::ControlReply;
use crate::job::{ClientName, Control, ErrorCode, JobError, ModelName, ReplyTo, RequestId};
use crate::mqtt::{InboundMessage, Slot};

/// Most operators that wait for a model at once.
const WAITERS_MAX: usize = 64;

/// Where an operator's answer goes.
pub(super) enum Operator {
    /// To the one who asked over the control socket.
    Socket(ControlReply),
    /// To a topic.
    Mqtt {
        /// The place of the answer.
        slot: Slot,
        /// The operator's id for the request.
        id: RequestId,
        /// Where and how.
        reply: Box<ReplyTo>,
    },
}

pub(super) type Answer = Result<Value, JobError>;

impl Driver {
    /// Takes a message on a control topic.
    pub(super) fn on_control_message(&mut self, slot: Slot, verb: &str, message: &InboundMessage) {
        match self.reader.read_control(verb, message, super::intake::made_id) {
            Ok(accepted) => {
                let operator = Operator::Mqtt { slot, id: accepted.id, reply: Box::new(accepted.reply) };
                self.on_control(accepted.control, operator);
            }
            Err(rejected) => slot.publish(self.error_message(&rejected.id, &rejected.error, &rejected.reply)),
        }
    }

    /// Takes a client's request for what it has missed.
    pub(super) fn on_fetch(&mut self, slot: Slot, client: &ClientName, message: &InboundMessage) {
        match self.reader.read_fetch(client, message, super::intake::made_id) {
            Ok(accepted) => {
                let client = Operator::Mqtt { slot, id: accepted.id, reply: Box::new(accepted.reply) };
                self.on_control(accepted.control, client);
            }
            Err(rejected) => slot.publish(self.error_message(&rejected.id, &rejected.error, &rejected.reply)),
        }
    }

    /// Does what an operator asks for, and answers now or when it is done.
    pub(super) fn on_control(&mut self, control: Control, operator: Operator) {
        let verb = control.verb();
        match control {
            Control::Status
            | Control::Info
            | Control::Models
            | Control::Tasks
            | Control::Jobs { .. }
            | Control::Fetch { .. } => {
                tracing::debug!(verb, "an operator asks");
            }
            _ => tracing::info!(verb, "an operator asks"),
        }
        let started = match control {
            Control::Status => Started::Done(Ok(self.status_for_operators())),
            Control::Info => Started::Done(Ok(self.info_for_operators())),
            Control::Models => Started::Done(Ok(self.models_document())),
            Control::Tasks => Started::Done(Ok(self.tasks_document())),
            Control::Jobs { client } => Started::Done(Ok(self.jobs_document(client.as_ref()))),
            Control::Fetch { client, job } => Started::Done(self.fetch_for(&client, job.as_ref())),
            Control::Cancel(which) => Started::Done(self.cancel_for(&which)),
            Control::Drain => Started::Done(Ok(self.drain())),
            Control::Resume => Started::Done(self.resume()),
            Control::Forget { model } => Started::Done(self.forget(model.as_ref())),
            Control::ForgetSessions { client, session } => {
                Started::Done(self.forget_sessions(&client, session.as_ref()))
            }
            Control::Load { model, strategy } => self.load_for(&model, strategy.as_deref()),
            Control::Unload { model } => self.unload_for(&model),
            Control::Switch { model, strategy } => self.switch_for(&model, strategy.as_deref()),
            Control::Reload { model: Some(model) } => self.reload_model(&model),
            Control::Reload { model: None } => self.reload_all(),
            Control::Diagnose => Started::Diagnoses,
        };
        match started {
            Started::Done(answer) => self.answer(operator, verb, answer),
            Started::Waits(_) | Started::Reloads(_) | Started::Diagnoses if self.waiters.len() >= WAITERS_MAX => {
                let text =
                    format!("{WAITERS_MAX} operators wait already; what was asked for is done, ask for its outcome");
                self.answer(operator, verb, Err(JobError::new(ErrorCode::QueueFull, text)));
            }
            Started::Waits(index) => {
                let awaited = Awaited::Model(self.models[index].name().clone());
                self.waiters.push(Waiter { operator, verb, awaited });
                self.answer_waiters(index);
            }
            Started::Reloads(changes) => {
                self.waiters.push(Waiter { operator, verb, awaited: Awaited::Models { changes } });
                self.answer_reloads();
            }
            Started::Diagnoses => {
                self.waiters.push(Waiter { operator, verb, awaited: Awaited::Findings });
                self.look_at_itself();
            }
        }
    }

    pub(super) fn answer(&self, operator: Operator, verb: &str, answer: Answer) {
        match operator {
            Operator::Socket(reply) => reply.finish(answer),
            Operator::Mqtt { slot, id, reply } => slot.publish(match answer {
                Ok(output) => self.replies.control_result(&id, verb, &output, &reply),
                Err(error) => self.error_message(&id, &error, &reply),
            }),
        }
    }

    /// The document, and what only this machine's operators need.
    fn status_for_operators(&self) -> Value {
        let mut status = self.board.status_document();
        status["connected"] = self.link.is_connected().into();
        status["pid"] = std::process::id().into();
        status["heat"] = cooling::document(&self.thermal);
        status["journal"] = self.journal_document();
        status
    }

    /// How the journal stands: in numbers, and what is wrong with it.
    fn journal_document(&self) -> Value {
        let usage = self.recorder.journal.usage();
        json!({
            "open": usage.open,
            "outcomes": usage.outcomes,
            "unsettled": usage.unsettled,
            "missed": usage.missed,
            "sessions": usage.sessions,
            "used_bytes": usage.used.0,
            "max_bytes": usage.max.0,
            "waiting_bytes": usage.waiting.0,
            "trouble": self.recorder.trouble,
        })
    }

    /// The document, and which configuration the daemon runs with.
    fn info_for_operators(&self) -> Value {
        let mut info = self.board.info_document(&self.config);
        info["config"] = self.config.fingerprint().into();
        info
    }

    pub(super) fn models_document(&self) -> Value {
        let documents = self.models.iter().map(|entry| serde_json::to_value(entry.document()).unwrap_or_default());
        Value::Array(documents.collect())
    }

    fn drain(&mut self) -> Value {
        if self.phase == Phase::Open {
            self.phase = Phase::Paused;
            tracing::info!("an operator drains the node: no new work is taken");
            self.publish_status();
        }
        self.board.status_document()
    }

    fn resume(&mut self) -> Answer {
        match self.phase {
            Phase::Draining { .. } => Err(JobError::new(ErrorCode::Draining, "the node is stopping")),
            Phase::Open => Ok(self.board.status_document()),
            Phase::Paused => {
                self.phase = Phase::Open;
                self.publish_status();
                Ok(self.board.status_document())
            }
        }
    }

    fn forget(&mut self, model: Option<&ModelName>) -> Answer {
        let index = model.map(|model| self.known(model)).transpose()?;
        let kept = self.failures.forget(model, None);
        let mut forgotten = 0;
        for (at, entry) in self.models.iter_mut().enumerate() {
            if index.is_none_or(|index| index == at) {
                forgotten += entry.failures.len();
                entry.failures.clear();
                entry.underivable.clear();
            }
        }
        Ok(json!({ "forgotten": forgotten.max(kept) }))
    }

    fn load_for(&mut self, model: &ModelName, strategy: Option<&str>) -> Started {
        let index = match self.known(model) {
            Ok(index) => index,
            Err(error) => return Started::Done(Err(error)),
        };
        match &self.models[index].stage {
            Stage::Serving(_) | Stage::Loading(_) | Stage::Preparing { .. } if strategy.is_some() => {
                return self.switch_for(model, strategy);
            }
            // The ladder decides again.
            Stage::Serving(_) => self.models[index].only = None,
            Stage::Down(_) => {
                match self.wanted(index, strategy) {
                    Ok(only) => self.models[index].only = only,
                    Err(error) => return Started::Done(Err(error)),
                }
                self.models[index].decided_at = Instant::now();
                self.load_best(index);
            }
            Stage::Ending { .. } => {
                match self.wanted(index, strategy) {
                    Ok(only) => self.models[index].only = only,
                    Err(error) => return Started::Done(Err(error)),
                }
                if let Stage::Ending { active, then } = &mut self.models[index].stage {
                    // It may still be waiting for its last jobs: they begin anew in the next.
                    active.engine().stop();
                    *then = Then::Replan { reason: "an operator loads it again".to_owned() };
                }
            }
            Stage::Loading(_) | Stage::Preparing { .. } => {}
        }
        Started::Waits(index)
    }

    fn unload_for(&mut self, model: &ModelName) -> Started {
        let index = match self.known(model) {
            Ok(index) => index,
            Err(error) => return Started::Done(Err(error)),
        };
        let reason = "an operator unloaded it".to_owned();
        let entry = &mut self.models[index];
        entry.next = None;
        entry.only = None;
        match &entry.stage {
            Stage::Loading(_) | Stage::Serving(_) => {
                self.end_engine(index, Then::Unload(DownWhy::Operator, reason));
            }
            Stage::Ending { .. } => {
                if let Stage::Ending { then, .. } = &mut entry.stage {
                    *then = Then::Unload(DownWhy::Operator, reason);
                }
            }
            Stage::Preparing { .. } | Stage::Down(_) => {
                entry.stage = Stage::Down(Down { why: DownWhy::Operator, reason, retry_at: None });
                self.publish_model(index);
            }
        }
        Started::Waits(index)
    }

    fn switch_for(&mut self, model: &ModelName, strategy: Option<&str>) -> Started {
        match self.known(model).and_then(|index| Ok((index, self.switch(index, strategy)?))) {
            Ok((index, ())) => Started::Waits(index),
            Err(error) => Started::Done(Err(error)),
        }
    }

    /// SIGHUP, as from `systemctl reload`: what happens is in the log and the status.
    pub(super) fn on_hangup(&mut self) {
        if let Err(error) = self.reload() {
            tracing::debug!("{error}");
        }
    }

    fn reload_all(&mut self) -> Started {
        match self.reload() {
            Ok(changes) => Started::Reloads(changes),
            Err(error) => Started::Done(Err(error)),
        }
    }

    fn reload_model(&mut self, model: &ModelName) -> Started {
        match self.known(model) {
            Ok(index) => {
                self.review(index, Review::Reread);
                Started::Waits(index)
            }
            Err(error) => Started::Done(Err(error)),
        }
    }

    fn known(&self, model: &ModelName) -> Result<usize, JobError> {
        self.configured(model).ok_or_else(|| self.unknown_model(model))
    }
}

enum Started {
    Done(Answer),
    /// Until nothing is under way with this model.
    Waits(usize),
    /// Until nothing is under way with any model, after these changes.
    Reloads(Map<String, Value>),
    /// Until the node has looked at itself.
    Diagnoses,
}
