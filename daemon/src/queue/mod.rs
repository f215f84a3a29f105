//! Jobs that wait: who may join, and who is next.
//!
//! Pure: it knows no clock and no channel. The driver passes `now` in and carries out what comes back.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use thiserror::Error;

use crate::job::{ClientName, JobId, ModelName, Priority};

/// How many jobs may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// All together.
    pub jobs: usize,
    /// Of one client.
    pub jobs_per_client: usize,
}

/// Why a job may not join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    /// The queue is full.
    #[error("{0} jobs are waiting; that is the limit")]
    Full(usize),
    /// The client has its share.
    #[error("{0} jobs of this client are waiting; that is the limit for one client")]
    ClientFull(usize),
}

/// A job that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Which job.
    pub job: JobId,
    /// Whose.
    pub client: ClientName,
    /// For which model.
    pub model: ModelName,
    /// Its class.
    pub priority: Priority,
    /// When it is worthless.
    pub deadline: Instant,
}

/// The jobs that wait, most urgent first, oldest first within a class.
#[derive(Debug)]
pub struct Queue {
    limits: QueueLimits,
    order: BTreeMap<(Reverse<Priority>, u64), Waiting>,
    places: HashMap<JobId, (Reverse<Priority>, u64)>,
    clients: HashMap<ClientName, usize>,
    /// Number of the next to join at the end.
    last: u64,
    /// Number of the next to come back to the front.
    first: u64,
}

/// Where the numbering starts: nobody will live to see either side run out.
const MIDDLE: u64 = u64::MAX / 2;

impl Queue {
    /// An empty queue.
    pub fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            order: BTreeMap::new(),
            places: HashMap::new(),
            clients: HashMap::new(),
            last: MIDDLE,
            first: MIDDLE - 1,
        }
    }

    /// Goes by other limits from now on; who waits already stays.
    pub fn set_limits(&mut self, limits: QueueLimits) {
        self.limits = limits;
    }

    /// Lets a job join; gives the number of jobs before it.
    pub fn admit(&mut self, waiting: Waiting) -> Result<usize, Refused> {
        if self.order.len() >= self.limits.jobs {
            return Err(Refused::Full(self.limits.jobs));
        }
        let of_client = self.clients.get(&waiting.client).copied().unwrap_or(0);
        if of_client >= self.limits.jobs_per_client {
            return Err(Refused::ClientFull(self.limits.jobs_per_client));
        }
        let place = (Reverse(waiting.priority), self.last);
        self.last += 1;
        let before = self.order.range(..place).count();
        self.insert(place, waiting);
        Ok(before)
    }

    /// Lets a job that was taken and could not start wait again, before the others of its class. It was admitted once, so
    /// no limit holds it off.
    pub fn put_back(&mut self, waiting: Waiting) {
        let place = (Reverse(waiting.priority), self.first);
        self.first -= 1;
        self.insert(place, waiting);
    }

    fn insert(&mut self, place: (Reverse<Priority>, u64), waiting: Waiting) {
        *self.clients.entry(waiting.client.clone()).or_default() += 1;
        self.places.insert(waiting.job, place);
        self.order.insert(place, waiting);
    }

    /// Takes the next job for a model.
    pub fn next(&mut self, model: &ModelName) -> Option<JobId> {
        let job = self.order.values().find(|w| w.model == *model)?.job;
        self.remove(job).then_some(job)
    }

    /// Takes a job out; false if it is not here.
    pub fn remove(&mut self, job: JobId) -> bool {
        let waiting = self.places.remove(&job).and_then(|place| self.order.remove(&place));
        let Some(waiting) = waiting else { return false };
        if let Some(count) = self.clients.get_mut(&waiting.client) {
            *count -= 1;
            if *count == 0 {
                self.clients.remove(&waiting.client);
            }
        }
        true
    }

    /// Takes out every job whose deadline has come.
    pub fn expire(&mut self, now: Instant) -> Vec<JobId> {
        let expired: Vec<JobId> = self.order.values().filter(|w| w.deadline <= now).map(|w| w.job).collect();
        for &job in &expired {
            self.remove(job);
        }
        expired
    }

    /// When the next job expires.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.order.values().map(|w| w.deadline).min()
    }

    /// How many jobs wait.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests;
