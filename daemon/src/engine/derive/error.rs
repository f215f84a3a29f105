//! What goes wrong with a model that is written, besides its child.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::job::Precision;
use crate::plan::Bytes;

/// Errors of files and folders of models that promptd writes.
#[derive(Debug, Error)]
pub enum DeriveError {
    /// More bits than the source has.
    #[error("{to} cannot be derived from a model of {from}: it has no more than that")]
    NotLower {
        /// What the source is.
        from: Precision,
        /// What was asked for.
        to: Precision,
    },
    /// The disk has no room for it.
    #[error("{folder} has {available} free; about {needed} for the model and {reserve} of reserve are needed")]
    NoSpace {
        /// Where the model would go.
        folder: PathBuf,
        /// Its size.
        needed: Bytes,
        /// What stays free for others.
        reserve: Bytes,
        /// What is free.
        available: Bytes,
    },
    /// The folder of derived models has no room for it.
    #[error("the models in {folder} have {used}; with about {needed} more they exceed the limit of {limit}")]
    FolderFull {
        /// The folder.
        folder: PathBuf,
        /// What they have together.
        used: Bytes,
        /// The new one's size.
        needed: Bytes,
        /// What they may have.
        limit: Bytes,
    },
    /// The disk ran full meanwhile.
    #[error("the disk is full: cannot write {path}: {source}")]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
    /// Others took what was to stay free.
    #[error("the disk is full: {folder} has {available} free, less than {reserve} of reserve")]
    DiskLow {
        /// The folder.
        folder: PathBuf,
        /// What stays free for others.
        reserve: Bytes,
        /// What is free.
        available: Bytes,
    },
    /// Another process makes the same.
    #[error("another promptd is writing {0}")]
    Busy(PathBuf),
    /// The result would replace something.
    #[error("{0} exists already")]
    Exists(PathBuf),
    /// The result is not what was asked for.
    #[error("the quantizer wrote a {found} file; {expected} was asked for")]
    WrongResult {
        /// What it is.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A file or folder cannot be used.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DeriveError {
    /// Whether there would be success with more room on the disk.
    pub fn is_storage(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::FolderFull { .. } | Self::DiskFull { .. } | Self::DiskLow { .. })
    }
}
