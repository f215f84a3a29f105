//! The open jobs.

use std::collections::HashMap;
use std::time::Instant;

use crate::engine::EngineId;
use crate::job::{ClientName, JobError, JobId, ModelName, ReplyTo, Request, RequestId};
use crate::mqtt::Slot;

/// An accepted job that has not ended.
pub struct Job {
    /// What was asked.
    pub request: Request,
    /// Where the answer goes.
    pub reply: ReplyTo,
    /// Tells a retry from another request under the same id.
    pub fingerprint: [u8; 32],
    /// The model that shall answer.
    pub model: ModelName,
    /// When it came.
    pub received: Instant,
    /// When it is worthless.
    pub deadline: Instant,
    /// The place of its answer in the outbox, reserved when it was accepted.
    pub slot: Slot,
    /// Deltas that were published.
    pub deltas: Deltas,
    /// How often it was running when an engine crashed.
    pub crashes: u32,
    /// Joules that went into it in engines that gave it back; none if that is not known.
    pub spent: Option<f64>,
    /// Where it is.
    pub stage: Stage,
}

impl Job {
    /// Whether it is in the queue.
    pub fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting)
    }
}

/// The deltas of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deltas {
    /// How many were tried.
    pub count: u32,
    /// No more follow: the job begins anew in another engine, and what the client has would come twice.
    pub ended: bool,
}

/// Where an open job is.
#[derive(Debug)]
pub enum Stage {
    /// In the queue.
    Waiting,
    /// In the engine.
    Running {
        /// In which.
        engine: EngineId,
        /// When it got there.
        since: Instant,
        /// Why it is being stopped, if it is.
        stopping: Option<JobError>,
    },
}

/// All open jobs, by number and by the client's own name for them.
#[derive(Default)]
pub struct Jobs {
    created: u64,
    open: HashMap<JobId, Job>,
    names: HashMap<(ClientName, RequestId), JobId>,
}

impl Jobs {
    /// A number for a new job.
    pub fn next_id(&mut self) -> JobId {
        self.created += 1;
        JobId(self.created)
    }

    /// Adds a job. Its name must be free.
    pub fn insert(&mut self, id: JobId, job: Job) {
        self.names.insert((job.request.client.clone(), job.request.id.clone()), id);
        self.open.insert(id, job);
    }

    /// A job.
    pub fn get(&self, id: JobId) -> Option<&Job> {
        self.open.get(&id)
    }

    /// A job, to change it.
    pub fn get_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.open.get_mut(&id)
    }

    /// A client's job by its own name.
    pub fn find(&self, client: &ClientName, id: &RequestId) -> Option<(JobId, &Job)> {
        let id = *self.names.get(&(client.clone(), id.clone()))?;
        self.open.get(&id).map(|job| (id, job))
    }

    /// Takes a job out.
    pub fn remove(&mut self, id: JobId) -> Option<Job> {
        let job = self.open.remove(&id)?;
        self.names.remove(&(job.request.client.clone(), job.request.id.clone()));
        Some(job)
    }

    /// Every open job.
    pub fn iter(&self) -> impl Iterator<Item = (JobId, &Job)> {
        self.open.iter().map(|(&id, job)| (id, job))
    }

    /// Jobs in the engine that nobody has stopped yet.
    pub fn running(&self) -> impl Iterator<Item = (JobId, &Job)> {
        self.iter().filter(|(_, job)| matches!(job.stage, Stage::Running { stopping: None, .. }))
    }

    /// Whether no job is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
