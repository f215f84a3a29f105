//! The driver's side of the journal: what was promised is done when the journal has it.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::driver::Driver;
use super::expected::expected_outcome;
use super::jobs::Job;
use crate::config::OnUnwritable;
use crate::job::{ErrorCode, JobError, JobId, ModelName, ReplyTo, Request, RequestId};
use crate::journal::{Event, Journal, NewJob, Outcome, OutcomeTooLarge, Refused, Ticket, Turn};
use crate::mqtt::{AckToken, Delivery, LinkHandle, Publication, Slot};

/// When a client shall ask again that meets a slow disk.
const BEHIND: Duration = Duration::from_secs(1);

/// How long a stop waits for the disk.
const CLOSING: Duration = Duration::from_secs(5);

/// What is done when the journal has it.
pub(super) enum Promise {
    /// The broker may forget the request that has come on this connection.
    Acknowledge(LinkHandle, AckToken),
    /// The client hears that its job is accepted.
    Tell(Slot, Publication),
    /// The answer goes out.
    Publish {
        /// Of which job.
        job: JobId,
        /// Its place in the outbox.
        slot: Slot,
        /// The answer.
        publication: Publication,
        /// What the journal must have before the job itself is safe.
        accepted: Option<Ticket>,
    },
    /// What a client may hear of what was done.
    Transient(Vec<Publication>),
    /// A job that may have ended the last run can start.
    Start,
}

/// The journal and what waits for it.
pub(super) struct Recorder {
    pub(super) journal: Journal,
    /// In the order of their tickets.
    pub(super) promises: VecDeque<(Ticket, Promise)>,
    committed: Option<Ticket>,
    /// Of the last job that was taken in.
    accepted: Option<Ticket>,
    /// Of the last job that has ended.
    finished: Option<Ticket>,
    /// Whether it is a file that was opened, as far as one was wanted.
    pub(super) on_disk: bool,
    /// When it is tried again to open the file, if it could not be.
    pub(super) reopen_at: Option<Instant>,
    /// Outcomes that the broker has not answered, with those who asked for the same meanwhile: parts of one message must not
    /// come among those of another.
    under_way: HashMap<JobId, VecDeque<(Slot, Publication)>>,
    /// Why nothing is written, if that is so.
    pub(super) trouble: Option<String>,
    /// Outcomes that were asked for, and the places in the outbox of those who asked.
    pub(super) asked: HashMap<JobId, Vec<Asked>>,
    /// Outcomes that are to be published when there is room: of earlier runs, and what clients have missed. Oldest first.
    pub(super) backlog: BTreeSet<JobId>,
}

/// Somebody who asks for an outcome.
pub(super) struct Asked {
    /// The place of the message.
    pub(super) slot: Slot,
    /// For whose request, and where it goes; where it went first by default.
    pub(super) to: Option<(RequestId, ReplyTo)>,
}

impl Recorder {
    /// Nothing was promised yet. `backlog` has the outcomes of earlier runs that are to be published.
    pub(super) fn new(
        journal: Journal,
        on_disk: bool,
        trouble: Option<String>,
        backlog: BTreeSet<JobId>,
        reopen_at: Option<Instant>,
    ) -> Self {
        Self {
            journal,
            promises: VecDeque::new(),
            committed: None,
            accepted: None,
            finished: None,
            on_disk,
            reopen_at,
            under_way: HashMap::new(),
            trouble,
            asked: HashMap::new(),
            backlog,
        }
    }

    /// Whether it is written.
    pub(super) fn has(&self, ticket: Ticket) -> bool {
        self.committed.is_some_and(|committed| ticket <= committed)
    }

    /// The next promise that can be kept; `all`: whether the journal has it or not.
    fn due(&mut self, all: bool) -> Option<Promise> {
        let (ticket, _) = self.promises.front()?;
        if all || self.has(*ticket) { self.promises.pop_front().map(|(_, promise)| promise) } else { None }
    }

    /// What the journal must have before any job that was taken in is safe; none if all are.
    pub(super) fn unsafe_until(&self) -> Option<Ticket> {
        self.accepted.filter(|ticket| !self.has(*ticket))
    }

    /// Whether everything that was promised is done.
    pub(super) fn is_settled(&self) -> bool {
        self.promises.is_empty() && self.asked.is_empty() && self.backlog.is_empty() && self.under_way.is_empty()
    }
}

impl Driver {
    /// Whether what is accepted now outlives the daemon.
    pub(super) fn is_durable(&self) -> bool {
        self.recorder.on_disk && self.recorder.trouble.is_none()
    }

    /// Whether a job outlives the daemon.
    pub(super) fn is_kept(&self, job: &Job) -> bool {
        self.recorder.on_disk && job.accepted.is_none_or(|ticket| self.recorder.has(ticket))
    }

    /// Why accepted jobs would not outlive the daemon although they should.
    pub(super) fn journal_trouble(&self) -> Option<&str> {
        self.recorder.trouble.as_deref()
    }

