//! What operators ask about jobs.

use std::time::Instant;

use serde_json::{Value, json};

use super::driver::Driver;
use super::jobs::{Job, Stage};
use super::operator::Answer;
use crate::job::{ClientName, ErrorCode, JobError, JobId, RequestId, Which};
use crate::journal::Known;

/// Most jobs in an answer: about 20 KB.
const LISTED_MAX: usize = 100;

impl Driver {
    /// The open jobs, oldest first, and how many there are. No prompts.
    pub(super) fn jobs_document(&self, client: Option<&ClientName>) -> Value {
        let of_client = |job: &Job| job.is_clients() && client.is_none_or(|client| job.request.client == *client);
        let mut jobs: Vec<(JobId, &Job)> = self.jobs.iter().filter(|(_, job)| of_client(job)).collect();
        jobs.sort_unstable_by_key(|(id, _)| *id);
        let now = Instant::now();
        let listed: Vec<Value> = jobs.iter().take(LISTED_MAX).map(|(_, job)| document(job, now)).collect();
        json!({ "total": jobs.len(), "jobs": listed })
    }

    /// Cancels jobs; those that run end within a step.
    pub(super) fn cancel_for(&mut self, which: &Which) -> Answer {
        let jobs: Vec<JobId> = match which {
            Which::One { client, id } => self.jobs.find(client, id).map(|(job, _)| job).into_iter().collect(),
            Which::Client(client) => self
                .jobs
                .iter()
                .filter(|(_, job)| job.is_clients() && job.request.client == *client)
                .map(|(id, _)| id)
                .collect(),
            Which::All => self.jobs.iter().filter(|(_, job)| job.is_clients()).map(|(id, _)| id).collect(),
        };
        if let (Which::One { client, id }, []) = (which, jobs.as_slice()) {
            return Err(JobError::new(ErrorCode::NotFound, format!("no open job {id} of the client {client}")));
        }
        for &job in &jobs {
            self.cancel(job, "an operator cancelled it");
        }
        Ok(json!({ "cancelled": jobs.len() }))
    }

    /// Publishes outcomes of a client again: one, or all that nobody has got.
    pub(super) fn fetch_for(&mut self, client: &ClientName, id: Option<&RequestId>) -> Answer {
        let jobs = match id {
            None => self.recorder.journal.missed_of(client),
            Some(id) => match self.recorder.journal.find(client, id) {
                Some(Known { job, ended: Some(_), .. }) => vec![job],
                // Its one answer is on its way.
                Some(Known { ended: None, .. }) => Vec::new(),
                None => return Err(JobError::new(ErrorCode::NotFound, format!("no job {id} of the client {client}"))),
            },
        };
        let fetched = jobs.len();
        self.fetch(jobs);
        Ok(json!({ "fetched": fetched }))
    }

    /// Cancels a job, waiting or running.
    pub(super) fn cancel(&mut self, id: JobId, reason: &str) {
        let Some(job) = self.jobs.get(id) else { return };
        if job.is_waiting() {
            self.fail(id, JobError::new(ErrorCode::Cancelled, format!("{reason} while it waited")));
        } else if job.is_composed() {
            self.fail(id, JobError::new(ErrorCode::Cancelled, format!("{reason} while it was running")));
        } else {
            self.stop(id, JobError::new(ErrorCode::Cancelled, format!("{reason} while it was running")));
        }
    }
}

fn document(job: &Job, now: Instant) -> Value {
    let Job { request, model, received, deadline, crashes, stage, .. } = job;
    let state = match stage {
        Stage::Waiting => "waiting",
        Stage::Parked { .. } => "parked",
        Stage::Running { stopping: None, .. } | Stage::Composed(_) => "running",
        Stage::Running { stopping: Some(_), .. } => "stopping",
    };
    let tenths = |seconds: f64| (seconds * 10.0).round() / 10.0;
    json!({
        "client": request.client, "id": request.id, "task": request.task_name(), "model": model, "state": state,
        "priority": request.priority, "crashes": crashes,
        "age_s": tenths(now.saturating_duration_since(*received).as_secs_f64()),
        "remaining_s": tenths(deadline.saturating_duration_since(now).as_secs_f64()),
    })
}
