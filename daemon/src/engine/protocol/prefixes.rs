//! What the protocol says of prompts that are kept.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::job::{Message, TaskName};
use crate::plan::Bytes;

/// What is kept of prompts that have been computed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefixes {
    /// Most memory for it.
    pub most: Bytes,
    /// SHA-256 of the model's file, lower-case hex.
    pub model: String,
    /// Where operator's prompts are kept for the next start; none where nothing may be written.
    pub disk: Option<PrefixFolder>,
}

/// A folder for what operator's prompts begin with, of all models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixFolder {
    /// Where; the child makes it if it is missing.
    pub path: PathBuf,
    /// Most bytes of all files in it.
    pub most: Bytes,
    /// What stays free of its file system.
    pub reserve: Bytes,
}

impl PrefixFolder {
    /// What the names of files of a model begin with, of the SHA-256 of its file in hex.
    pub fn mark(model: &str) -> &str {
        model.get(..16).unwrap_or(model)
    }
}

/// A text of the operator's that prompts are made of. Each is one of its own, also among the steps of a pipeline: what a client
/// gives may be all of the prompt of one step, which must not find out what another one's begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instructions {
    /// The task or pipeline.
    pub task: TaskName,
    /// The step of a pipeline that says something itself.
    pub step: Option<String>,
}

/// What prompts with instructions of the operator's begin with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// Which.
    pub instructions: Instructions,
    /// Whole messages, and the beginning of the last one.
    pub messages: Vec<Message>,
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opening({}, {} messages)", self.instructions.task, self.messages.len())
    }
}

/// A session of a client, in numbers that tell the child nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionNumber {
    /// The same for all sessions of a client.
    pub client: u64,
    /// The session.
    pub session: u64,
}

/// The session that a job is a turn of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionUse {
    /// Which.
    pub number: SessionNumber,
    /// How long it is remembered if nobody goes on with it.
    pub keep: Duration,
}
