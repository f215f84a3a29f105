//! What goes wrong with an engine.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::derive::DeriveError;
use super::protocol::FromChild;
use crate::gguf::GgufError;

/// Errors of the parent side.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The model file cannot be opened or read.
    #[error("cannot read the model {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The model file is no GGUF that llama.cpp could load.
    #[error("{path} is not a usable GGUF file: {source}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: GgufError,
    },
    /// The model file is another one than configured.
    #[error("{path} has SHA-256 {found}; configured is {expected}")]
    WrongHash {
        /// The file.
        path: PathBuf,
        /// Its hash.
        found: String,
        /// The configured hash.
        expected: String,
    },
    /// A model that was imported has not the size that was promised.
    #[error("{found} bytes came; {expected} were promised")]
    WrongSize {
        /// What came.
        found: u64,
        /// What its source said.
        expected: u64,
    },
    /// The installation is incomplete.
    #[error("no folder of compute back ends beside the binary; looked at {0}")]
    NoBackends(String),
    /// The child could not be started.
    #[error("cannot start the engine process: {0}")]
    Spawn(#[source] io::Error),
    /// The binary was replaced by an upgrade, whose libraries this process must not meet.
    #[error("promptd was upgraded while running; it must be restarted")]
    Replaced,
    /// The child is of another build.
    #[error("the engine process is {found}, this daemon is {own}")]
    WrongBuild {
        /// What the child said.
        found: String,
        /// What the daemon is.
        own: String,
    },
    /// The connection to the child broke.
    #[error("the connection to the engine process failed: {0}")]
    Connection(#[from] io::Error),
    /// The child ended.
    #[error("the engine process ended: {0}")]
    Ended(String),
    /// The child was killed.
    #[error("the engine process was killed, as the kernel does when memory runs out")]
    Killed,
    /// The child made no progress.
    #[error("the engine process made no progress for {0:?}")]
    Stalled(std::time::Duration),
    /// The load took too long.
    #[error("the load made no progress for {0:?}")]
    LoadTimeout(std::time::Duration),
    /// The child answered something else than it was asked.
    #[error("the engine process sent an unexpected {0}")]
    Unexpected(String),
    /// The child was not done with its errand in time.
    #[error("the engine process was not done after {0:?}")]
    Overdue(std::time::Duration),
    /// The child refused the model.
    #[error("{0}")]
    Refused(String),
    /// A model could not be written, for another reason than its child's.
    #[error(transparent)]
    Derive(#[from] DeriveError),
}

impl EngineError {
    /// Whether it tells of no fault of the model or its strategy: somebody killed or stopped the process. Whether that was
    /// the kernel, which wanted its memory, is for others to find out.
    pub fn is_blameless(&self) -> bool {
        matches!(self, Self::Killed | Self::Stalled(_))
    }

    /// A message that has no place here; never quotes text.
    pub(super) fn unexpected(message: &FromChild) -> Self {
        let text = format!("{message:?}");
        let name = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        Self::Unexpected(name.to_owned())
    }
}
