//! From a message to a job in the queue, or to an answer that says why not.

use std::time::Instant;

use super::driver::{Driver, Phase};
use super::jobs::{self, Mark, Owner};
use super::models::{Down, DownWhy, Stage, Then, unavailable};
use super::recording::Promise;
use crate::engine::protocol::{EngineJob, SessionUse};
use crate::job::{
    Ability, ClientName, ErrorCode, JobError, JobId, ModelName, ReplyFormat, ReplyTo, Request, RequestId, Task,
};
use crate::journal::{Known, Settlement, Ticket};
use crate::mqtt::{Accepted, InboundMessage, InboundTopic, LinkHandle, Slot, parse_cancel};
use crate::queue::{Waiting, Work};
use crate::telemetry::JobChange;

impl Driver {
    /// Takes a message that has come on a connection; its answer already has a place.
    pub(super) fn on_message(&mut self, slot: Slot, mut message: InboundMessage, link: &LinkHandle) {
        let ack = message.ack.take();
        let mut ticket = None;
        match self.topics.classify(&message.topic) {
            Ok(InboundTopic::Request { task, client }) => ticket = self.on_request(slot, &task, &client, &message),
            Ok(InboundTopic::Cancel { client }) => self.on_cancel(slot, &client, &message),
            Ok(InboundTopic::Control { verb }) => self.on_control_message(slot, &verb, &message),
            Ok(InboundTopic::Other) => ticket = self.on_bound(slot, &message),
            // The topic names no client that could be answered.
            Err(e) => tracing::warn!("a request on an unusable topic was dropped: {e}"),
        }
        match (ack, ticket) {
            (Some(ack), Some(ticket)) => self.promise(ticket, Promise::Acknowledge(link.clone(), ack)),
            (Some(ack), None) => link.ack(ack),
            (None, _) => {}
        }
    }

    /// Gives what the journal must have before the request is acknowledged; none if there is nothing to keep.
    fn on_request(&mut self, slot: Slot, task: &str, client: &ClientName, message: &InboundMessage) -> Option<Ticket> {
        if client.is_own() {
            let id = made_id();
            let error = JobError::new(ErrorCode::Forbidden, format!("the client {client} is a binding of this node"));
            self.refuse(slot, &id, &error, &self.default_reply(client, &id));
            return None;
        }
        if task == FETCH && (self.config.mqtt.anonymous || *client != ClientName::anonymous()) {
            self.on_fetch(slot, client, message);
            return None;
        }
        self.reporting.metrics.jobs.received();
        let accepted = match self.reader.read(task, client.clone(), message, made_id) {
            Ok(accepted) => accepted,
            Err(rejected) => {
                self.refuse(slot, &rejected.id, &rejected.error, &rejected.reply);
                return None;
            }
        };
        if *client == ClientName::anonymous() && !self.config.mqtt.anonymous {
            let text = "requests need a client in their topic: request/<task>/<client> (mqtt.anonymous = false)";
            self.refuse(slot, &accepted.request.id, &JobError::new(ErrorCode::Forbidden, text), &accepted.reply);
            return None;
        }
        match self.recorder.journal.find(client, &accepted.request.id) {
            None => self.admit(slot, accepted, message.received),
            Some(known) if known.fingerprint == accepted.fingerprint => self.repeat(slot, &known, &accepted),
            Some(_) => {
                let text = "the client has asked something else under this id";
                self.refuse(slot, &accepted.request.id, &JobError::new(ErrorCode::IdConflict, text), &accepted.reply);
                None
            }
        }
    }

    /// A redelivery, or a client that asks again: if the job is open its one answer is on its way, else it gets the first
    /// again. Either way the first message must be safe before this one is acknowledged.
    fn repeat(&mut self, slot: Slot, known: &Known, accepted: &Accepted) -> Option<Ticket> {
        self.reporting.metrics.jobs.repeated();
        if known.ended.is_some()
            && let Err((slot, error)) = self.publish_again(known.job, slot, accepted)
        {
            self.refuse(slot, &accepted.request.id, &error, &accepted.reply);
        }
        let ticket = self.recorder.unsafe_until();
        let Accepted { request, reply, .. } = accepted;
        if let Some(open) = self.jobs.get_mut(known.job) {
            // Where the client listens now.
            if let Owner::Client { reply: place, .. } = &mut open.owner {
                *place = reply.clone();
            }
            if request.ack && reply.format == ReplyFormat::Json {
                let model = open.model.clone();
                let again = self.accepted_reply(&request.id, known.job, &model, reply);
                self.tell(again, ticket);
            }
        }
        ticket
    }

