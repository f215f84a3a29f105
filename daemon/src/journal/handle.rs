//! The driver's side of the journal.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::batch::{self, NewRow, Write};
use super::event::Progress;
use super::index::{Counts, Entry, Index, Stage};
use super::mailbox::{Mailbox, Question};
use super::recovery::{self, Ready};
use super::remembering::session_pages;
use super::sessions::Sessions;
use super::space::{self, pages};
use super::throttle::Throttle;
use super::time::{Counter, Stamp};
use super::worker::{Answer, Worker};
use super::{Event, JournalError, Known, Moment, Outcome, OutcomeTooLarge, Recovery, Refused};
use super::{Settings, Settlement, Ticket, record, step, store};
use crate::config::Durability;
use crate::job::{self, ClientName, JobId, ModelName, ReplyTo, Request, RequestId};
use crate::plan::Bytes;

/// Questions that may be open.
const QUESTIONS_MAX: usize = 16;

/// Most bytes that may wait for the disk when another job is accepted.
const WAITING_MAX: u64 = 8 << 20;

/// What is set aside for an outcome at least: an error always fits.
const OUTCOME_MIN: u64 = 4096;

/// While something is kept the time is noted so often, for a board whose clock is never set and whose power is cut.
const NOTE: Duration = Duration::from_hours(1);

/// Tells the time.
pub type Clock = Box<dyn Fn() -> Moment + Send>;

/// The journal. Its methods never wait.
///
/// What is asked of a job that is not in it does nothing and gives no ticket: there is nothing to wait for.
pub struct Journal {
    pub(super) index: Index,
    pub(super) sessions: Sessions,
    counter: Counter,
    clock: Clock,
    noted: Stamp,
    pub(super) mailbox: Arc<Mailbox>,
    progress: watch::Receiver<Progress>,
    answers: mpsc::Receiver<Answer>,
    asked: usize,
    /// The last ticket that was told.
    told: u64,
    told_trouble: Option<String>,
    gone: bool,
}

/// A job that is to be accepted.
#[derive(Debug, Clone, Copy)]
pub struct NewJob<'a> {
    /// What was asked.
    pub request: &'a Request,
    /// Where the answer goes.
    pub reply: &'a ReplyTo,
    /// The model that shall answer.
    pub model: &'a ModelName,
    /// Tells a retry from another request under the same id.
    pub fingerprint: [u8; 32],
    /// Time since it was received.
    pub waited: Duration,
    /// Bytes that its outcome is expected to take at most ([`Outcome::size`]). They are kept free for it.
    pub outcome_max: u64,
    /// Bytes that its session may take, if it is a turn of one ([`Memory::size`](crate::job::Memory::size)).
    pub session_max: Option<u64>,
}

/// What the journal holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Jobs that have not ended.
    pub open: usize,
    /// Outcomes.
    pub outcomes: usize,
    /// Of these, those of which the broker has not said what has become of them.
    pub unsettled: usize,
    /// Of these, those that the broker has given to nobody.
    pub missed: usize,
    /// Sessions.
    pub sessions: usize,
    /// What all of it takes, and what is kept free for outcomes and turns.
    pub used: Bytes,
    /// What they may take.
    pub max: Bytes,
    /// What waits for the disk.
    pub waiting: Bytes,
}

impl Journal {
    /// Opens the journal, or begins one. Reads the whole file: for a thread that may wait.
    pub fn open(settings: &Settings, clock: Clock) -> Result<(Self, Recovery), JournalError> {
        let now = clock();
        let Ready { store, index, sessions, counter, recovery } =
            recovery::recover(store::open(settings)?, settings, now)?;
        let (told, progress) = watch::channel(Progress::default());
        // A place for each question.
        let (answer, answers) = mpsc::channel(QUESTIONS_MAX);
        let mailbox = Arc::new(Mailbox::default());
        // What is in memory wears no flash.
        let window = if settings.durability == Durability::Full { settings.commit_window } else { Duration::ZERO };
        let throttle = Throttle::new(window);
        let worker =
            Worker { mailbox: Arc::clone(&mailbox), store, throttle, progress: told, answers: answer, retry: None };
        let thread = thread::Builder::new().name("journal".to_owned()).spawn(move || worker.run());
        thread.map_err(JournalError::Thread)?;
        let journal = Self {
            index,
            sessions,
            counter,
            noted: counter.stamp(now),
            clock,
            mailbox,
            progress,
            answers,
            asked: 0,
            told: 0,
            told_trouble: None,
            gone: false,
        };
        Ok((journal, recovery))
    }

    /// A client's job by its own name, open or ended.
    pub fn find(&self, client: &ClientName, id: &RequestId) -> Option<Known> {
        self.index.find(client, id)
    }

    /// Whether [`Journal::accept`] would not refuse a job because too much waits for the disk. It is so again at the latest when
    /// all that was put in is committed.
    pub fn has_room(&self) -> bool {
        self.mailbox.bytes() < WAITING_MAX
    }

