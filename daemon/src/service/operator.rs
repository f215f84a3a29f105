//! What operators ask for, over MQTT and over the control socket alike.

use std::time::Instant;

use serde_json::{Value, json};

use super::driver::{Driver, Phase};
use super::models::{Down, DownWhy, Stage, Then, unavailable};
use crate::control::ControlReply;
use crate::engine::EngineEnd;
use crate::job::{Control, ErrorCode, JobError, ModelName, ReplyTo, RequestId};
use crate::mqtt::{InboundMessage, Slot};
use crate::plan::{Choice, Strategy, Why, choose};

use super::lifecycle::Tries;

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

/// An operator who waits for the end of something.
pub(super) struct Waiter {
    operator: Operator,
    verb: &'static str,
    model: ModelName,
}

type Answer = Result<Value, JobError>;

impl Driver {
    /// Takes a message on a control topic.
    pub(super) fn on_control_message(&mut self, slot: Slot, verb: &str, message: &InboundMessage) {
        match self.reader.read_control(verb, message, super::intake::made_id) {
            Ok(accepted) => {
                let operator = Operator::Mqtt { slot, id: accepted.id, reply: Box::new(accepted.reply) };
                self.on_control(accepted.control, operator);
            }
            Err(rejected) => slot.publish(self.replies.error(&rejected.id, &rejected.error, &rejected.reply)),
        }
    }

    /// Does what an operator asks for, and answers now or when it is done.
    pub(super) fn on_control(&mut self, control: Control, operator: Operator) {
        let verb = control.verb();
        match control {
            Control::Status | Control::Info | Control::Models => tracing::debug!(verb, "an operator asks"),
            _ => tracing::info!(verb, "an operator asks"),
        }
        let started = match control {
            Control::Status => Started::Done(Ok(self.board.status_document())),
            Control::Info => Started::Done(Ok(self.board.info_document(&self.config))),
            Control::Models => Started::Done(Ok(self.models_document())),
            Control::Drain => Started::Done(Ok(self.drain())),
            Control::Resume => Started::Done(self.resume()),
            Control::Forget { model } => Started::Done(self.forget(model.as_ref())),
            Control::Load { model, strategy } => self.load_for(&model, strategy.as_deref()),
            Control::Unload { model } => self.unload_for(&model),
            Control::Switch { model, strategy } => self.switch_for(&model, strategy.as_deref()),
            Control::Reload { model } => self.reload_for(model.as_ref()),
        };
        match started {
            Started::Done(answer) => self.answer(operator, verb, answer),
            Started::Waits(_) if self.waiters.len() >= WAITERS_MAX => {
                let text = format!("{WAITERS_MAX} operators wait for models already; it is done, ask for its outcome");
                self.answer(operator, verb, Err(JobError::new(ErrorCode::QueueFull, text)));
            }
            Started::Waits(index) => {
                let model = self.models[index].name().clone();
                self.waiters.push(Waiter { operator, verb, model });
                self.answer_waiters(index);
            }
        }
    }

    fn answer(&self, operator: Operator, verb: &str, answer: Answer) {
        match operator {
            Operator::Socket(reply) => reply.finish(answer),
            Operator::Mqtt { slot, id, reply } => slot.publish(match answer {
                Ok(output) => self.replies.control_result(&id, verb, &output, &reply),
                Err(error) => self.replies.error(&id, &error, &reply),
            }),
        }
    }