    /// The model that shall answer, if it can or soon can.
    pub(super) fn model_for(&self, request: &Request) -> Result<ModelName, JobError> {
        match self.phase {
            Phase::Open => {}
            Phase::Paused => return Err(JobError::new(ErrorCode::Draining, "an operator drains the node")),
            Phase::Draining { .. } => return Err(JobError::new(ErrorCode::Draining, "the node is stopping")),
        }
        let index = self.model_of(request)?;
        if let Some(after) = self.governor.refusal(Instant::now()) {
            let text = "the machine is short of memory: new work is refused until it has come back";
            return Err(JobError::new(ErrorCode::MemoryHeadroom, text).retry_after(after));
        }
        if let Some(error) = self.heat_refusal().or_else(|| self.storage_refusal()) {
            return Err(error);
        }
        self.check_reachable(index, false)?;
        Ok(self.models[index].name().clone())
    }

    /// Whether a model can serve, or soon can. A step may wait until others have made room for it.
    pub(super) fn check_reachable(&self, index: usize, is_step: bool) -> Result<(), JobError> {
        let entry = &self.models[index];
        let name = entry.name();
        let may_wait = || self.idle_model(name).is_some() || (is_step && self.may_get_room(name));
        match (&entry.stage, entry.failure()) {
            (Stage::Down(Down { why: DownWhy::NoRoom, reason, .. }), _) if !may_wait() => {
                let text = format!("the model {name} does not fit into memory now: {reason}");
                Err(JobError::new(ErrorCode::MemoryHeadroom, text).retry_after(self.config.memory.recover_after))
            }
            (
                Stage::Down(Down { why: DownWhy::Operator, reason, .. })
                | Stage::Ending { then: Then::Unload(DownWhy::Operator, reason), .. },
                _,
            ) => Err(unavailable(name, reason, None)),
            // One that has served comes back: the job may wait for it.
            (Stage::Down(Down { why: DownWhy::Failed, reason, retry_at }), _) if !entry.has_served => {
                Err(unavailable(name, reason, retry_at.map(|at| at.saturating_duration_since(Instant::now()))))
            }
            (Stage::Preparing { .. } | Stage::Loading(_), Some(reason)) if entry.attempts > 0 && !entry.has_served => {
                Err(unavailable(name, reason, None))
            }
            _ => Ok(()),
        }
    }

    /// The error for a name that no model has.
    pub(super) fn unknown_model(&self, name: &ModelName) -> JobError {
        let configured = self.models.iter().filter(|entry| !entry.is_leaving());
        let known: Vec<&str> = configured.map(|entry| entry.name().as_str()).collect();
        JobError::new(ErrorCode::UnknownModel, format!("no model {name}; known are: {}", known.join(", ")))
    }

    /// A model that was let go because nobody used it comes back for a job.
    pub(super) fn wake_model(&mut self, name: &ModelName) {
        let Some(index) = self.model_index(name) else { return };
        let now = Instant::now();
        let entry = &mut self.models[index];
        entry.last_used = now;
        if let Stage::Down(Down { why: DownWhy::Idle | DownWhy::NoRoom, retry_at, .. }) = &entry.stage {
            // One that waits for its turn already goes on to do so.
            if retry_at.is_none() {
                entry.decided_at = now;
            }
            self.load_on_demand(index);
        }
    }

