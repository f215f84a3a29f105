//! The driver's side of the journal: what was promised is done when the journal has it.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use tokio::time::timeout;

use super::ServiceError;
use super::driver::Driver;
use crate::config::{Config, Durability, Journal as JournalConfig, OnUnwritable};
use crate::health::{Roots, clock};
use crate::job::{ErrorCode, JobError, JobId, ModelName, ReplyTo, Request};
use crate::journal::{
    Event, Journal, JournalError, Moment, NewJob, Outcome, OutcomeTooLarge, Recovery, Refused, Settings, Ticket,
};
use crate::mqtt::{AckToken, Delivery, Publication, Slot};

/// What a reply has around its output at most, without what it echoes of the request.
const REPLY_FRAME: usize = 2048;

/// Bytes of a token in JSON: most have four or five letters, and what is escaped takes more.
const BYTES_PER_TOKEN: usize = 16;

/// When a client shall ask again that meets a slow disk.
const BEHIND: Duration = Duration::from_secs(1);

/// How long a stop waits for the disk.
const CLOSING: Duration = Duration::from_secs(5);

/// What is done when the journal has it.
pub(super) enum Promise {
    /// The broker may forget the request.
    Acknowledge(AckToken),
    /// The client hears that its job is accepted.
    Tell(Publication),
    /// The answer goes out.
    Publish {
        /// Of which job.
        job: JobId,
        /// Its place in the outbox.
        slot: Slot,
        /// The answer.
        publication: Publication,
    },
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
    /// Why nothing is written, if that is so.
    pub(super) trouble: Option<String>,
    /// Outcomes that were asked for, and the places in the outbox of those who asked.
    pub(super) asked: HashMap<JobId, Vec<Slot>>,
    /// Outcomes that are to be published when there is room: of earlier runs, and what clients have missed. Oldest first.
    pub(super) backlog: BTreeSet<JobId>,
}

/// A journal, and what earlier runs have left in it.
pub(super) struct Opened {
    journal: Journal,
    pub(super) recovery: Recovery,
    trouble: Option<String>,
}

impl Opened {
    /// Opens the journal of the configuration and reads it. One that can't be opened is replaced by one in memory, which
    /// `journal.on_unwritable` allows to be used or not.
    pub(super) async fn of(config: &Config) -> Result<Self, ServiceError> {
        let JournalConfig { durability, commit_window, size_max, .. } = config.journal;
        let settings = Settings { folder: config.service.state_dir.clone(), durability, commit_window, size_max };
        let opened = tokio::task::spawn_blocking(move || open(settings)).await;
        Ok(opened.map_err(|_| ServiceError::JournalPanicked)??)
    }

    /// Places in the outbox that it needs, besides those of new work.
    pub(super) fn places(&self) -> usize {
        self.recovery.open.len() + self.recovery.unsettled.len()
    }

    /// Ready for the driver; what is to be done about earlier runs is the other part.
    pub(super) fn split(self) -> (Recorder, Recovery) {
        let Self { journal, recovery, trouble } = self;
        let recorder = Recorder {
            journal,
            promises: VecDeque::new(),
            committed: None,
            accepted: None,
            trouble,
            asked: HashMap::new(),
            backlog: recovery.unsettled.iter().copied().collect(),
        };
        (recorder, recovery)
    }
}

fn open(settings: Settings) -> Result<Opened, JournalError> {
    let (trouble, (journal, recovery)) = match Journal::open(&settings, Box::new(moment())) {
        Ok(opened) => (None, opened),
        Err(error) => {
            tracing::error!("{error}");
            let settings = Settings { durability: Durability::Memory, ..settings };
            (Some(error.to_string()), Journal::open(&settings, Box::new(moment()))?)
        }
    };
    Ok(Opened { journal, recovery, trouble })
}

/// What tells the journal the time.
fn moment() -> impl Fn() -> Moment + Send {
    let start = Instant::now();
    move || {
        let now = SystemTime::now();
        let synced = clock(&Roots::this(), now).synced == Some(true);
        let wall = now.duration_since(SystemTime::UNIX_EPOCH).ok().filter(|_| synced);
        Moment { running: start.elapsed(), wall }
    }
}

