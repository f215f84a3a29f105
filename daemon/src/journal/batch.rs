//! What waits to be written.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::index::Key;
use super::sessions::SessionKey;
use super::time::Stamp;
use super::{Outcome, Settlement};
use crate::job::JobId;

/// A job that was accepted.
pub(super) struct NewRow {
    pub key: Arc<Key>,
    pub fingerprint: [u8; 32],
    /// When it was received.
    pub at: Stamp,
    /// Bytes that its outcome may take.
    pub reserve: u64,
    /// The request.
    pub record: Vec<u8>,
}

/// A step of a job's life.
pub(super) enum Write {
    Accept(NewRow),
    Stage(Stage),
    /// A step of its work is done: its name, and what has come of it.
    Step(String, Vec<u8>),
    /// It has ended, and what came of its steps is of no use any more.
    ForgetSteps,
    Finish(Stamp, Outcome),
    Settle(Settlement),
    Remove,
}

/// A session as it shall be.
pub(super) struct SessionRow {
    pub key: Arc<SessionKey>,
    /// When it was used.
    pub at: Stamp,
    /// What it remembers.
    pub content: Vec<u8>,
}

/// Where an open job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stage {
    pub running: bool,
    pub crashes: u32,
}

/// How a job's row shall become, in this order. It says how the row is afterwards, not what happens to it: written twice it does
/// no harm.
#[derive(Default)]
pub(super) struct Change {
    pub accept: Option<NewRow>,
    pub stage: Option<Stage>,
    /// Steps of its work, by their names.
    pub steps: BTreeMap<String, Vec<u8>>,
    /// Those that are there go.
    pub forget_steps: bool,
    pub finish: Option<(Stamp, Outcome)>,
    pub settle: Option<Settlement>,
    /// It goes, whatever else was to be.
    pub remove: bool,
}

impl Change {
    /// Adds what came later.
    fn push(&mut self, write: Write) {
        match write {
            Write::Accept(row) => self.accept = Some(row),
            Write::Stage(stage) => self.stage = Some(stage),
            Write::Step(name, record) => _ = self.steps.insert(name, record),
            Write::ForgetSteps => {
                self.steps.clear();
                self.forget_steps = true;
            }
            Write::Finish(at, outcome) => {
                if let Some(row) = &mut self.accept {
                    // Nobody will ask for it any more.
                    row.record = Vec::new();
                }
                self.finish = Some((at, outcome));
            }
            Write::Settle(settlement) => self.settle = Some(settlement),
            Write::Remove => {
                let (accept, forget_steps) = (self.accept.take(), self.forget_steps);
                *self = Self { remove: true, accept, forget_steps, ..Self::default() };
            }
        }
    }

    fn append(&mut self, later: Self) {
        let Self { accept, stage, steps, forget_steps, finish, settle, remove } = later;
        let finish = finish.map(|(at, outcome)| Write::Finish(at, outcome));
        let writes = [accept.map(Write::Accept), stage.map(Write::Stage), finish, settle.map(Write::Settle)];
        let forget = forget_steps.then_some(Write::ForgetSteps);
        let steps = steps.into_iter().map(|(name, record)| Write::Step(name, record));
        let writes = forget.into_iter().chain(steps).chain(writes.into_iter().flatten());
        for write in writes.chain(remove.then_some(Write::Remove)) {
            self.push(write);
        }
    }

    /// A job that comes and goes before anything was written.
    fn is_nothing(&self) -> bool {
        self.remove && self.accept.is_some()
    }

    /// Bytes of its texts.
    fn bytes(&self) -> u64 {
        let record = self.accept.as_ref().map_or(0, |row| row.record.len() as u64);
        let steps: usize = self.steps.iter().map(|(name, record)| name.len() + record.len()).sum();
        record + steps as u64 + self.finish.as_ref().map_or(0, |(_, outcome)| outcome.size())
    }
}

/// Changes that become one transaction.
///
/// Bounded, however long the disk takes nothing: there is one for each job, texts are bounded by
/// [`Journal::accept`](super::Journal::accept), which looks at `bytes`, and one that goes before it was written leaves
/// nothing. Of a session there is what it is at last, and what sessions take together is bounded.
#[derive(Default)]
pub(super) struct Batch {
    /// By number, which is the order of receipt: rows that are neighbours are written together.
    pub changes: BTreeMap<JobId, Change>,
    /// By number; none for one that goes.
    pub sessions: BTreeMap<u64, Option<SessionRow>>,
    /// A moment to keep.
    pub note: Option<Stamp>,
    /// Of texts, in all changes together.
    pub bytes: u64,
    /// It must be on the disk, not only with the kernel.
    pub sync: bool,
    /// The number of its last step; 0 without any.
    pub last: u64,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.last == 0 && self.note.is_none()
    }

    pub fn push(&mut self, job: JobId, write: Write) {
        self.change(job, |change| change.push(write));
    }

    fn change(&mut self, job: JobId, apply: impl FnOnce(&mut Change)) {
        let change = self.changes.entry(job).or_default();
        self.bytes -= change.bytes();
        apply(change);
        if change.is_nothing() {
            self.changes.remove(&job);
        } else {
            self.bytes += change.bytes();
        }
    }

    /// A session shall be so, or not be at all.
    pub fn push_session(&mut self, number: u64, row: Option<SessionRow>) {
        let bytes = |row: &Option<SessionRow>| row.as_ref().map_or(0, |row| row.content.len() as u64);
        self.bytes += bytes(&row);
        self.bytes -= self.sessions.insert(number, row).as_ref().map_or(0, bytes);
    }

    /// Adds what came later.
    pub fn append(&mut self, later: Self) {
        for (job, change) in later.changes {
            self.change(job, |before| before.append(change));
        }
        for (number, row) in later.sessions {
            self.push_session(number, row);
        }
        self.note = later.note.or(self.note);
        self.sync |= later.sync;
        self.last = self.last.max(later.last);
    }

    /// What a session remembers, if that is about to be written; nothing if the session goes.
    pub fn session(&self, number: u64) -> Option<&[u8]> {
        self.sessions.get(&number).map(|row| row.as_ref().map_or(&[][..], |row| &row.content))
    }

    /// The outcome of a job, if it is about to be written.
    pub fn outcome(&self, job: JobId) -> Option<&Outcome> {
        self.changes.get(&job)?.finish.as_ref().map(|(_, outcome)| outcome)
    }
}
