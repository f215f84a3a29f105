//! Between the driver and the thread that writes: neither ever waits for the other to make room.
//!
//! The driver puts changes in and goes on. The thread takes all of them at once, which is the group of a group commit. What
//! comes back is one number, how far everything is written, and the answers to questions, whose places are counted.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Outcome;
use super::batch::{Batch, SessionRow, Write};
use super::sessions::SessionKey;
use super::throttle::{ENOUGH, Throttle, Waiting};
use super::time::Stamp;
use crate::job::JobId;

/// Something that is in the file.
pub(super) enum Question {
    Outcome(JobId),
    /// The memory of a session, by its number.
    Session(u64, SessionKey),
}

/// What the thread has to do next.
pub(super) struct Work {
    /// To be written, if there is anything.
    pub batch: Batch,
    /// What is asked for.
    pub questions: VecDeque<Question>,
    /// Nothing more comes.
    pub closing: bool,
}

#[derive(Default)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    batch: Batch,
    questions: VecDeque<Question>,
    /// When the first change of the batch came.
    since: Option<Instant>,
    numbers: u64,
    /// Bytes that the thread is writing.
    taken: u64,
    closing: bool,
}

impl State {
    /// When the batch is to be written; none if it is empty.
    fn due(&self, throttle: &Throttle, not_before: Option<Instant>) -> Option<Instant> {
        let waiting = Waiting { since: self.since?, changes: self.batch.changes.len(), sync: self.batch.sync };
        Some(throttle.due(waiting)).max(not_before)
    }
}

impl Mailbox {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock leaves it half changed when it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a change in and gives its number. `sync`: it must be on the disk when its number is told.
    pub fn put(&self, job: JobId, write: Write, sync: bool) -> u64 {
        self.add(sync, |batch| batch.push(job, write))
    }

    /// Puts the end of a job in, and in the same transaction what its session is then. Gives its number.
    pub fn finish_turn(&self, job: JobId, (at, outcome): (Stamp, Outcome), session: u64, row: SessionRow) -> u64 {
        self.add(true, |batch| {
            batch.push(job, Write::Finish(at, outcome));
            batch.push_session(session, Some(row));
        })
    }

    /// Sessions go.
    pub fn forget_sessions(&self, numbers: &[u64]) {
        self.add(true, |batch| numbers.iter().for_each(|&number| batch.push_session(number, None)));
    }

    fn add(&self, sync: bool, push: impl FnOnce(&mut Batch)) -> u64 {
        let mut state = self.state();
        state.numbers += 1;
        state.batch.last = state.numbers;
        // The thread sleeps until the first, and looks again when somebody waits for it and when there are enough.
        let urgent = sync && !state.batch.sync;
        state.batch.sync |= sync;
        push(&mut state.batch);
        let idle = state.since.is_none();
        state.since.get_or_insert_with(Instant::now);
        let number = state.numbers;
        let wake = urgent || idle || state.batch.changes.len() == ENOUGH;
        drop(state);
        if wake {
            self.changed.notify_one();
        }
        number
    }

    /// Keeps a moment with the next changes.
    pub fn note(&self, stamp: Stamp) {
        let mut state = self.state();
        state.batch.note = Some(stamp);
        state.since.get_or_insert_with(Instant::now);
        drop(state);
        self.changed.notify_one();
    }

    /// Asks something. The caller bounds the number of questions.
    pub fn ask(&self, question: Question) {
        self.state().questions.push_back(question);
        self.changed.notify_one();
    }

    /// Bytes that are not written yet.
    pub fn bytes(&self) -> u64 {
        let state = self.state();
        state.batch.bytes + state.taken
    }

    /// Ends it, with a last moment to keep.
    pub fn close(&self, stamp: Stamp) {
        let mut state = self.state();
        state.closing = true;
        state.batch.note = Some(stamp);
        drop(state);
        self.changed.notify_one();
    }

    /// Waits until there is something to do: questions at once, changes when they are due and not before that time, if it is
    /// given.
    pub fn take(&self, throttle: &Throttle, not_before: Option<Instant>) -> Work {
        let mut state = self.state();
        loop {
            let rest = state.due(throttle, not_before).map(|at| at.saturating_duration_since(Instant::now()));
            let due = state.closing || rest.is_some_and(|rest| rest.is_zero());
            if due || !state.questions.is_empty() {
                let batch = if due { std::mem::take(&mut state.batch) } else { Batch::default() };
                state.since = state.since.filter(|_| !due);
                state.taken = batch.bytes;
                return Work { batch, questions: std::mem::take(&mut state.questions), closing: state.closing };
            }
            state = match rest {
                // Nothing wakes it while there is nothing.
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(rest) => self.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// What was taken last is written.
    pub fn written(&self) {
        self.state().taken = 0;
    }

    /// What was taken last could not be written: it comes first again.
    pub fn put_back(&self, mut batch: Batch) {
        let mut state = self.state();
        batch.append(std::mem::take(&mut state.batch));
        state.batch = batch;
        state.since.get_or_insert_with(Instant::now);
        state.taken = 0;
    }

    /// What a session remembers, if that waits to be written; nothing if the session goes.
    pub fn session(&self, number: u64) -> Option<Vec<u8>> {
        self.state().batch.session(number).map(<[u8]>::to_vec)
    }

    /// The outcome of a job, if it waits to be written.
    pub fn outcome(&self, job: JobId) -> Option<Outcome> {
        self.state().batch.outcome(job).cloned()
    }
}