    /// Takes a job in under a number that is higher than all before. When its ticket is committed, it may be acknowledged.
    pub fn accept(&mut self, job: JobId, new: NewJob<'_>) -> Result<Ticket, Refused> {
        let NewJob { request, reply, model, fingerprint, waited, outcome_max, session_max } = new;
        let key = (request.client.clone(), request.id.clone());
        if self.index.get(job).is_some() || self.index.find(&key.0, &key.1).is_some() {
            return Err(Refused::Known);
        }
        if !self.has_room() {
            let waiting = self.mailbox.bytes();
            return Err(Refused::Behind { waiting: Bytes(waiting), max: Bytes(WAITING_MAX) });
        }
        let record = record::write(request, reply, model);
        let outcome_max = outcome_max.max(OUTCOME_MIN);
        let pages = pages(record.len() as u64) + pages(outcome_max) + session_pages(session_max);
        if !self.index.space.fits(pages) {
            let (used, max) = (self.index.space.used, self.index.space.max);
            let [needed, used, max] = [pages, used, max].map(space::bytes);
            return Err(Refused::Full { needed, used, max });
        }
        let key = Arc::new(key);
        let stage = Stage::Open { outcome_max, suspect: false, steps: 0 };
        self.index.insert(job, Entry { key: Arc::clone(&key), fingerprint, pages, stage });
        let at = self.now().before(waited);
        let row = NewRow { key, fingerprint, at, reserve: outcome_max, record };
        Ok(self.put(job, Write::Accept(row), true))
    }

    /// A job goes to an engine; `crashes` is how often it was running in one that crashed. A suspect waits for the ticket.
    pub fn start(&self, job: JobId, crashes: u32) -> Option<Ticket> {
        let Stage::Open { suspect, .. } = self.index.get(job)?.stage else { return None };
        Some(self.put(job, Write::Stage(batch::Stage { running: true, crashes }), suspect))
    }

    /// A job waits again; `crashes` is how often it was running in an engine that crashed.
    pub fn put_back(&self, job: JobId, crashes: u32) -> Option<Ticket> {
        let Stage::Open { .. } = self.index.get(job)?.stage else { return None };
        Some(self.put(job, Write::Stage(batch::Stage { running: false, crashes }), false))
    }

    /// A step of a job's work is done. It is kept until the job ends, if there is room for it: what is not kept is done again after
    /// a restart. Nobody is promised anything by it, so that it waits for no disk, as marks do.
    pub fn step(&mut self, job: JobId, name: &str, outcome: &job::Outcome) -> Option<Ticket> {
        let Stage::Open { outcome_max, suspect, steps } = self.index.get(job)?.stage else { return None };
        let record = step::write(outcome);
        let pages = pages((name.len() + record.len()) as u64);
        if !self.has_room() || !self.index.space.fits(pages) {
            return None;
        }
        self.index.change(job, |entry| {
            entry.pages += pages;
            entry.stage = Stage::Open { outcome_max, suspect, steps: steps + 1 };
        });
        Some(self.put(job, Write::Step(name.to_owned(), record), false))
    }

    /// A job ends. When the ticket is committed, its outcome may be published. One that is larger than was expected is taken
    /// if there is room for it; if not, an error in its place always is.
    pub fn finish(&mut self, job: JobId, outcome: Outcome) -> Result<Option<Ticket>, OutcomeTooLarge> {
        let Some(Stage::Open { outcome_max: max, .. }) = self.index.get(job).map(|entry| entry.stage) else {
            return Ok(None);
        };
        let size = outcome.size();
        if size > max && !self.index.space.fits(pages(size)) {
            return Err(OutcomeTooLarge { size: Bytes(size), max: Bytes(max) });
        }
        let at = self.now();
        self.end(job, &outcome, at);
        Ok(Some(self.put(job, Write::Finish(at, outcome), true)))
    }

    pub(super) fn end(&mut self, job: JobId, outcome: &Outcome, at: Stamp) {
        let has_steps = self.index.get(job).is_some_and(|entry| matches!(entry.stage, Stage::Open { steps: 1.., .. }));
        self.index.change(job, |entry| {
            entry.pages = pages(outcome.size());
            entry.stage = Stage::Ended { at: at.counted, settlement: Settlement::Unsettled };
        });
        if has_steps {
            self.put(job, Write::ForgetSteps, false);
        }
    }

    /// The broker has taken the outcome of a job, and somebody was subscribed.
    pub fn delivered(&mut self, job: JobId) -> Option<Ticket> {
        self.settle(job, Settlement::Delivered)
    }

    /// The broker has taken or refused the outcome of a job, and nobody has got it. It stays to be fetched.
    pub fn missed(&mut self, job: JobId) -> Option<Ticket> {
        self.settle(job, Settlement::Missed)
    }

    fn settle(&mut self, job: JobId, settlement: Settlement) -> Option<Ticket> {
        let Stage::Ended { at, settlement: before } = self.index.get(job)?.stage else { return None };
        if before == settlement {
            return None;
        }
        self.index.change(job, |entry| entry.stage = Stage::Ended { at, settlement });
        Some(self.put(job, Write::Settle(settlement), false))
    }

