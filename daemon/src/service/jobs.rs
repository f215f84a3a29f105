//! The open jobs.

use std::collections::HashMap;
use std::time::Instant;

use crate::engine::EngineId;
use crate::job::{ClientName, JobError, JobId, ModelName, ReplyTo, Request, RequestId};
use crate::journal::Ticket;
use crate::mqtt::Slot;
use crate::queue::Charge;

/// An accepted job that has not ended.
pub struct Job {
    /// What was asked.
    pub request: Request,
    /// Where the answer goes.
    pub reply: ReplyTo,
    /// The model that shall answer.
    pub model: ModelName,
    /// When it came.
    pub received: Instant,
    /// When it is worthless.
    pub deadline: Instant,
    /// The place of its answer in the outbox, reserved when it was accepted.
    pub slot: Slot,
    /// What its client was charged in this run, if a policy counts its tokens.
    pub charge: Option<Charge>,
    /// Deltas that were published.
    pub deltas: Deltas,
    /// How often it was running when an engine crashed.
    pub crashes: u32,
    /// How often it was running when the daemon was lost; the journal counts that.
    pub deaths: u32,
    /// Joules that went into it in engines that gave it back; none if that is not known.
    pub spent: Option<f64>,
    /// What the journal must have before the job is safe; none if it has it.
    pub accepted: Option<Ticket>,
    /// Whether it may start only when the journal has that it runs.
    pub mark: Mark,
    /// How often it has made room for others.
    pub parkings: u32,
    /// Where it is.
    pub stage: Stage,
}

/// Whether a job may have ended an earlier run. Such a one starts only when it is on the disk that it runs: the next run must
/// know which job it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It has not.
    None,
    /// It may have.
    Needed,
    /// It may have, and this tells when the disk has the mark.
    Awaited(Ticket),
}

impl Job {
    /// Whether it is in the queue.
    pub fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting | Stage::Parked { .. })
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
    /// In the queue, because it has made room for a more urgent one.
    Parked {
        /// The engine in which it can go on from where it was.
        engine: EngineId,
        /// When it got there, later by the times that it was parked before.
        since: Instant,
        /// When it made room.
        at: Instant,
    },
    /// In the engine.
    Running {
        /// In which.
        engine: EngineId,
        /// When it got there, later by the times that it was parked.
        since: Instant,
        /// Why it is being stopped, if it is.
        stopping: Option<JobError>,
        /// Whether it has been told to make room.
        parking: bool,
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
    /// Numbers of new jobs are higher than this one.
    pub fn begin_after(&mut self, last: JobId) {
        self.created = self.created.max(last.0);
    }

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
}
