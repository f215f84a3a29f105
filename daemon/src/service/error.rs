//! Why the daemon ends other than by a signal.

use std::io;

use thiserror::Error;

use crate::engine::EngineError;
use crate::journal::JournalError;
use crate::mqtt::TopicError;

/// Errors that end the daemon.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// The configured root cannot be a topic.
    #[error("mqtt.root: {0}")]
    Topic(#[from] TopicError),
    /// The engine cannot be found or started at all.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no journal, not even in memory.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The thread that reads the journal has panicked: a defect.
    #[error("the journal could not be read: its thread panicked")]
    JournalPanicked,
    /// Signals cannot be watched.
    #[error("cannot watch for signals: {0}")]
    Signals(#[from] io::Error),
}
