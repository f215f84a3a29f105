//! One engine: a child from its start to its end. What comes after an end is the driver's to decide.
//!
//! ```text
//!          spawn, hello           loaded
//! Starting ────────────▶ Loading ────────▶ Serving
//!     └───────────────────────┴───────────────┴──── refused, killed, stalled, stopped ──▶ Gone
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::protocol::{Answer, EngineJob, EngineLoad, LoadParams, ModelReport, Opening};
use super::session::Session;
use super::{Duty, EngineError};
use crate::engine::ModelFile;
use crate::job::{JobError, JobId, ModelName};

/// A number for each engine of a run of the daemon: a model may have an old and a new one at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EngineId(pub u64);

/// So many jobs may be parked in an engine for each of its sequences.
pub const PARKED_PER_SEQUENCE: usize = 4;

/// What one engine runs.
#[derive(Debug, Clone)]
pub struct EngineSpec {
    /// The model's name.
    pub model: ModelName,
    /// Its file.
    pub file: Arc<ModelFile>,
    /// How to load it.
    pub load: LoadParams,
    /// Longest time in which a load makes no progress.
    pub load_timeout: Duration,
    /// Longest time without progress.
    pub heartbeat_timeout: Duration,
}

/// From the engine to the driver, in the order of a child's life.
#[derive(Debug)]
pub enum EngineEvent {
    /// A child has been started, with this process id.
    Started(u32),
    /// It reads the model: the share that is done, 0 to 1.
    Loading(f32),
    /// The model serves.
    Ready(Box<ModelReport>),
    /// A piece of an answer.
    Delta {
        /// Whose.
        job: JobId,
        /// The text.
        text: String,
    },
    /// A job ended.
    Ended {
        /// Which.
        job: JobId,
        /// How.
        result: Result<Answer, JobError>,
    },
    /// A job runs no more and can go on from where it was, as long as the child lives.
    Parked(JobId),
    /// The child serves no more: it gets no jobs, and those that run in it end after this.
    Interrupted,
    /// A job has not ended and is in this engine no more: it may wait again.
    Returned {
        /// Which.
        job: JobId,
        /// Whether it was running when the child failed, so that it may be the reason.
        crashed: bool,
    },
    /// The child is gone, with its memory; the jobs in it have been given back before this.
    Gone(EngineEnd),
}

/// How an engine ended.
#[derive(Debug)]
pub enum EngineEnd {
    /// As the driver wanted.
    Stopped,
    /// By itself.
    Failed {
        /// Why.
        error: EngineError,
        /// How long it served, if it ever did.
        served: Option<Duration>,
    },
}

/// An event and where it comes from.
#[derive(Debug)]
pub struct EngineReport {
    /// The engine's model.
    pub model: ModelName,
    /// Which of its engines.
    pub engine: EngineId,
    /// What happened.
    pub event: EngineEvent,
}

/// The way to the driver, with the engine's name on everything. Deltas are bounded by credits, the rest by the number of
/// jobs, and each waits for room.
#[derive(Debug, Clone)]
pub(super) struct Reports {
    model: ModelName,
    engine: EngineId,
    driver: mpsc::Sender<EngineReport>,
    /// Where the child's load is shown.
    pub(super) load: watch::Sender<EngineLoad>,
}

impl Reports {
    /// Tells the driver; false if there is none any more, and then nobody waits for this.
    pub(super) async fn send(&self, event: EngineEvent) -> bool {
        let report = EngineReport { model: self.model.clone(), engine: self.engine, event };
        self.driver.send(report).await.is_ok()
    }
}

/// From the driver to the engine.
#[derive(Debug)]
pub(super) enum Command {
    Submit(Box<EngineJob>),
    Cancel(JobId),
    Park(JobId),
    Resume(JobId),
    Openings(Vec<Opening>),
    Forget { client: u64, session: Option<u64> },
    Trim,
    Ease,
    Duty(Duty),
    Stop,
}