    /// New work is refused while it can't be kept, if that is how it is configured.
    pub(super) fn storage_refusal(&self) -> Option<JobError> {
        let trouble = self.recorder.trouble.as_ref()?;
        let refuses = self.config.journal.on_unwritable == OnUnwritable::Refuse;
        refuses.then(|| {
            JobError::new(ErrorCode::StorageFull, format!("accepted jobs cannot be kept: {trouble}"))
                .retry_after(BEHIND)
        })
    }

    /// Takes a job in.
    pub(super) fn record(
        &mut self,
        job: JobId,
        request: &Request,
        reply: &ReplyTo,
        model: &ModelName,
        fingerprint: [u8; 32],
        received: Instant,
    ) -> Result<Ticket, JobError> {
        let outcome_max = expected_outcome(request, reply, self.config.limits.result) as u64;
        let waited = received.elapsed();
        let session_max = request.session.as_ref().map(|_| self.config.session.size_max as u64);
        let new = NewJob { request, reply, model, fingerprint, waited, outcome_max, session_max };
        let mut accepted = self.recorder.journal.accept(job, new);
        if matches!(accepted, Err(Refused::Behind { .. })) && self.recorder.trouble.is_some() {
            // What the broker has needs no room in memory while there is no disk.
            self.recorder.journal.forget(None);
            accepted = self.recorder.journal.accept(job, new);
        }
        let ticket = accepted.map_err(|refused| match refused {
            Refused::Full { .. } => JobError::new(ErrorCode::StorageFull, refused.to_string()),
            Refused::Behind { .. } => JobError::new(ErrorCode::QueueFull, refused.to_string()).retry_after(BEHIND),
            Refused::Known => JobError::new(ErrorCode::IdConflict, refused.to_string()),
        })?;
        self.recorder.accepted = Some(ticket);
        Ok(ticket)
    }

    /// The journal has news.
    pub(super) fn on_journal(&mut self, event: Event) {
        match event {
            Event::Committed(ticket) => {
                self.recorder.committed = Some(ticket);
                self.keep_promises();
            }
            Event::Unwritable(reason) => self.set_journal_trouble(Some(reason)),
            Event::Writable => self.set_journal_trouble(None),
            Event::Fetched { job, outcome } => {
                // Jobs wait for memories, and nobody waits for what is published again.
                self.recall_others();
                self.on_fetched(job, outcome);
            }
            Event::Recalled { client, session, memory } => {
                self.on_recalled(client, session, memory);
                self.fetch_backlog();
            }
            Event::Gone => self.set_journal_trouble(Some("the thread of the journal has ended".to_owned())),
        }
    }

    /// `status` tells whether accepted jobs outlive the daemon.
    pub(super) fn tell_durability(&mut self) {
        let durability = if self.is_durable() { "full" } else { "memory" };
        self.board.set_durability(&self.link, &self.topics, durability);
    }

    fn set_journal_trouble(&mut self, trouble: Option<String>) {
        if let Some(reason) = &trouble {
            tracing::error!("the journal cannot be written: {reason}");
        } else {
            tracing::info!("the journal is written again");
        }
        self.recorder.trouble = trouble;
        self.keep_promises();
        if let Some(error) = self.storage_refusal() {
            self.refuse_unsafe(&error);
        }
        self.tell_durability();
        self.publish_status();
        self.dispatch();
    }

    /// Jobs that the journal has not taken were not accepted after all.
    fn refuse_unsafe(&mut self, error: &JobError) {
        let recorder = &mut self.recorder;
        let committed = recorder.committed;
        let is_safe = |ticket: Option<Ticket>| ticket.is_none_or(|ticket| committed.is_some_and(|last| ticket <= last));
        let is_unsafe = |job: &Job| job.is_clients() && !is_safe(job.accepted);
        let jobs: Vec<JobId> = self.jobs.iter().filter(|(_, job)| is_unsafe(job)).map(|(id, _)| id).collect();
        for (ticket, promise) in std::mem::take(&mut recorder.promises) {
            match promise {
                // What was asked is answered, by the error or by what follows.
                Promise::Acknowledge(link, ack) => link.ack(ack),
                Promise::Tell(..) | Promise::Transient(_) => {}
                Promise::Publish { job, slot, publication, accepted } if !is_safe(accepted) => {
                    recorder.journal.remove(job);
                    slot.publish(publication);
                }
                Promise::Publish { .. } | Promise::Start => recorder.promises.push_back((ticket, promise)),
            }
        }
        recorder.accepted = None;
        for id in jobs {
            self.recorder.journal.remove(id);
            match self.jobs.get(id) {
                Some(job) if !job.is_running() => self.fail(id, error.clone()),
                _ => self.stop(id, error.clone()),
            }
        }
    }

    /// Something is done when the journal has written this, or at once if it need not.
    pub(super) fn promise(&mut self, ticket: Ticket, promise: Promise) {
        self.recorder.promises.push_back((ticket, promise));
        if self.recorder.trouble.is_some() {
            self.keep_promises();
        }
    }