    fn on_cancel(&mut self, slot: Slot, client: &ClientName, message: &InboundMessage) {
        let id = if client.is_own() {
            Err(JobError::new(ErrorCode::Forbidden, format!("the client {client} is a binding of this node")))
        } else if message.retain {
            Err(JobError::new(
                ErrorCode::Retained,
                "a cancel may not be retained: it would be repeated at each connect",
            ))
        } else {
            parse_cancel(&message.payload)
        };
        let id = match id {
            Ok(id) => id,
            Err(error) => {
                let id = made_id();
                self.refuse(slot, &id, &error, &self.default_reply(client, &id));
                return;
            }
        };
        let known = self.recorder.journal.find(client, &id);
        if let Some((job, _)) = self.jobs.find(client, &id) {
            self.cancel(job, "cancelled");
        } else if known.is_none_or(|known| known.ended != Some(Settlement::Unsettled)) {
            // Otherwise the one message that ends it is on its way, and must not be overtaken by another.
            let error = JobError::new(ErrorCode::NotFound, format!("no open job {id} of this client"));
            self.refuse(slot, &id, &error, &self.default_reply(client, &id));
        }
    }

    fn default_reply(&self, client: &ClientName, id: &RequestId) -> ReplyTo {
        ReplyTo {
            topic: self.topics.response(client, id),
            correlation: None,
            reference: None,
            echo: serde_json::Map::new(),
            format: ReplyFormat::Json,
            parts: false,
            errors: true,
        }
    }

    pub(super) fn refuse(&mut self, slot: Slot, id: &RequestId, error: &JobError, reply: &ReplyTo) {
        tracing::debug!(code = %error.code, "a request was refused");
        self.reporting.metrics.jobs.refused(error.code);
        if reply.errors {
            slot.publish(self.error_message(id, error, reply));
        } else {
            self.tell_unanswered(&reply.topic, error);
        }
    }

    /// Starts waiting jobs wherever a sequence is free.
    pub(super) fn dispatch(&mut self) {
        loop {
            self.steps_wait = false;
            // What waits when the node stops is for the next run.
            if self.is_too_hot() || matches!(self.phase, Phase::Draining { .. }) {
                return;
            }
            for index in 0..self.models.len() {
                self.dispatch_to(index);
            }
            if !self.steps_wait {
                return;
            }
        }
    }

    fn dispatch_to(&mut self, index: usize) {
        while self.models[index].has_room() {
            let now = Instant::now();
            let Some(id) = self.queue.peek(self.models[index].name(), now) else { break };
            if !self.remembers(id) || !self.may_open(id) {
                continue;
            }
            let Some(id) = self.queue.next(self.models[index].name(), now) else { break };
            if !self.may_start(id) {
                break;
            }
            self.start(index, id);
        }
        self.make_room(index);
    }

    /// A job that may have ended an earlier run waits, and others behind it, until the journal has that it runs. If the disk
    /// takes nothing, it goes without.
    fn may_start(&mut self, id: JobId) -> bool {
        let Some(job) = self.jobs.get_mut(id) else { return true };
        let root = job.step().map_or(id, |step| step.root);
        let waits = match job.mark {
            Mark::None => false,
            Mark::Needed => {
                let ticket = self.recorder.journal.start(root, job.crashes);
                job.mark = ticket.map_or(Mark::None, Mark::Awaited);
                self.recorder.promises.extend(ticket.map(|ticket| (ticket, Promise::Start)));
                ticket.is_some() && self.recorder.trouble.is_none()
            }
            Mark::Awaited(ticket) => !self.recorder.has(ticket) && self.recorder.trouble.is_none(),
        };
        if waits {
            let entry = job.waiting(id);
            self.queue.put_back(entry);
        } else {
            job.mark = Mark::None;
        }
        !waits
    }