/// A running engine. Dropping it ends the child; [`Engine::stop`] ends it and tells when it is gone.
#[derive(Debug)]
pub struct Engine {
    id: EngineId,
    commands: mpsc::Sender<Command>,
    load: watch::Receiver<EngineLoad>,
    task: JoinHandle<()>,
}

impl Engine {
    /// Starts a child. Must be called within a runtime on the daemon's main thread.
    pub fn start(spec: EngineSpec, id: EngineId, driver: mpsc::Sender<EngineReport>) -> Self {
        // For each running job a submit or resume, a cancel, a park and a session that begins anew, for each parked job a cancel; a
        // trim, an ease, a duty, openings and a stop; and room for those that a dying child doesn't read.
        let (commands, commands_out) = mpsc::channel((5 + PARKED_PER_SEQUENCE) * spec.load.jobs() as usize + 8);
        let (shown, load) = watch::channel(EngineLoad::default());
        let reports = Reports { model: spec.model.clone(), engine: id, driver, load: shown };
        let task = tokio::spawn(run(spec, commands_out, reports));
        Self { id, commands, load, task }
    }

    /// Its number.
    pub fn id(&self) -> EngineId {
        self.id
    }

    /// How much it does, as of the child's last heartbeat.
    pub fn load(&self) -> EngineLoad {
        *self.load.borrow()
    }

    /// Starts a job; false if the engine has no room, which a driver that counts its jobs never meets.
    pub fn submit(&self, job: EngineJob) -> bool {
        self.commands.try_send(Command::Submit(Box::new(job))).is_ok()
    }

    /// Stops a running job, which then ends with `cancelled`, or with its answer if that was faster; or forgets a parked one.
    pub fn cancel(&self, job: JobId) -> bool {
        self.commands.try_send(Command::Cancel(job)).is_ok()
    }

    /// Lets a running job make room for another: [`EngineEvent::Parked`] follows, unless it ends before. False if that could
    /// not be told now.
    pub fn park(&self, job: JobId) -> bool {
        self.commands.try_send(Command::Park(job)).is_ok()
    }

    /// Goes on with a parked job; false as with [`Engine::submit`].
    pub fn resume(&self, job: JobId) -> bool {
        self.commands.try_send(Command::Resume(job)).is_ok()
    }

    /// Tells what prompts of the operator's begin with; false if that could not be told now.
    pub fn set_openings(&self, openings: Vec<Opening>) -> bool {
        self.commands.try_send(Command::Openings(openings)).is_ok()
    }

    /// Has the child forget what the sessions of a client have left, or one of them; false if that could not be told now.
    pub fn forget(&self, client: u64, session: Option<u64>) -> bool {
        self.commands.try_send(Command::Forget { client, session }).is_ok()
    }

    /// Has the child give back memory that it doesn't need now, and keep nothing that is only there to be fast; false if that could
    /// not be told now.
    pub fn trim(&self) -> bool {
        self.commands.try_send(Command::Trim).is_ok()
    }

    /// Tells that memory is short no more; false if that could not be told now.
    pub fn ease(&self) -> bool {
        self.commands.try_send(Command::Ease).is_ok()
    }

    /// Has the child compute so much of the time; false if that could not be told now.
    pub fn set_duty(&self, duty: Duty) -> bool {
        self.commands.try_send(Command::Duty(duty)).is_ok()
    }

    /// Ends the child; its jobs are given back, then comes [`EngineEvent::Gone`].
    pub fn stop(&self) {
        if self.commands.try_send(Command::Stop).is_err() {
            tracing::debug!("the engine is ending already");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(spec: EngineSpec, mut commands: mpsc::Receiver<Command>, reports: Reports) {
    let end = match Session::start(&spec, &reports).await {
        Ok(session) => session.run(&mut commands).await,
        Err(error) => EngineEnd::Failed { error, served: None },
    };
    // What was sent before the driver heard of the end has not begun.
    commands.close();
    while let Some(command) = commands.recv().await {
        let job = match command {
            Command::Submit(job) => job.id,
            Command::Resume(job) => job,
            _ => continue,
        };
        reports.send(EngineEvent::Returned { job, crashed: false }).await;
    }
    reports.send(EngineEvent::Gone(end)).await;
}