impl Recorder {
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
        self.promises.is_empty() && self.asked.is_empty() && self.backlog.is_empty()
    }
}

impl Driver {
    /// Whether accepted jobs outlive the daemon.
    pub(super) fn is_durable(&self) -> bool {
        self.config.journal.durability == Durability::Full && self.recorder.trouble.is_none()
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
        let new = NewJob { request, reply, model, fingerprint, waited: received.elapsed(), outcome_max };
        let ticket = self.recorder.journal.accept(job, new).map_err(|refused| match refused {
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
            Event::Fetched { job, outcome } => self.on_fetched(job, outcome),
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
        let is_safe = |ticket: Option<Ticket>| ticket.is_none_or(|ticket| recorder.has(ticket));
        let jobs: Vec<JobId> = self.jobs.iter().filter(|(_, job)| !is_safe(job.accepted)).map(|(id, _)| id).collect();
        for (ticket, promise) in std::mem::take(&mut recorder.promises) {
            match promise {
                // What was asked is answered by the error.
                Promise::Acknowledge(ack) => self.link.ack(ack),
                Promise::Tell(_) => {}
                Promise::Publish { .. } | Promise::Start => recorder.promises.push_back((ticket, promise)),
            }
        }
        for id in jobs {
            self.recorder.journal.remove(id);
            match self.jobs.get(id) {
                Some(job) if job.is_waiting() => self.fail(id, error.clone()),
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
                Promise::Acknowledge(ack) => self.link.ack(ack),
                Promise::Tell(accepted) => self.tell(accepted),
                Promise::Publish { job, slot, publication } => slot.publish_tracked(publication, job.0),
                Promise::Start => starts = true,
            }
        }
        if starts {
            self.dispatch();
        }
    }

    /// A client hears that its job is accepted.
    pub(super) fn tell(&self, accepted: Publication) {
        if let Some(slot) = self.link.try_reserve() {
            slot.publish(accepted);
        } else {
            tracing::warn!("the outbox is full: an \"accepted\" message was left out");
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
    ) -> Result<(), (Slot, OutcomeTooLarge)> {
        let Publication { topic, payload, content_type, correlation } = publication.clone();
        let content_type = content_type.map(Cow::into_owned);
        match self.recorder.journal.finish(job, Outcome { error, topic, payload, content_type, correlation }) {
            Ok(Some(ticket)) => self.promise(ticket, Promise::Publish { job, slot, publication }),
            Ok(None) => slot.publish(publication),
            Err(too_large) => return Err((slot, too_large)),
        }
        Ok(())
    }

    /// What has become of an outcome at the broker.
    pub(super) fn on_settled(&mut self, tag: u64, delivery: Delivery) {
        let job = JobId(tag);
        match delivery {
            Delivery::Taken => self.recorder.journal.delivered(job),
            Delivery::NoSubscribers | Delivery::Refused => self.recorder.journal.missed(job),
        };
    }

    /// A job is left to the next run.
    pub(super) fn set_aside(&mut self, id: JobId) {
        self.queue.remove(id);
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
    }

    /// When that has something to do.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let wait = self.recorder.journal.next_expiry(self.config.journal.keep)?;
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
            self.on_journal(event);
        }
    }
}

/// Bytes that the outcome of a request is expected to take. One that takes more needs room that is free.
fn expected_outcome(request: &Request, reply: &ReplyTo, result_max: usize) -> usize {
    let echo = serde_json::to_vec(&reply.echo).map_or(0, |text| text.len());
    let mark = reply.reference.as_ref().map_or(0, String::len) + reply.correlation.as_ref().map_or(0, Vec::len);
    let output = (request.output.max_tokens as usize).saturating_mul(BYTES_PER_TOKEN).min(2 * result_max);
    REPLY_FRAME + reply.topic.len() + echo + mark + output
}