    fn models_document(&self) -> Value {
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
            Stage::Serving(_) if strategy.is_some() => return self.switch_for(model, strategy),
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
            _ => {}
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

    /// Makes a model the default, or runs it with another strategy: the old engine serves until the new one can.
    fn switch(&mut self, index: usize, strategy: Option<&str>) -> Result<(), JobError> {
        let Some(text) = strategy else {
            for (at, entry) in self.models.iter_mut().enumerate() {
                entry.config.default = at == index;
            }
            if let Stage::Down(_) = self.models[index].stage {
                self.load_best(index);
            }
            return Ok(());
        };
        let only = self.wanted(index, Some(text))?;
        let entry = &self.models[index];
        let name = entry.name();
        let Stage::Serving(active) = &entry.stage else {
            let text = format!("the model {name} does not serve now; load it instead");
            return Err(JobError::new(ErrorCode::ModelUnavailable, text));
        };
        if entry.next.is_some() {
            return Err(JobError::new(
                ErrorCode::ModelUnavailable,
                format!("the model {name} is being switched already"),
            ));
        }
        if only == Some(active.chosen.strategy) && !active.chosen.squeezed {
            self.models[index].only = only;
            return Ok(());
        }
        let before = std::mem::replace(&mut self.models[index].only, only);
        let headroom = self.headroom(index, None);
        let Choice { chosen, rejected } = choose(&self.models[index].candidates_now(Tries::All), &headroom);
        let started = chosen.and_then(|chosen| self.start_engine(index, chosen, rejected.clone()));
        let Some(next) = started else {
            self.models[index].only = before;
            return Err(no_room(only, &rejected));
        };
        self.models[index].decided_at = Instant::now();
        self.models[index].next = Some(next);
        Ok(())
    }

    fn reload_for(&mut self, model: Option<&ModelName>) -> Started {
        let index = match model.map(|model| self.known(model)).transpose() {
            Ok(index) => index,
            Err(error) => return Started::Done(Err(error)),
        };
        let all: Vec<usize> = index.map_or_else(|| (0..self.models.len()).collect(), |index| vec![index]);
        for &index in &all {
            self.models[index].reloading = true;
            self.prepare(index);
        }
        match all.last() {
            Some(&index) => Started::Waits(index),
            None => Started::Done(Ok(json!([]))),
        }
    }

    /// Files were read again: what they hold now is loaded beside what runs, or in its place.
    pub(super) fn reloaded(&mut self, index: usize) {
        let entry = &mut self.models[index];
        entry.reloading = false;
        let Stage::Serving(active) = &entry.stage else { return };
        let id = active.id();
        self.models[index].decided_at = Instant::now();
        let entry = &self.models[index];
        let beside = choose(&entry.candidates_now(Tries::All), &self.headroom(index, None));
        let wanted = self.choose_now(index, Some(id));
        if wanted.chosen.is_none() {
            let reasons =
                self.models[index].unusable().into_iter().chain(wanted.rejected.iter().map(ToString::to_string));
            let reasons = reasons.collect::<Vec<_>>().join("; ");
            let text = format!("nothing of it can be loaded now, the old one goes on: {reasons}");
            let error =
                unavailable(&self.models[index].name().clone(), &self.models[index].without_folders(&text), None);
            self.governor.settled(Instant::now());
            self.end_waiters(index, &Err(error));
            return;
        }
        let same = |a: &Choice, b: &Choice| a.chosen.as_ref().map(|c| c.rank) == b.chosen.as_ref().map(|c| c.rank);
        if same(&beside, &wanted) {
            let Choice { chosen, rejected } = wanted;
            self.models[index].next = chosen.and_then(|chosen| self.start_engine(index, chosen, rejected));
        } else {
            self.end_engine(index, Then::Replan { reason: "an operator reloads it".to_owned() });
        }
        self.answer_waiters(index);
    }

    /// An engine that was to take over has failed: the old one goes on.
    pub(super) fn switch_failed(&mut self, index: usize, next: &super::models::Active, end: &EngineEnd) {
        let strategy = next.chosen.strategy;
        let reason = match end {
            EngineEnd::Failed { error, .. } => self.models[index].without_folders(&error.to_string()),
            EngineEnd::Stopped => "it was stopped".to_owned(),
        };
        if let EngineEnd::Failed { error, .. } = end {
            let killed = self.killed(error);
            self.reject(index, next, error, killed);
        }
        self.models[index].only = None;
        self.governor.settled(Instant::now());
        let error = JobError::new(ErrorCode::ModelUnavailable, format!("{strategy} could not be loaded: {reason}"));
        self.end_waiters(index, &Err(error));
        self.publish_model(index);
    }

    fn known(&self, model: &ModelName) -> Result<usize, JobError> {
        self.model_index(model).ok_or_else(|| self.unknown_model(model))
    }

    /// A strategy that an operator names must be one of the model's ladder.
    fn wanted(&self, index: usize, strategy: Option<&str>) -> Result<Option<Strategy>, JobError> {
        let Some(text) = strategy else { return Ok(None) };
        let invalid = |text: String| JobError::new(ErrorCode::InvalidRequest, text);
        let strategy = Strategy::parse(text).map_err(|allowed| invalid(format!("strategy {text:?}: {allowed}")))?;
        let known: Vec<String> = self.models[index].candidates.iter().map(|c| c.strategy.to_string()).collect();
        if known.contains(&strategy.to_string()) {
            return Ok(Some(strategy));
        }
        Err(invalid(format!("{strategy} is not on the ladder of this model here; it has {}", known.join(", "))))
    }

    /// Tells those who wait for a model how far it is.
    pub(super) fn report_progress(&self, index: usize, share: f32) {
        let name = self.models[index].name();
        for waiter in self.waiters.iter().filter(|waiter| waiter.model == *name) {
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
        if entry.reloading || entry.preparing || entry.next.is_some() {
            return;
        }
        let name = entry.name().clone();
        let document = || serde_json::to_value(entry.document()).unwrap_or_default();
        let answer = match &entry.stage {
            Stage::Serving(_) | Stage::Down(Down { why: DownWhy::Operator, .. }) => Ok(document()),
            Stage::Down(Down { why: DownWhy::NoRoom, reason, .. }) => {
                Err(JobError::new(ErrorCode::MemoryHeadroom, format!("the model {name} does not fit: {reason}")))
            }
            Stage::Down(Down { why: DownWhy::Failed, reason, .. }) => Err(unavailable(&name, reason, None)),
            _ => return,
        };
        self.end_waiters(index, &answer);
    }

    fn end_waiters(&mut self, index: usize, answer: &Answer) {
        let name = self.models[index].name();
        let (done, waiting): (Vec<Waiter>, Vec<Waiter>) =
            std::mem::take(&mut self.waiters).into_iter().partition(|waiter| waiter.model == *name);
        self.waiters = waiting;
        for waiter in done {
            self.answer(waiter.operator, waiter.verb, answer.clone());
        }
    }
}

enum Started {
    Done(Answer),
    /// Until nothing is under way with this model.
    Waits(usize),
}

fn no_room(wanted: Option<Strategy>, rejected: &[crate::plan::Rejection]) -> JobError {
    let rejection = rejected.iter().find(|rejection| Some(rejection.strategy) == wanted);
    let text = rejection.map_or_else(|| "nothing can be loaded".to_owned(), ToString::to_string);
    match rejection.map(|rejection| &rejection.why) {
        Some(Why::TooLarge { .. }) => {
            let text = format!("{text}, beside the engine that serves; unload the model first, then load it so");
            JobError::new(ErrorCode::MemoryHeadroom, text)
        }
        _ => JobError::new(ErrorCode::ModelUnavailable, text),
    }
}
