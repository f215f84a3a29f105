//! What sessions remember: a turn is kept with the outcome of its job, in one transaction.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::batch::SessionRow;
use super::handle::Journal;
use super::index::Stage;
use super::mailbox::Question;
use super::sessions::SessionKey;
use super::space::pages;
use super::{Outcome, OutcomeTooLarge, Ticket};
use crate::job::{ClientName, JobId, Memory, SessionName};
use crate::plan::Bytes;

const VERSION: u32 = 1;

/// Of what the file may take, sessions take so much at most: jobs need the rest.
const SHARE: u64 = 4;

/// What a record has around its memory.
const FRAME: u64 = 64;

/// What a session remembers after a turn.
#[derive(Debug, Clone)]
pub struct Turn {
    /// The client's name for the session.
    pub session: SessionName,
    /// All that it remembers.
    pub memory: Memory,
    /// Most sessions of the client: of more, the one goes that was not used for the longest time.
    pub per_client: usize,
}

/// Whether a session can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recall {
    /// There is no such session.
    Nothing,
    /// What it remembers comes as [`Event::Recalled`](super::Event::Recalled).
    Asked,
    /// Too much has been asked for already.
    Later,
}

#[derive(Serialize)]
struct Record<'a> {
    version: u32,
    memory: &'a Memory,
}

/// Writes what [`read`] reads.
fn write(memory: &Memory) -> Vec<u8> {
    // Only maps with keys that are no strings can fail, and there are none.
    serde_json::to_vec(&Record { version: VERSION, memory }).unwrap_or_default()
}

/// None if it is of another version, or none at all.
pub(super) fn read(bytes: &[u8]) -> Option<Memory> {
    #[derive(Deserialize)]
    struct Read {
        version: u32,
        memory: Memory,
    }
    let Read { version, memory } = serde_json::from_slice(bytes).ok()?;
    (version == VERSION).then_some(memory)
}

/// Pages that a job keeps free for its session, if it has one, which may have so many bytes.
pub(super) fn session_pages(size_max: Option<u64>) -> u64 {
    size_max.map_or(0, |size_max| pages(size_max.saturating_add(FRAME)))
}

impl Journal {
    /// As [`Journal::finish`], of a job that was a turn of a session.
    pub fn finish_turn(
        &mut self,
        job: JobId,
        outcome: Outcome,
        turn: &Turn,
    ) -> Result<Option<Ticket>, OutcomeTooLarge> {
        let Some(entry) = self.index.get(job) else { return Ok(None) };
        let Stage::Open { outcome_max, .. } = entry.stage else { return Ok(None) };
        let key = Arc::new((entry.key.0.clone(), turn.session.clone()));
        let content = write(&turn.memory);
        let number = self.sessions.number_of(&key);
        let needed = pages(content.len() as u64);
        if !self.make_room((job, &key, number), pages(outcome.size()), needed, turn.per_client) {
            let size = outcome.size() + content.len() as u64;
            return Err(OutcomeTooLarge { size: Bytes(size), max: Bytes(outcome_max) });
        }
        let at = self.now();
        self.leave(number);
        self.sessions.insert(number, Arc::clone(&key), at.counted, needed);
        self.index.space.used += needed;
        self.end(job, &outcome, at);
        let row = SessionRow { key, at, content };
        Ok(Some(Ticket(self.mailbox.finish_turn(job, (at, outcome), number, row))))
    }

    /// Forgets other sessions, longest unused first, until the client has no more than it may have and there is room for an outcome
    /// and for what a session shall take. False: there is none, and none is forgotten.
    fn make_room(
        &mut self,
        (job, key, number): (JobId, &SessionKey, u64),
        outcome: u64,
        session: u64,
        per_client: usize,
    ) -> bool {
        // What was set aside for the job makes room for both, unless another run has accepted it, which has told nobody how much.
        let own = self.index.get(job).map_or(0, |entry| entry.pages) + self.sessions.pages_of(number);
        let more = (outcome + session).saturating_sub(own);
        let share = self.index.space.max / SHARE;
        let others = self.sessions.pages() - self.sessions.pages_of(number);
        if session > share || (more > others && !self.index.space.fits(more - others)) {
            return false;
        }
        self.forget_numbers(&self.sessions.beyond(&key.0, number, per_client));
        loop {
            let all = self.sessions.pages() - self.sessions.pages_of(number) + session;
            if all <= share && (more == 0 || self.index.space.fits(more)) {
                return true;
            }
            let Some(oldest) = self.sessions.oldest_but(number) else { return false };
            self.forget_numbers(&[oldest]);
        }
    }

    /// Asks for what a session remembers.
    pub fn recall(&mut self, client: &ClientName, session: &SessionName) -> Recall {
        let key = (client.clone(), session.clone());
        let Some(number) = self.sessions.find(&key) else { return Recall::Nothing };
        if self.ask(Question::Session(number, key)) { Recall::Asked } else { Recall::Later }
    }

    /// Forgets a client's sessions, or the one of this name. Gives how many there were.
    pub fn forget_sessions(&mut self, client: &ClientName, session: Option<&SessionName>) -> usize {
        let numbers = self.sessions.of(client, session);
        self.forget_numbers(&numbers);
        numbers.len()
    }

    /// Forgets the sessions that were not used for so long. Gives how many.
    pub fn expire_sessions(&mut self, keep: Duration) -> usize {
        let numbers = self.sessions.expired(keep, self.now().counted);
        self.forget_numbers(&numbers);
        numbers.len()
    }

    /// When [`Journal::expire_sessions`] has something to do. None: there is no session.
    pub fn next_session_expiry(&self, keep: Duration) -> Option<Duration> {
        self.sessions.next_expiry(keep).map(|at| self.until(at))
    }

    fn leave(&mut self, number: u64) {
        let pages = self.sessions.remove(number).unwrap_or_default();
        self.index.space.used = self.index.space.used.saturating_sub(pages);
    }

    fn forget_numbers(&mut self, numbers: &[u64]) {
        for &number in numbers {
            self.leave(number);
        }
        if !numbers.is_empty() {
            self.mailbox.forget_sessions(numbers);
        }
    }
}
