//! From the engine's answer, or an error, to the one message that ends a job.

use std::time::Instant;

use super::driver::Driver;
use super::jobs::{Job, Stage};
use crate::engine::protocol::Answer;
use crate::job::{Completion, ErrorCode, JobError, JobId, Outcome, ReplyFormat, Timings};

impl Driver {
    /// Ends a job that is not in the engine with an error.
    pub(super) fn fail(&mut self, id: JobId, error: JobError) {
        self.queue.remove(id);
        if let Some(job) = self.jobs.remove(id) {
            self.publish_outcome(job, &Outcome::Failed(error));
        }
    }

    /// Stops a job in the engine. It ends when the engine says so: with this error, or with its answer if that was faster.
    pub(super) fn stop(&mut self, id: JobId, error: JobError) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let Stage::Running { stopping: stopping @ None, .. } = &mut job.stage else { return };
        *stopping = Some(error);
        let model = job.model.clone();
        let engine = self.models.iter().find(|e| *e.name() == model).and_then(|e| e.engine.as_ref());
        if !engine.is_some_and(|engine| engine.cancel(id)) {
            tracing::warn!(job = %id, "the engine took no cancel; the job runs to its end");
        }
    }

    /// Ends a job that was in the engine.
    pub(super) fn finish_running(&mut self, id: JobId, result: Result<Answer, JobError>) {
        if let Ok(Answer { last_delta: Some(text), .. }) = &result {
            self.publish_delta(id, text);
        }
        let Some(job) = self.jobs.remove(id) else { return };
        let Stage::Running { since, deltas, stopping } = &job.stage else { return };
        let outcome = match (result, stopping) {
            (Ok(answer), _) => {
                let ran = since.elapsed();
                self.job_time = Some(self.job_time.map_or(ran, |mean| (mean * 7 + ran) / 8));
                self.completed(&job, answer, *since, *deltas)
            }
            // The engine only knows that it was cancelled, not why.
            (Err(error), Some(reason)) if error.code == ErrorCode::Cancelled => Outcome::Failed(reason.clone()),
            (Err(error), _) => Outcome::Failed(error),
        };
        self.publish_outcome(job, &outcome);
    }

    fn completed(&self, job: &Job, answer: Answer, since: Instant, deltas: u32) -> Outcome {
        let (size, max) = (answer.output.len(), self.config.limits.result);
        if size > max {
            let text = format!("the answer has {size} bytes; allowed are {max} (limits.result)");
            return Outcome::Failed(JobError::new(ErrorCode::ResultTooLarge, text));
        }
        let entry = self.models.iter().find(|entry| *entry.name() == job.model);
        Outcome::Completed(Completion {
            output: answer.output,
            finish: answer.finish,
            model: job.model.clone(),
            strategy: entry.and_then(super::models::ModelEntry::strategy).unwrap_or_default(),
            usage: answer.usage,
            timings: Timings {
                queue: since.saturating_duration_since(job.received),
                prefill: answer.prefill,
                decode: answer.decode,
                total: job.received.elapsed(),
            },
            deltas,
        })
    }

    fn publish_outcome(&self, job: Job, outcome: &Outcome) {
        let Job { request, reply, slot, .. } = job;
        if let Outcome::Failed(error) = outcome {
            tracing::debug!(code = %error.code, "a job failed");
        }
        let mut publication = self.replies.outcome(&request.id, request.task.name(), outcome, &reply);
        let size = publication.packet_size();
        if let Some(max) = self.link.broker_packet_max().filter(|&max| size > max as usize) {
            let text = format!("the answer makes a packet of {size} bytes; the broker takes {max}");
            publication = self.replies.error(&request.id, &JobError::new(ErrorCode::ResultTooLarge, text), &reply);
        }
        slot.publish(publication);
    }

    /// Publishes a piece of an answer. It may be left out when the broker is slow: the result is complete.
    pub(super) fn publish_delta(&mut self, id: JobId, text: &str) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let Stage::Running { deltas, stopping: None, .. } = &mut job.stage else { return };
        if job.reply.format == ReplyFormat::Text {
            return;
        }
        let publication = self.replies.delta(&job.request.id, *deltas, 0, text, &job.reply);
        // The number counts what was tried, so that a client sees a gap where one was lost.
        *deltas += 1;
        if !self.link.publish_transient(publication) {
            tracing::debug!("a delta was left out: the broker is slow");
        }
    }
}
