//! The open jobs.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::composed::Composed;
use crate::engine::EngineId;
use crate::job::{ClientName, JobError, JobId, ModelName, Outcome, ReplyTo, Request, RequestId};
use crate::journal::Ticket;
use crate::mqtt::Slot;
use crate::queue::Charge;
use crate::task::StepKey;

/// An accepted job that has not ended.
pub struct Job {
    /// What was asked.
    pub request: Request,
    /// To whom its outcome goes.
    pub owner: Owner,
    /// The model that shall answer.
    pub model: ModelName,
    /// When it came.
    pub received: Instant,
    /// When it is worthless.
    pub deadline: Instant,
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
    /// Whether it, or the job that it is a step of, was open when an earlier run was lost.
    pub suspect: bool,
    /// Whether it may start only when the journal has that it runs.
    pub mark: Mark,
    /// How often it has made room for others.
    pub parkings: u32,
    /// What has come of its steps in earlier runs, by their paths.
    pub kept: BTreeMap<String, Outcome>,
    /// Where it is.
    pub stage: Stage,
}

/// To whom the outcome of a job goes.
pub enum Owner {
    /// To the client.
    Client {
        /// The place of the answer in the outbox, reserved when the job was accepted.
        slot: Slot,
        /// Where the answer goes.
        reply: ReplyTo,
    },
    /// To the job that it is a step of.
    Job(StepOf),
}

/// Which step of which job a job is.
#[derive(Debug, Clone)]
pub struct StepOf {
    /// The job that it is a step of.
    pub job: JobId,
    /// The client's job, of which that is a step, if it is not that job itself.
    pub root: JobId,
    /// Its name in its job.
    pub key: StepKey,
    /// Its name in the client's job.
    pub path: String,
    /// The place in the client's output of the text that it generates; none if that is not in it.
    pub index: Option<u32>,
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

    /// Whether it is in an engine.
    pub fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running { .. })
    }

    /// Whether it is done as several others, which have begun.
    pub fn is_composed(&self) -> bool {
        matches!(self.stage, Stage::Composed(_))
    }

    /// Whether a client has asked for it, and it is no step of another.
    pub fn is_clients(&self) -> bool {
        matches!(self.owner, Owner::Client { .. })
    }

    /// The step that it is.
    pub fn step(&self) -> Option<&StepOf> {
        if let Owner::Job(step) = &self.owner { Some(step) } else { None }
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
    /// Done as several others, its steps.
    Composed(Box<Composed>),
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
        if job.is_clients() {
            self.names.insert((job.request.client.clone(), job.request.id.clone()), id);
        }
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
        if job.is_clients() {
            self.names.remove(&(job.request.client.clone(), job.request.id.clone()));
        }
        Some(job)
    }

    /// Every open job.
    pub fn iter(&self) -> impl Iterator<Item = (JobId, &Job)> {
        self.open.iter().map(|(&id, job)| (id, job))
    }

    /// The steps of a job.
    pub fn steps_of(&self, id: JobId) -> impl Iterator<Item = (JobId, &Job)> {
        self.iter().filter(move |(_, job)| job.step().is_some_and(|step| step.job == id))
    }

    /// Jobs in the engine that nobody has stopped yet.
    pub fn running(&self) -> impl Iterator<Item = (JobId, &Job)> {
        self.iter().filter(|(_, job)| matches!(job.stage, Stage::Running { stopping: None, .. }))
    }
}
