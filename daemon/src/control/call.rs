//! A request on its way to the driver, and the way back.

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::job::{Control, JobError};

/// Progress that may wait for a slow peer; more of it is dropped.
const PROGRESS: usize = 8;

/// What an operator asks for.
#[derive(Debug)]
pub struct ControlCall {
    /// What to do.
    pub control: Control,
    /// Where its answer goes.
    pub reply: ControlReply,
}

/// The way back to the one who asked. Dropped without an answer, it answers `internal`.
#[derive(Debug)]
pub struct ControlReply {
    progress: mpsc::Sender<Progress>,
    end: oneshot::Sender<Result<Value, JobError>>,
}

/// Something that takes long goes on.
#[derive(Debug, PartialEq)]
pub(super) struct Progress {
    pub step: String,
    pub share: Option<f32>,
}

/// The other end of a [`ControlReply`].
pub(super) struct Answers {
    pub progress: mpsc::Receiver<Progress>,
    pub end: oneshot::Receiver<Result<Value, JobError>>,
}

impl ControlReply {
    pub(super) fn new() -> (Self, Answers) {
        let (progress, progress_of) = mpsc::channel(PROGRESS);
        let (end, end_of) = oneshot::channel();
        (Self { progress, end }, Answers { progress: progress_of, end: end_of })
    }

    /// Says what is being done, and the share of the whole that is done, 0 to 1, if it is known. Never waits: a peer that
    /// does not keep up misses some.
    pub fn progress(&self, step: &str, share: Option<f32>) {
        // Full, or nobody is there any more: either way it is not needed.
        let _ = self.progress.try_send(Progress { step: step.to_owned(), share });
    }

    /// Answers: with what the verb gives, or with why not.
    pub fn finish(self, end: Result<Value, JobError>) {
        // The peer may have gone; what it asked for is done all the same.
        let _ = self.end.send(end);
    }
}
