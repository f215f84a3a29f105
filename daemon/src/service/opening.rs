//! Opens the journal, at the start and, if that was in vain, again and again.

use std::time::{Duration, Instant, SystemTime};

use super::ServiceError;
use super::driver::Driver;
use super::recording::Recorder;
use super::wiring::outbox_places;
use crate::config::{Config, Durability, Journal as JournalConfig};
use crate::health::{Roots, clock};
use crate::journal::{Journal, JournalError, Moment, Recovery, Settings};

/// How often it is tried to open a journal that could not be opened.
const REOPEN: Duration = Duration::from_secs(10);

/// A journal, and what earlier runs have left in it.
pub(super) struct Opened {
    journal: Journal,
    on_disk: bool,
    pub(super) recovery: Recovery,
    trouble: Option<String>,
}

impl Opened {
    /// Opens the journal of the configuration and reads it. One that can't be opened is replaced by one in memory, which
    /// `journal.on_unwritable` allows to be used or not.
    pub(super) async fn of(config: &Config) -> Result<Self, ServiceError> {
        let settings = settings(config);
        let opened = tokio::task::spawn_blocking(move || open(settings)).await;
        Ok(opened.map_err(|_| ServiceError::JournalPanicked)??)
    }

    /// Places in the outbox that it needs, besides those of new work.
    pub(super) fn places(&self) -> usize {
        self.recovery.open.len() + self.recovery.unsettled.len()
    }

    /// Ready for the driver; what is to be done about earlier runs is the other part.
    pub(super) fn split(self) -> (Recorder, Recovery) {
        let Self { journal, on_disk, recovery, trouble } = self;
        let reopen_at = trouble.as_ref().map(|_| Instant::now() + REOPEN);
        let backlog = recovery.unsettled.iter().copied().collect();
        (Recorder::new(journal, on_disk, trouble, backlog, reopen_at), recovery)
    }
}

fn settings(config: &Config) -> Settings {
    let JournalConfig { durability, commit_window, size_max, .. } = config.journal;
    Settings { folder: config.service.state_dir.clone(), durability, commit_window, size_max }
}

fn open(settings: Settings) -> Result<Opened, JournalError> {
    let error = match open_as_wanted(&settings) {
        Ok(opened) => return Ok(opened),
        Err(error) => error,
    };
    tracing::error!("{error}");
    let opened = open_as_wanted(&Settings { durability: Durability::Memory, ..settings })?;
    Ok(Opened { trouble: Some(error.to_string()), ..opened })
}

fn open_as_wanted(settings: &Settings) -> Result<Opened, JournalError> {
    let (journal, recovery) = Journal::open(settings, Box::new(moment()))?;
    Ok(Opened { journal, on_disk: settings.durability == Durability::Full, recovery, trouble: None })
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

impl Driver {
    /// Tries again to open the journal, while nothing is in the one that stands in for it.
    pub(super) fn reopen_journal(&mut self, now: Instant) {
        if self.recorder.reopen_at.is_none_or(|at| at > now) {
            return;
        }
        self.recorder.reopen_at = Some(now + REOPEN);
        if self.journal_is_in_use() {
            return;
        }
        let (settings, opened) = (settings(&self.config), self.opened.clone());
        tokio::task::spawn_blocking(move || match open_as_wanted(&settings) {
            // The driver takes one at a time; a second one is closed again.
            Ok(journal) => drop(opened.try_send(journal)),
            Err(error) => tracing::debug!("{error}"),
        });
    }

    fn journal_is_in_use(&self) -> bool {
        // Whoever asks again for an outcome must find it.
        let kept = self.recorder.journal.usage().outcomes > 0;
        kept || self.jobs.iter().next().is_some() || !self.recorder.is_settled()
    }

    /// When that is due.
    pub(super) fn next_reopen(&self) -> Option<Instant> {
        self.recorder.reopen_at
    }

    /// The journal could be opened after all.
    pub(super) fn on_reopened(&mut self, opened: Opened) {
        if self.journal_is_in_use() || self.recorder.reopen_at.is_none() {
            return;
        }
        tracing::info!("the journal could be opened");
        self.link.grow_outbox(outbox_places(&self.config) + opened.places());
        let (recorder, recovery) = opened.split();
        self.recorder = recorder;
        self.recover(recovery);
        self.tell_durability();
        self.publish_status();
        self.dispatch();
    }
}
