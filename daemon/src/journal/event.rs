//! What the journal tells the driver.

use crate::job::{ClientName, JobId, Memory, SessionName};

use super::Outcome;

/// The number of a change. Later ones are greater, and are written together or in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Every change up to this one is written.
    Committed(Ticket),
    /// The disk takes no more, for this reason. What was not committed is kept in memory and tried again.
    Unwritable(String),
    /// The disk takes it again.
    Writable,
    /// An outcome that was asked for.
    Fetched {
        /// Of which job.
        job: JobId,
        /// None if it is not there any more or can't be read.
        outcome: Option<Outcome>,
    },
    /// What a session remembers, which was asked for.
    Recalled {
        /// Whose session.
        client: ClientName,
        /// Which.
        session: SessionName,
        /// None if it is not there any more or can't be read.
        memory: Option<Memory>,
    },
    /// The thread is gone: nothing is written any more. A defect.
    Gone,
}

/// How far the thread is. The last word counts, so that nothing ever waits for the driver to listen.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The number of the last change that is written.
    pub written: u64,
    /// Why nothing can be written, if that is so.
    pub trouble: Option<String>,
}