    /// Removes a job, open or ended: one that was accepted and could not be kept, or an outcome that shall be forgotten.
    pub fn remove(&mut self, job: JobId) -> Option<Ticket> {
        let Entry { stage, .. } = self.index.remove(job)?;
        if matches!(stage, Stage::Open { steps: 1.., .. }) {
            self.put(job, Write::ForgetSteps, false);
        }
        Some(self.put(job, Write::Remove, false))
    }

    /// Forgets the outcomes of a client that the broker has acknowledged, or everybody's. Gives how many there were.
    pub fn forget(&mut self, client: Option<&ClientName>) -> usize {
        let jobs = self.index.settled_of(client);
        self.remove_all(&jobs);
        jobs.len()
    }

    /// The outcomes of a client that the broker gave to nobody, oldest first.
    pub fn missed_of(&self, client: &ClientName) -> Vec<JobId> {
        self.index.missed(client)
    }

    /// Asks for the outcome of a job, which comes as [`Event::Fetched`]. False: too many have been asked for already.
    pub fn fetch(&mut self, job: JobId) -> bool {
        self.ask(Question::Outcome(job))
    }

    pub(super) fn ask(&mut self, question: Question) -> bool {
        let has_place = self.asked < QUESTIONS_MAX;
        if has_place {
            self.asked += 1;
            self.mailbox.ask(question);
        }
        has_place
    }

    /// Removes the outcomes that the broker has acknowledged and that were kept so long. Gives how many.
    pub fn expire(&mut self, keep: Duration) -> usize {
        let now = self.now();
        let jobs = self.index.expired(keep, now.counted);
        self.remove_all(&jobs);
        if !jobs.is_empty() || now.since(self.noted.counted) >= NOTE {
            self.noted = now;
            self.mailbox.note(now);
        }
        jobs.len()
    }

    /// When [`Journal::expire`] has something to do. None: nothing is kept.
    pub fn next_expiry(&self, keep: Duration) -> Option<Duration> {
        let expiry = self.until(self.index.next_expiry(keep)?);
        let note = NOTE.saturating_sub(self.now().since(self.noted.counted));
        Some(expiry.min(note))
    }

    pub(super) fn until(&self, counted: u64) -> Duration {
        self.counter.until(counted, (self.clock)())
    }

    fn remove_all(&mut self, jobs: &[JobId]) {
        for &job in jobs {
            self.remove(job);
        }
    }

    /// Whether a change is written, as far as [`Journal::next_event`] has told.
    pub fn is_committed(&self, ticket: Ticket) -> bool {
        ticket.0 <= self.told
    }

    /// Whether the disk takes what is written.
    pub fn is_writable(&self) -> bool {
        self.progress.borrow().trouble.is_none()
    }

    /// What it holds.
    pub fn usage(&self) -> Usage {
        let Counts { open, outcomes, unsettled, missed } = self.index.counts();
        let [used, max] = [self.index.space.used, self.index.space.max].map(space::bytes);
        let (sessions, waiting) = (self.sessions.len(), Bytes(self.mailbox.bytes()));
        Usage { open, outcomes, unsettled, missed, sessions, used, max, waiting }
    }

    /// The next event, when there is one. May be cancelled.
    pub async fn next_event(&mut self) -> Event {
        loop {
            if let Some(event) = self.news() {
                return event;
            }
            if self.gone {
                return pending().await;
            }
            tokio::select! {
                changed = self.progress.changed() => if changed.is_err() {
                    self.gone = true;
                    return Event::Gone;
                },
                Some(answer) = self.answers.recv() => {
                    self.asked -= 1;
                    return match answer {
                        Answer::Outcome(job, outcome) => Event::Fetched { job, outcome },
                        Answer::Session((client, session), memory) => Event::Recalled { client, session, memory },
                    };
                }
            }
        }
    }

    fn news(&mut self) -> Option<Event> {
        let progress = self.progress.borrow_and_update();
        if progress.written > self.told {
            self.told = progress.written;
            return Some(Event::Committed(Ticket(self.told)));
        }
        if progress.trouble == self.told_trouble {
            return None;
        }
        self.told_trouble.clone_from(&progress.trouble);
        Some(self.told_trouble.clone().map_or(Event::Writable, Event::Unwritable))
    }

    /// Writes what waits and closes the file: the next run finds that this one ended as it should. What the disk does not take
    /// now is lost.
    pub async fn close(mut self) {
        self.mailbox.close(self.now());
        // Nothing more is told: only the end matters.
        while self.progress.changed().await.is_ok() {}
    }

    fn put(&self, job: JobId, write: Write, sync: bool) -> Ticket {
        Ticket(self.mailbox.put(job, write, sync))
    }

    pub(super) fn now(&self) -> Stamp {
        self.counter.stamp((self.clock)())
    }
}

/// The thread writes what waits and ends by itself.
impl Drop for Journal {
    fn drop(&mut self) {
        self.mailbox.close(self.now());
    }
}

/// Counts only.
impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journal({:?})", self.usage())
    }
}
