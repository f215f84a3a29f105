//! What goes wrong with the journal.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode as Sqlite;
use thiserror::Error;

use crate::plan::Bytes;

/// Why there is no journal.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The folder or the file can't be reached.
    #[error("the journal's {path} cannot be used: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
    /// The file system takes no writes, or no more of them.
    #[error("the journal {path} cannot be written: {reason}")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        reason: String,
    },
    /// Another process has it.
    #[error("the journal {path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A later version of promptd has written it.
    #[error("the journal {path} has version {found}; this promptd knows versions up to {known}: install a newer one")]
    Newer {
        /// The file, which was not changed.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The latest version that is known.
        known: u32,
    },
    /// The thread that writes could not be started.
    #[error("the journal's thread cannot be started: {0}")]
    Thread(io::Error),
    /// SQLite refuses for another reason.
    #[error("the journal {path}: {source}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
}

impl JournalError {
    pub(super) fn of(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match Meaning::of(&source) {
            Meaning::Unwritable => Self::Unwritable { path, reason: source.to_string() },
            Meaning::InUse => Self::InUse { path },
            Meaning::Corrupt | Meaning::Other => Self::Sqlite { path, source },
        }
    }
}

/// Why a job was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// There is no room for it and its largest outcome.
    #[error("the journal has no room: {needed} are needed, {used} of {max} are taken (journal.size_max)")]
    Full {
        /// For the job and its outcome.
        needed: Bytes,
        /// By open jobs, what they may still need, and outcomes.
        used: Bytes,
        /// The limit.
        max: Bytes,
    },
    /// The disk is slower than requests come, or takes no writes: too much waits for it.
    #[error("the journal is behind: {waiting} wait for the disk; {max} is the limit")]
    Behind {
        /// What waits.
        waiting: Bytes,
        /// The limit.
        max: Bytes,
    },
    /// The client has a job of this name, open or ended: see [`Journal::find`](super::Journal::find).
    #[error("the client has another job with this id")]
    Known,
}

/// An outcome is larger than what was set aside for it, and there is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the outcome has {size}; {max} were set aside for it, and the journal has no room for more (journal.size_max)")]
pub struct OutcomeTooLarge {
    /// The outcome's.
    pub size: Bytes,
    /// What was set aside. An error always fits.
    pub max: Bytes,
}

/// What an error of SQLite means for its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// What is in the file makes no sense.
    Corrupt,
    /// It can't be written now.
    Unwritable,
    /// Somebody else has it.
    InUse,
    /// Anything else.
    Other,
}

impl Meaning {
    pub fn of(error: &rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
                Sqlite::DatabaseCorrupt | Sqlite::NotADatabase => Self::Corrupt,
                Sqlite::DiskFull
                | Sqlite::SystemIoFailure
                | Sqlite::ReadOnly
                | Sqlite::CannotOpen
                | Sqlite::PermissionDenied => Self::Unwritable,
                Sqlite::DatabaseBusy | Sqlite::DatabaseLocked => Self::InUse,
                _ => Self::Other,
            },
            // A column holds what nobody has written there.
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..) => Self::Corrupt,
            _ => Self::Other,
        }
    }
}
