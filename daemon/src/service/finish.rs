//! From the engine's answer, or an error, to the one message that ends a job.

use std::time::Instant;

use super::driver::Driver;
use super::jobs::{Job, Owner, Stage};
use super::models::ModelEntry;
use crate::engine::EngineId;
use crate::engine::protocol::Answer;
use crate::job::{
    Completion, ErrorCode, JobError, JobId, ModelName, Outcome, ReplyFormat, ReplyTo, Request, RequestId, Task, Timings,
};
use crate::journal::Ticket;
use crate::mqtt::{PARTS_MAX, Publication, Slot, logprobs_bytes, output_bytes};
use crate::queue::Spent;
use crate::telemetry::JobChange;

impl Driver {
    /// Ends a job that is not in the engine with an error.
    pub(super) fn fail(&mut self, id: JobId, error: JobError) {
        self.queue.remove(id);
        if let Some(job) = self.jobs.remove(id) {
            self.forget_parked(id, &job);
            self.abort_steps(id);
            match &job.stage {
                Stage::Waiting => self.settle(&job.request.client, job.charge, 0),
                // What steps have used that were stopped is not known.
                Stage::Composed(composed) => {
                    let charged = job.charge.map_or(0, |charge| charge.tokens());
                    self.settle(&job.request.client, job.charge, composed.tokens().max(charged));
                }
                Stage::Parked { .. } | Stage::Running { .. } => {}
            }
            if job.is_composed() {
                self.left_composed(&job);
            }
            self.publish_outcome(id, job, Outcome::Failed(error));
        }
    }