    fn keep_promises(&mut self) {
        let on_unwritable = self.config.journal.on_unwritable;
        let all = self.recorder.trouble.is_some() && on_unwritable == OnUnwritable::Memory;
        let mut starts = false;
        while let Some(promise) = self.recorder.due(all) {
            match promise {
                Promise::Acknowledge(link, ack) => link.ack(ack),
                Promise::Tell(slot, accepted) => slot.publish(accepted),
                Promise::Transient(publications) => self.publish_all(publications),
                Promise::Publish { job, slot, publication, .. } => self.publish_tracked(job, slot, publication),
                Promise::Start => starts = true,
            }
        }
        if starts {
            self.dispatch();
        }
    }

    /// A client hears that its job is accepted, now or when it is.
    pub(super) fn tell(&mut self, accepted: Publication, ticket: Option<Ticket>) {
        match (self.link.try_reserve(), ticket) {
            (Some(slot), Some(ticket)) => self.promise(ticket, Promise::Tell(slot, accepted)),
            (Some(slot), None) => slot.publish(accepted),
            (None, _) => tracing::warn!("the outbox is full: an \"accepted\" message was left out"),
        }
    }

    fn publish_tracked(&mut self, job: JobId, slot: Slot, publication: Publication) {
        match self.recorder.under_way.entry(job) {
            Entry::Occupied(mut behind) => behind.get_mut().push_back((slot, publication)),
            Entry::Vacant(first) => {
                first.insert(VecDeque::new());
                slot.publish_tracked(publication, job.0);
            }
        }
    }

    /// An outcome goes out that was asked for, when the journal has it.
    pub(super) fn publish_fetched(&mut self, job: JobId, slot: Slot, publication: Publication) {
        match self.recorder.finished.filter(|ticket| !self.recorder.has(*ticket)) {
            Some(ticket) => self.promise(ticket, Promise::Publish { job, slot, publication, accepted: None }),
            None => self.publish_tracked(job, slot, publication),
        }
    }

    /// The one message that ends a job goes out when the journal has it; that of a job which was never in it at once. Gives the
    /// place in the outbox back if the journal has no room for the message.
    pub(super) fn publish_kept(
        &mut self,
        job: JobId,
        slot: Slot,
        publication: Publication,
        error: Option<ErrorCode>,
        (accepted, turn): (Option<Ticket>, Option<&Turn>),
    ) -> Result<(), (Slot, OutcomeTooLarge)> {
        let Publication { topic, payload, content_type, correlation, parts } = publication.clone();
        let content_type = content_type.map(Cow::into_owned);
        let part_head = parts.map(|head| head.as_bytes().clone());
        let outcome = Outcome { error, topic, payload, content_type, correlation, part_head };
        let journal = &mut self.recorder.journal;
        let finished = match turn {
            Some(turn) => journal.finish_turn(job, outcome, turn),
            None => journal.finish(job, outcome),
        };
        match finished {
            Ok(Some(ticket)) => {
                self.recorder.finished = Some(ticket);
                self.promise(ticket, Promise::Publish { job, slot, publication, accepted });
            }
            Ok(None) => slot.publish(publication),
            Err(too_large) => return Err((slot, too_large)),
        }
        Ok(())
    }

    /// What has become of an outcome at the broker.
    pub(super) fn on_settled(&mut self, tag: u64, delivery: Delivery) {
        let job = JobId(tag);
        if let Entry::Occupied(mut behind) = self.recorder.under_way.entry(job) {
            match behind.get_mut().pop_front() {
                Some((slot, publication)) => slot.publish_tracked(publication, tag),
                None => _ = behind.remove(),
            }
        }
        match delivery {
            Delivery::Taken => self.recorder.journal.delivered(job),
            Delivery::NoSubscribers | Delivery::Refused => self.recorder.journal.missed(job),
        };
        self.fetch_backlog();
    }

    /// A job is left to the next run.
    pub(super) fn set_aside(&mut self, id: JobId) {
        self.queue.remove(id);
        self.abort_steps(id);
        if let Some(job) = self.jobs.remove(id)
            && !job.is_waiting()
        {
            // It was not running when the daemon was lost.
            self.recorder.journal.put_back(id, job.crashes);
        }
    }

    /// Removes what was kept long enough.
    pub(super) fn expire_outcomes(&mut self) {
        self.recorder.journal.expire(self.config.journal.keep);
        self.recorder.journal.expire_sessions(self.config.session.keep);
    }

    /// When that has something to do.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let outcome = self.recorder.journal.next_expiry(self.config.journal.keep);
        let session = self.recorder.journal.next_session_expiry(self.config.session.keep);
        let wait = outcome.into_iter().chain(session).min()?;
        Some(Instant::now() + wait)
    }

    /// Waits until the journal has everything, for a while, and does what was promised.
    pub(super) async fn settle_journal(&mut self) {
        let until = Instant::now() + CLOSING;
        while !self.recorder.promises.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(event) = timeout(left, self.recorder.journal.next_event()).await else {
                tracing::error!("the journal did not take everything within {CLOSING:?}: answers are lost");
                return;
            };
            match event {
                Event::Committed(_) => self.on_journal(event),
                // Nothing is acknowledged any more that is not safe.
                Event::Unwritable(reason) => {
                    tracing::error!("answers are lost: the journal cannot be written: {reason}");
                    return;
                }
                _ => {}
            }
        }
    }
}
