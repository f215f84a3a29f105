//! The file: the only place that speaks SQL.

mod files;
mod open;
mod rows;
mod schema;
mod session_rows;

use std::path::PathBuf;

use rusqlite::{Connection, TransactionBehavior};

use super::Outcome;
use super::batch::Batch;
use super::time::Stamp;
use crate::job::JobId;

pub use files::Files;
pub(super) use open::{Opened, open};
pub(super) use rows::{ReadJob, Rows};
use rows::{Run, Writer};
pub(super) use session_rows::ReadSession;

/// An open journal.
pub(super) struct Store {
    connection: Connection,
    /// None in memory.
    path: Option<PathBuf>,
    /// Whether the next commit waits for the disk.
    sync: bool,
}

impl Store {
    /// Writes a batch, whole or not at all.
    pub fn write(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        self.set_sync(batch.sync)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut writer = Writer::new(&transaction)?;
        for (job, change) in &batch.changes {
            writer.write(*job, change)?;
        }
        drop(writer);
        session_rows::write(&transaction, &batch.sessions)?;
        if let Some(stamp) = batch.note {
            rows::note(&transaction, stamp, Run::Begun)?;
        }
        transaction.commit()
    }

    /// With FULL, a commit appends to the write-ahead log and calls fsync on it: one fsync for each batch. What it returned
    /// for is found after a loss of power, because the log is read from its begin to the first frame whose checksum is
    /// wrong. When the log is moved to the file, log and file are synced before the log begins anew. The
    /// folder is synced when log and file are made.
    ///
    /// With NORMAL only the fsync at the commit is left out: the kernel has the frames, so that they outlive this process,
    /// and the next fsync takes them along. A batch of marks that may be lost with the power wears no flash of its own.
    fn set_sync(&mut self, sync: bool) -> rusqlite::Result<()> {
        if self.sync != sync {
            self.connection.pragma_update(None, "synchronous", if sync { "FULL" } else { "NORMAL" })?;
            self.sync = sync;
        }
        Ok(())
    }

    /// Moves the log to the file and makes it empty. After a write that failed: an fsync that fails may have thrown away
    /// what the kernel had, so that later frames would lie behind a hole.
    pub fn checkpoint(&self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    /// The outcome of a job, if it has ended.
    pub fn outcome(&self, job: JobId) -> rusqlite::Result<Option<Outcome>> {
        rows::outcome(&self.connection, job)
    }

    /// What a session remembers, if there is such a session.
    pub fn session(&self, number: u64) -> rusqlite::Result<Option<Vec<u8>>> {
        session_rows::content(&self.connection, number)
    }

    /// Begins a run: what was running no longer is, and that counts for it. What can't be read goes.
    pub fn begin(&mut self, stamp: Stamp, unreadable: &[JobId]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for &job in unreadable {
            transaction.execute("DELETE FROM job WHERE number = ?1", [rows::number(job)])?;
            transaction.execute("DELETE FROM step WHERE number = ?1", [rows::number(job)])?;
        }
        rows::stop_running(&transaction, 1)?;
        rows::note(&transaction, stamp, Run::Begun)?;
        transaction.commit()
    }

    /// Ends a run as it should: what was running goes on with the next one.
    pub fn end(mut self, stamp: Stamp) -> rusqlite::Result<()> {
        self.set_sync(true)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        rows::stop_running(&transaction, 0)?;
        rows::note(&transaction, stamp, Run::Ended)?;
        transaction.commit()?;
        self.connection.close().map_err(|(_, error)| error)
    }

    /// The request of an open job.
    pub fn request(&self, job: JobId) -> rusqlite::Result<Option<Vec<u8>>> {
        rows::request(&self.connection, job)
    }

    /// The steps of an open job that are done.
    pub fn steps(&self, job: JobId) -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
        rows::steps(&self.connection, job)
    }

    /// The file, for messages.
    pub fn name(&self) -> PathBuf {
        self.path.clone().unwrap_or_else(|| ":memory:".into())
    }
}
