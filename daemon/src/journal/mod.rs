//! The journal: accepted jobs and their outcomes, on disk, so that a job is never lost and ends once.
//!
//! ```text
//! accept ──▶ start ⇄ put_back ──▶ finish ──▶ settle ──(journal.keep)──▶ gone
//!   │commit                          │commit    │
//!   ▼                                ▼          └ Delivered, or Missed: can be fetched
//! PUBACK to the client's message   publish
//! ```
//! The driver owns a [`Journal`], whose methods never wait. One thread of its own owns the file. What the driver puts in
//! becomes a transaction: at once after a quiet time, else together with what came until the end of `journal.commit_window`
//! (`throttle`) or while the disk was busy. [`Event::Committed`] tells how far it is: what was promised with a lower [`Ticket`]
//! holds. What is known without the texts is in memory, so that to look for a duplicate or for room costs no look at the disk.
//!
//! What reaches the disk, and when. A request and an outcome are synced before their tickets are told: this is the promise.
//! Marks (it runs, it was given back, the broker has it) are handed to the kernel with the same transactions and wait for no
//! fsync: they outlive the daemon, and a loss of power may take the last of them, after which a job begins anew or an answer
//! is published twice.
//!
//! A job that brings down the engine is counted by the driver through [`Journal::put_back`]. One that brings down the daemon or
//! the machine is found at the next start, because its mark says that it was running: [`OpenJob::deaths`]. As the mark may be
//! lost with the power, a job that has been through such an end starts again only when its mark is on the disk
//! ([`OpenJob::suspect`]). So one that ends the machine each time is known after at most one more, and in ordinary life no start
//! waits for the disk.
//!
//! What sessions remember (`remembering`) is kept here, too: a turn with the outcome of its job in one transaction, so that no
//! end of the daemon loses it or doubles it. Each session is one row, written whole.
//!
//! When the disk takes no more, everything stays in memory and is tried again, ever less often; [`Event::Unwritable`] tells it.
//! Whether to take new work then is for others to decide. What waits is bounded: by [`Refused::Behind`], and by the open jobs.

mod batch;
mod error;
mod event;
mod handle;
mod index;
mod mailbox;
mod outcome;
mod record;
mod recovery;
mod remembering;
mod sessions;
mod space;
mod step;
mod store;
mod throttle;
mod time;
mod worker;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

pub use error::{JournalError, OutcomeTooLarge, Refused};
pub use event::{Event, Ticket};
pub use handle::{Clock, Journal, NewJob, Usage};
pub use index::Known;
pub use outcome::{Outcome, Settlement};
pub use recovery::{OpenJob, Recovery};
pub use remembering::{Recall, Turn};
pub use store::Files;
pub use time::Moment;

use crate::config::Durability;
use crate::plan::Bytes;

/// Where the journal is and what it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The folder of its file, which is made if it is missing.
    pub folder: PathBuf,
    /// Whether there is a file.
    pub durability: Durability,
    /// The disk is synced once in this time at most, unless very many changes wait.
    pub commit_window: Duration,
    /// Most bytes of file and write-ahead log together; 16 MiB at least.
    pub size_max: Bytes,
}
