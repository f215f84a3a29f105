//! What is known of every job in the journal without a look into the file: whose it is, whether it has ended, what it takes.
//!
//! Bounded by `journal.size_max`: each job takes a page of the file at least.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::Settlement;
use super::space::Space;
use super::time::millis;
use crate::job::{ClientName, JobId, RequestId};

/// A client's name for a job.
pub(super) type Key = (ClientName, RequestId);

/// A job as the journal knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its number.
    pub job: JobId,
    /// Tells a retry from another request under the same id.
    pub fingerprint: [u8; 32],
    /// None while it is open.
    pub ended: Option<Settlement>,
}

pub(super) struct Entry {
    pub key: Arc<Key>,
    pub fingerprint: [u8; 32],
    /// What is set aside for it.
    pub pages: u64,
    pub stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Open {
        /// Bytes that its outcome may take.
        outcome_max: u64,
        /// It was open when a run ended as it should not.
        suspect: bool,
        /// Steps of its work that are kept.
        steps: usize,
    },
    Ended {
        /// When, in milliseconds that count.
        at: u64,
        settlement: Settlement,
    },
}

/// Jobs that are open, outcomes, and of these what the broker has not answered or has given to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub open: usize,
    pub outcomes: usize,
    pub unsettled: usize,
    pub missed: usize,
}

pub(super) struct Index {
    entries: HashMap<JobId, Entry>,
    names: HashMap<Arc<Key>, JobId>,
    /// Outcomes that go when `journal.keep` is over, by their end.
    settled: BTreeSet<(u64, JobId)>,
    missed: BTreeMap<ClientName, BTreeSet<JobId>>,
    open: usize,
    pub space: Space,
}

impl Index {
    pub fn new(space: Space) -> Self {
        Self {
            entries: HashMap::new(),
            names: HashMap::new(),
            settled: BTreeSet::new(),
            missed: BTreeMap::new(),
            open: 0,
            space,
        }
    }

    /// Adds a job whose name and number are free.
    pub fn insert(&mut self, job: JobId, entry: Entry) {
        self.space.used += entry.pages;
        self.names.insert(Arc::clone(&entry.key), job);
        self.list(job, &entry);
        self.entries.insert(job, entry);
    }

    pub fn find(&self, client: &ClientName, id: &RequestId) -> Option<Known> {
        let job = *self.names.get(&(client.clone(), id.clone()))?;
        let Entry { fingerprint, stage, .. } = self.entries.get(&job)?;
        let ended = match stage {
            Stage::Open { .. } => None,
            Stage::Ended { settlement, .. } => Some(*settlement),
        };
        Some(Known { job, fingerprint: *fingerprint, ended })
    }

    pub fn get(&self, job: JobId) -> Option<&Entry> {
        self.entries.get(&job)
    }

    /// Changes a job. False if it is not here.
    pub fn change(&mut self, job: JobId, change: impl FnOnce(&mut Entry)) -> bool {
        let Some(mut entry) = self.entries.remove(&job) else { return false };
        self.unlist(job, &entry);
        self.space.used = self.space.used.saturating_sub(entry.pages);
        change(&mut entry);
        self.space.used += entry.pages;
        self.list(job, &entry);
        self.entries.insert(job, entry);
        true
    }

    pub fn remove(&mut self, job: JobId) -> Option<Entry> {
        let entry = self.entries.remove(&job)?;
        self.names.remove(&entry.key);
        self.unlist(job, &entry);
        self.space.used = self.space.used.saturating_sub(entry.pages);
        Some(entry)
    }

    fn list(&mut self, job: JobId, entry: &Entry) {
        let Stage::Ended { at, settlement } = entry.stage else {
            self.open += 1;
            return;
        };
        if settlement != Settlement::Unsettled {
            self.settled.insert((at, job));
        }
        if settlement == Settlement::Missed {
            self.missed.entry(entry.key.0.clone()).or_default().insert(job);
        }
    }

    fn unlist(&mut self, job: JobId, entry: &Entry) {
        let Stage::Ended { at, .. } = entry.stage else {
            self.open -= 1;
            return;
        };
        self.settled.remove(&(at, job));
        if let Some(missed) = self.missed.get_mut(&entry.key.0) {
            missed.remove(&job);
            if missed.is_empty() {
                self.missed.remove(&entry.key.0);
            }
        }
    }

    /// When the next outcome has been kept long enough.
    pub fn next_expiry(&self, keep: Duration) -> Option<u64> {
        self.settled.first().map(|(at, _)| at.saturating_add(millis(keep)))
    }

    /// Outcomes that nobody needs to keep any more, oldest first.
    pub fn expired(&self, keep: Duration, counted: u64) -> Vec<JobId> {
        let over = |at: &u64| at.saturating_add(millis(keep)) <= counted;
        self.settled.iter().take_while(|(at, _)| over(at)).map(|(_, job)| *job).collect()
    }

    /// A client's outcomes that nobody took, oldest first.
    pub fn missed(&self, client: &ClientName) -> Vec<JobId> {
        self.missed.get(client).into_iter().flatten().copied().collect()
    }

    /// A client's outcomes; without a client everybody's. Those that the broker has not acknowledged are on their way.
    pub fn settled_of(&self, client: Option<&ClientName>) -> Vec<JobId> {
        let is_of =
            |job: &JobId| client.is_none_or(|client| self.entries.get(job).is_some_and(|entry| entry.key.0 == *client));
        self.settled.iter().map(|(_, job)| *job).filter(is_of).collect()
    }

    /// How many there are of each kind.
    pub fn counts(&self) -> Counts {
        let outcomes = self.entries.len() - self.open;
        let missed = self.missed.values().map(BTreeSet::len).sum();
        Counts { open: self.open, outcomes, unsettled: outcomes - self.settled.len(), missed }
    }
}