    /// Stops a job in the engine. It ends when the engine says so: with this error, or with its answer if that was faster.
    pub(super) fn stop(&mut self, id: JobId, error: JobError) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let Stage::Running { engine, stopping: stopping @ None, .. } = &mut job.stage else { return };
        *stopping = Some(error);
        let (model, engine) = (job.model.clone(), *engine);
        let entry = self.models.iter_mut().find(|entry| *entry.name() == model);
        let active = entry.and_then(|entry| entry.engine_mut(engine));
        if !active.is_some_and(|active| active.engine().cancel(id)) {
            tracing::warn!(model = %model, "the engine took no cancel; the job runs to its end");
        }
    }

    /// A job that an engine gave back waits again, unless it is stopped anyway or has brought down too many engines.
    pub(super) fn wait_again(&mut self, id: JobId, crashed: bool) {
        let most = self.config.engine.crash_quarantine;
        let Some(job) = self.jobs.get_mut(id) else { return };
        let Stage::Running { stopping, .. } = std::mem::replace(&mut job.stage, Stage::Waiting) else { return };
        job.spent = self.reporting.spent(id, job.spent);
        job.crashes += u32::from(crashed);
        job.deltas.ended |= job.deltas.count > 0;
        let root = job.step().map_or(id, |step| step.root);
        let (of_engines, count) = (job.crashes, job.crashes + job.deaths);
        if let Some(whole) = self.jobs.get_mut(root) {
            // What a step brings down is brought down by the whole, which begins it again after a restart.
            whole.crashes = whole.crashes.max(of_engines);
        }
        let Some(job) = self.jobs.get(id) else { return };
        if let Some(reason) = stopping {
            self.fail(id, reason);
        } else if count >= most {
            self.quarantine(root, count);
        } else {
            self.queue.put_back(job.waiting(id));
            self.mark(id);
            self.tell_open_job(id, JobChange::Waiting(None));
        }
    }

    /// Ends a job that may be what brings engines or the daemon down.
    pub(super) fn quarantine(&mut self, id: JobId, crashes: u32) {
        let most = self.config.engine.crash_quarantine;
        let text = format!("the job was running in {crashes} crashes (engine.crash_quarantine = {most})");
        self.fail(id, JobError::new(ErrorCode::Quarantined, text));
    }

    /// Ends a job that was in the engine.
    pub(super) fn finish_running(&mut self, id: JobId, result: Result<Answer, JobError>) {
        if let Ok(Answer { last_delta: Some(text), .. }) = &result {
            self.publish_delta(id, text);
        }
        let result = match result {
            Err(error) => match self.divided(id, error) {
                Some(error) => Err(error),
                None => return,
            },
            answered => answered,
        };
        let Some(mut job) = self.jobs.remove(id) else { return };
        job.spent = self.reporting.spent(id, job.spent);
        let Stage::Running { engine, since, stopping, .. } = &job.stage else { return };
        let outcome = match (result, stopping) {
            (Ok(answer), _) => {
                let spent = spent(&answer);
                self.queue.answered(&job.model, id, &spent);
                self.settle(&job.request.client, job.charge, spent.tokens());
                let (since, engine) = (*since, *engine);
                self.completed(&job, answer, since, engine)
            }
            // The engine only knows that it was cancelled, not why. What a job has used that was stopped is not known, and its
            // client is not given anything back.
            (Err(error), Some(reason)) if error.code == ErrorCode::Cancelled => Outcome::Failed(reason.clone()),
            (Err(error), _) => {
                self.settle(&job.request.client, job.charge, 0);
                Outcome::Failed(error)
            }
        };
        self.queue.remove(id);
        self.publish_outcome(id, job, outcome);
    }

    /// The error that a job ends with; none if it goes on with parts of a text that was too long.
    fn divided(&mut self, id: JobId, error: JobError) -> Option<JobError> {
        let Some(Job { stage: Stage::Running { stopping: None, .. }, request, .. }) = self.jobs.get(id) else {
            return Some(error);
        };
        match (&request.task, error.overflow) {
            (Task::Long { long, .. }, Some(overflow)) => {
                let long = long.clone();
                let error = self.divide(id, &long, overflow).err();
                if error.is_none() {
                    // What the engine has taken for it is next to nothing.
                    self.reporting.spent(id, None);
                }
                error
            }
            _ => Some(error),
        }
    }

    fn completed(&mut self, job: &Job, answer: Answer, since: Instant, engine: EngineId) -> Outcome {
        let size = output_bytes(&answer.output) + logprobs_bytes(&answer.logprobs);
        let max = self.config.limits.result;
        if size > max {
            let text = format!("the answer has {size} bytes; allowed are {max} (limits.result)");
            return Outcome::Failed(JobError::new(ErrorCode::ResultTooLarge, text));
        }
        let session = match self.answered_in_session(&job.request, &answer.output, answer.dropped) {
            Ok(session) => session,
            Err(error) => return Outcome::Failed(error),
        };
        let entries = self.models.iter().filter(|entry| *entry.name() == job.model);
        let active = entries.flat_map(ModelEntry::engines).find(|active| active.id() == engine);
        Outcome::Completed(Completion {
            output: answer.output,
            finish: answer.finish,
            logprobs: answer.logprobs,
            model: job.model.clone(),
            strategy: active.map(|active| active.chosen.strategy.to_string()).unwrap_or_default(),
            usage: answer.usage,
            timings: Timings {
                queue: since.saturating_duration_since(job.received),
                prefill: answer.prefill,
                decode: answer.decode,
                total: job.received.elapsed(),
            },
            deltas: job.deltas.count,
            energy_joules: job.spent.map(|joules| (joules * 1000.0).round() / 1000.0),
            session,
        })
    }

    /// Gives what came of a job to whom it is for.
    pub(super) fn publish_outcome(&mut self, id: JobId, job: Job, outcome: Outcome) {
        let Job { request, owner, model, accepted, .. } = job;
        log_end(&request, &model, &outcome);
        let (slot, reply) = match owner {
            Owner::Client { slot, reply } => (slot, reply),
            Owner::Job(step) => return self.step_ended(&step, outcome),
        };
        if let (Outcome::Failed(error), false) = (&outcome, reply.errors) {
            self.recorder.journal.remove(id);
            self.tell_end(&request, &model, &outcome);
            self.tell_unanswered(&reply.topic, error);
            self.leave_session(id, &request);
            return;
        }
        match self.conclude(id, slot, (&request, &reply), accepted, &outcome) {
            Ok(()) => self.tell_end(&request, &model, &outcome),
            Err((slot, text)) => {
                let error = JobError::new(ErrorCode::ResultTooLarge, text);
                let failed = Outcome::Failed(error.clone());
                if !reply.errors {
                    self.recorder.journal.remove(id);
                    self.tell_unanswered(&reply.topic, &error);
                } else if let Err((_, text)) = self.conclude(id, slot, (&request, &reply), accepted, &failed) {
                    tracing::error!("a job's end was not told: {text}");
                }
                self.tell_end(&request, &model, &failed);
            }
        }
        self.leave_session(id, &request);
    }

    /// Keeps and publishes the one message that ends a job. Gives the place in the outbox back, with the reason, if broker or
    /// journal do not take a message of its size; an error they always take.
    fn conclude(
        &mut self,
        id: JobId,
        slot: Slot,
        (request, reply): (&Request, &ReplyTo),
        accepted: Option<Ticket>,
        outcome: &Outcome,
    ) -> Result<(), (Slot, String)> {
        let publication = match outcome {
            Outcome::Completed(completion) => self.replies.result(&request.id, request.task_name(), completion, reply),
            Outcome::Failed(error) => self.error_message(&request.id, error, reply),
        };
        let size = publication.packet_size();
        let too_large = |max: &u32| outcome.error().is_none() && !publication.can_be_sent(*max);
        if let Some(max) = self.link.broker_packet_max().filter(too_large) {
            let parts = if publication.parts.is_some() {
                format!(", and it can't be cut into at most {PARTS_MAX} parts with what each must have")
            } else {
                String::new()
            };
            return Err((slot, format!("the answer makes a packet of {size} bytes; the broker takes {max}{parts}")));
        }
        let turn = if outcome.error().is_none() { self.turn_of(request) } else { None };
        let kept = self.publish_kept(id, slot, publication, outcome.error(), (accepted, turn.as_ref()));
        kept.map_err(|(slot, reason)| (slot, reason.to_string()))
    }

    /// An error for a client, without what the client wants to get back if the broker would not take it with that.
    pub(super) fn error_message(&self, id: &RequestId, error: &JobError, to: &ReplyTo) -> Publication {
        let whole = self.replies.error(id, error, to);
        if self.link.broker_packet_max().is_none_or(|max| whole.can_be_sent(max)) {
            return whole;
        }
        self.replies.error(id, error, &ReplyTo { echo: serde_json::Map::new(), ..to.clone() })
    }

    fn tell_end(&self, request: &Request, model: &ModelName, outcome: &Outcome) {
        self.reporting.metrics.jobs.ended(outcome);
        self.tell_job(request, model, JobChange::Ended(outcome));
    }

    /// Publishes a piece of an answer. It may be left out when the broker is slow: the result is complete.
    pub(super) fn publish_delta(&mut self, id: JobId, text: &str) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let Stage::Running { stopping: None, .. } = &job.stage else { return };
        let Some(index) = job.index().filter(|_| !job.deltas.ended) else { return };
        job.deltas.count += 1;
        let root = job.step().map_or(id, |step| step.root);
        let is_step = root != id;
        let Some(Job { owner: Owner::Client { reply, .. }, request, deltas, .. }) = self.jobs.get_mut(root) else {
            return;
        };
        if reply.format == ReplyFormat::Text {
            return;
        }
        // The number counts what was tried, so that a client sees a gap where one was lost.
        deltas.count += u32::from(is_step);
        let publication = self.replies.delta(&request.id, deltas.count - 1, index, text, reply);
        let published = self.link.publish_transient(publication);
        self.reporting.metrics.jobs.delta(published);
        if !published {
            tracing::debug!("a delta was left out: the broker is slow");
        }
    }
}

fn spent(answer: &Answer) -> Spent {
    let Answer { usage, prefill, decode, .. } = answer;
    let (prompt, generated) = (u64::from(usage.prompt_tokens), u64::from(usage.generated_tokens));
    Spent { prompt, answer: generated, prefill: *prefill, decode: *decode }
}

/// In the journal the fields are `JOB_ID`, MODEL and CODE. What a client has brought about is told to the client: a log
/// of it would be as long as clients like. Messages of errors have no text of prompts or answers.
fn log_end(request: &Request, model: &ModelName, outcome: &Outcome) {
    let job_id = format_args!("{}/{}", request.client, request.id);
    match outcome {
        Outcome::Completed(_) => tracing::debug!(%job_id, %model, "a job is done"),
        Outcome::Failed(JobError { code, message, .. }) => match code {
            ErrorCode::EngineFailed | ErrorCode::Quarantined | ErrorCode::Internal => {
                tracing::warn!(%job_id, %model, %code, "a job failed: {message}");
            }
            _ => tracing::debug!(%job_id, %model, %code, "a job failed: {message}"),
        },
    }
}
