//! Why there is no control socket.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A control socket that cannot be made.
#[derive(Debug, Error)]
pub enum ControlError {
    /// A socket's address has room for a short path only.
    #[error("the control socket's path {path} has {length} bytes; allowed are 1 to {max}")]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// The folder is missing and cannot be made, or it cannot be locked.
    #[error("cannot use the control socket's folder {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else has the name.
    #[error("{path} exists and is no socket; remove it or configure another path")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// A socket that nobody serves, and that is not ours to remove.
    #[error("the abandoned socket {path} belongs to user {owner}; this process is user {user}")]
    Foreign {
        /// The path.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Another daemon serves it, or is about to.
    #[error("another daemon has the control socket {path}")]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The operating system refuses something.
    #[error("cannot make the control socket {path}: {source}")]
    Socket {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