    fn start(&mut self, index: usize, id: JobId) {
        let instructions = self.instructions_of(id);
        let Some(job) = self.jobs.get_mut(id) else { return };
        if job.deadline <= Instant::now() {
            self.fail(id, JobError::new(ErrorCode::DeadlineExceeded, "the deadline passed while the job waited"));
            return;
        }
        if job.request.task.is_composite() {
            return self.open(id);
        }
        let Stage::Serving(active) = &mut self.models[index].stage else { return };
        if job.request.task.bytes() > active.request_max {
            let text = "the model is being loaded anew for requests as large as limits.request allows by now";
            self.fail(id, JobError::new(ErrorCode::ModelUnavailable, text));
            return;
        }
        let bytes_max = active.request_max;
        let work = EngineJob {
            id,
            task: job.request.task.for_engine(),
            memory: 0..0,
            instructions,
            session: self.sessions.of_engines(&job.request, self.config.session.keep),
            sampling: job.request.sampling.clone(),
            output: job.request.output.clone(),
            stream: job.request.stream && !job.deltas.ended,
        };
        let work = self.sessions.recalled(work, &job.request, bytes_max);
        let bytes = work.task.bytes();
        if bytes > bytes_max {
            let text = format!(
                "the session's instructions and the turn have {bytes} bytes; the model takes {bytes_max} (limits.request): begin \
                 the session anew with \"reset\""
            );
            self.fail(id, JobError::new(ErrorCode::TooLarge, text));
            return;
        }
        if !work.memory.is_empty() {
            self.queue.grows(&job.model, id, bytes as u64 / BYTES_PER_TOKEN);
        }
        let engine = active.id();
        let begins_anew = job.request.session.as_ref().is_some_and(|session| session.reset);
        let (taken, since) = match job.stage {
            jobs::Stage::Parked { engine: parked_in, since, at } if parked_in == engine => {
                (active.engine().resume(id), since + at.elapsed())
            }
            _ => {
                if let Some(SessionUse { number, .. }) = work.session.filter(|_| begins_anew) {
                    active.engine().forget(number.client, Some(number.session));
                }
                (active.engine().submit(work), Instant::now())
            }
        };
        job.stage = jobs::Stage::Running { engine, since, stopping: None, parking: false };
        if taken {
            active.running += 1;
            self.mark(id);
            self.reporting.energy.begin(Instant::now(), id);
            self.tell_open_job(id, JobChange::Running);
        } else {
            self.fail(id, JobError::new(ErrorCode::Internal, "the engine took no job although it has room"));
        }
    }
}

/// The task that asks for outcomes again. It needs no model, and is no job.
pub(super) const FETCH: &str = "fetch";

/// The entry in the queue of a request that becomes a job.
pub(super) fn waiting(
    job: JobId,
    request: &Request,
    model: &ModelName,
    received: Instant,
    deadline: Instant,
) -> Waiting {
    let Request { client, priority, .. } = request;
    let (client, model, work) = (client.clone(), model.clone(), work(request));
    Waiting { job, is_step: false, client, model, priority: *priority, work, received, deadline }
}

impl jobs::Job {
    /// Its entry in the queue.
    pub(super) fn waiting(&self, id: JobId) -> Waiting {
        let entry = waiting(id, &self.request, &self.model, self.received, self.deadline);
        Waiting { is_step: !self.is_clients(), ..entry }
    }
}

/// Bytes of English text that most tokenizers make one token of.
const BYTES_PER_TOKEN: u64 = 4;

/// What a job may cost: what it asks, by its length, and the longest answer if it generates one.
pub(super) fn work(request: &Request) -> Work {
    let parts = if let Task::Each { items, .. } = &request.task { items.len().max(1) } else { 1 };
    // Labels are computed once more after the text, and after one that says nothing.
    let labels: usize =
        if let Task::Classify { labels, .. } = &request.task { labels.iter().map(String::len).sum() } else { 0 };
    let prompt = (request.task.bytes() / parts + 2 * labels) as u64 / BYTES_PER_TOKEN;
    let answer = match request.task.needs() {
        // Labels are scored and not written.
        _ if matches!(request.task, Task::Classify { .. }) => 0,
        Ability::Generate => u64::from(request.output.max_tokens),
        Ability::Embed | Ability::Classify | Ability::Extract => 0,
    };
    Work { prompt, answer }
}

/// Tokens that a job may cost with all of its steps, as far as they are known.
pub(super) fn cost(request: &Request) -> u64 {
    let steps = match &request.task {
        Task::Each { items, .. } => items.len(),
        Task::Pipeline(pipeline) => pipeline.steps.len(),
        _ => 1,
    };
    work(request).tokens().saturating_mul(steps as u64)
}

/// An id for a request that has none.
pub(super) fn made_id() -> RequestId {
    let text = format!("p-{:016x}", fastrand::u64(..));
    RequestId::new(text).expect("hexadecimal digits are a valid name")
}
