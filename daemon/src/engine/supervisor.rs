//! Keeps one engine child alive: starts it, feeds it jobs, watches its progress, and starts a new one when it ends.
//!
//! ```text
//!            spawn, hello           loaded                       ended, killed, stalled
//! Starting ─────────────▶ Loading ─────────▶ Serving ──────────────────────────┐
//!    ▲                       │ refused, timeout  │                              ▼
//!    └───────────────────────┴───────────────────┴───────── back-off ◀── jobs fail with engine_failed
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::EngineError;
use super::protocol::{Answer, EngineJob, LoadParams, ModelReport};
use super::session::{Session, SessionEnd};
use crate::engine::ModelFile;
use crate::job::{JobError, JobId, ModelName};

/// First pause before a new child, doubled up to the last.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_mins(1);

/// A child that served this long was sound: the next pause is the first again.
const STABLE: Duration = Duration::from_mins(1);

/// What one engine runs.
#[derive(Debug, Clone)]
pub struct EngineSpec {
    /// The model's name.
    pub model: ModelName,
    /// Its file.
    pub file: Arc<ModelFile>,
    /// How to load it.
    pub load: LoadParams,
    /// Longest time to load.
    pub load_timeout: Duration,
    /// Longest time without progress.
    pub heartbeat_timeout: Duration,
}

/// From the engine to the driver, in the order of a child's life.
#[derive(Debug)]
pub enum EngineEvent {
    /// A child reads the model: the share that is done, 0 to 1.
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
    /// The child serves no more: it gets no jobs, and those that run in it end after this.
    Interrupted,
    /// A job came too late for its child and has not begun: it may wait again.
    Returned(JobId),
    /// The child is gone; the jobs that ran in it have ended before this.
    Down {
        /// Why.
        error: EngineError,
        /// When the next one starts; none if this daemon can't start one any more.
        restart: Option<Duration>,
    },
}

/// An event and where it comes from.
#[derive(Debug)]
pub struct EngineReport {
    /// The engine's model.
    pub model: ModelName,
    /// What happened.
    pub event: EngineEvent,
}

/// The way to the driver, with the engine's name on everything. Deltas are bounded by credits, the rest by the number of
/// sequences, and each waits for room.
#[derive(Debug, Clone)]
pub(super) struct Reports {
    model: ModelName,
    driver: mpsc::Sender<EngineReport>,
}

impl Reports {
    /// Tells the driver; false if there is none any more, and then nobody waits for this.
    pub(super) async fn send(&self, event: EngineEvent) -> bool {
        self.driver.send(EngineReport { model: self.model.clone(), event }).await.is_ok()
    }
}

/// From the driver to the engine.
#[derive(Debug)]
pub(super) enum Command {
    Submit(Box<EngineJob>),
    Cancel(JobId),
}

/// A supervised engine. Dropping it ends the child.
#[derive(Debug)]
pub struct Engine {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

impl Engine {
    /// Starts to supervise. Must be called within a runtime on the daemon's main thread.
    pub fn start(spec: EngineSpec, driver: mpsc::Sender<EngineReport>) -> Self {
        // A submit and a cancel for each sequence, and room for those of a child that is gone.
        let (commands, commands_out) = mpsc::channel(4 * spec.load.sequences as usize + 4);
        let reports = Reports { model: spec.model.clone(), driver };
        let task = tokio::spawn(supervise(spec, commands_out, reports));
        Self { commands, task }
    }

    /// Starts a job; false if the engine has no room, which a driver that counts its jobs never meets.
    pub fn submit(&self, job: EngineJob) -> bool {
        self.commands.try_send(Command::Submit(Box::new(job))).is_ok()
    }

    /// Stops a running job; it then ends with `cancelled`, or with its answer if that was faster.
    pub fn cancel(&self, job: JobId) -> bool {
        self.commands.try_send(Command::Cancel(job)).is_ok()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn supervise(spec: EngineSpec, mut commands: mpsc::Receiver<Command>, reports: Reports) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let (error, served) = match Session::start(&spec, &reports).await {
            Err(error) => (error, None),
            Ok(session) => match session.run(&spec, &mut commands, &reports).await {
                SessionEnd::Failed { error, served } => (error, served),
                SessionEnd::Released => return,
            },
        };
        if served.is_some_and(|served| served > STABLE) {
            backoff = BACKOFF_MIN;
        }
        let last = matches!(error, EngineError::Replaced);
        let restart = (!last).then_some(backoff);
        if !reports.send(EngineEvent::Down { error, restart }).await || last {
            return;
        }
        if timeout(backoff, give_back(&mut commands, &reports)).await.is_ok() {
            return;
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Gives back what was sent before the driver heard that the child is gone. Returns when the driver lets go of the engine.
async fn give_back(commands: &mut mpsc::Receiver<Command>, reports: &Reports) {
    while let Some(command) = commands.recv().await {
        if let Command::Submit(job) = command {
            reports.send(EngineEvent::Returned(job.id)).await;
        }
    }
}
