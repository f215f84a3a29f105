//! Jobs that wait: who may join, and who is next.
//!
//! Pure: it knows no clock and no channel. The driver passes `now` in and carries out what comes back.

mod accounts;
#[cfg(test)]
mod forecast_tests;
mod lane;
mod pace;
#[cfg(test)]
mod pace_tests;
mod rates;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::job::{ClientName, JobId, ModelName, Priority};
use lane::Lane;
pub use pace::{Forecast, Spent, Work};
pub use rates::{Charge, OverRate, TokenRates};

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
    /// Whether it is a step of another. Limits are for what clients ask, not for what comes of it.
    pub is_step: bool,
    /// Whose.
    pub client: ClientName,
    /// For which model.
    pub model: ModelName,
    /// Its class.
    pub priority: Priority,
    /// What it may cost.
    pub work: Work,
    /// When it came.
    pub received: Instant,
    /// When it is worthless.
    pub deadline: Instant,
}

/// The jobs that wait, by model. The highest class is first, where jobs rise as they get older; in a class, clients get the
/// same number of tokens as long as they have jobs waiting; jobs of a client are in their order.
#[derive(Debug)]
pub struct Queue {
    limits: QueueLimits,
    lanes: HashMap<ModelName, Lane>,
    /// Of each job its model, which has the rest.
    models: HashMap<JobId, ModelName>,
    /// Of each client how many wait that are no steps.
    clients: HashMap<ClientName, usize>,
    deadlines: BTreeSet<(Instant, JobId)>,
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
            lanes: HashMap::new(),
            models: HashMap::new(),
            clients: HashMap::new(),
            deadlines: BTreeSet::new(),
            last: MIDDLE,
            first: MIDDLE - 1,
        }
    }

    /// Goes by other limits from now on; who waits already stays.
    pub fn set_limits(&mut self, limits: QueueLimits) {
        self.limits = limits;
    }

    /// Lets a job join; gives the number of jobs that are likely to go before it.
    pub fn admit(&mut self, waiting: Waiting) -> Result<usize, Refused> {
        if self.clients.values().sum::<usize>() >= self.limits.jobs {
            return Err(Refused::Full(self.limits.jobs));
        }
        if self.len_of(&waiting.client) >= self.limits.jobs_per_client {
            return Err(Refused::ClientFull(self.limits.jobs_per_client));
        }
        let job = waiting.job;
        self.rejoin(waiting);
        Ok(self.position(job))
    }

    /// How many jobs are likely to go before this one; 0 if it does not wait.
    pub fn position(&self, job: JobId) -> usize {
        let lane = self.models.get(&job).and_then(|model| self.lanes.get(model));
        lane.map_or(0, |lane| lane.position(job))
    }

    /// When a job that waits or was taken is likely to be answered by an engine that runs so many at once. None if there is no
    /// such job, or nothing is known of its model's pace.
    pub fn forecast(&self, job: JobId, sequences: usize, now: Instant) -> Option<Forecast> {
        self.lanes.values().find_map(|lane| lane.forecast(job, sequences, now))
    }

    /// How long it is likely to take until a job that waits for this model starts, of this client if one is named; none if
    /// that is not known.
    pub fn next_start(
        &self,
        model: &ModelName,
        client: Option<&ClientName>,
        sequences: usize,
        now: Instant,
    ) -> Option<Duration> {
        self.lanes.get(model)?.next_start(client, sequences, now)
    }

    /// How many jobs of a client wait that are no steps.
    pub fn len_of(&self, client: &ClientName) -> usize {
        self.clients.get(client).copied().unwrap_or(0)
    }

    /// Lets a job of an earlier run join at the end. It was admitted once, so no limit holds it off.
    pub fn rejoin(&mut self, waiting: Waiting) {
        let number = self.last;
        self.last += 1;
        self.insert(number, waiting);
    }

    /// Lets a job that was taken and could not be finished wait again, before the client's others of its class. It was
    /// admitted once, so no limit holds it off; what its client was charged for it is given back.
    pub fn put_back(&mut self, waiting: Waiting) {
        if let Some(lane) = self.lanes.get_mut(&waiting.model) {
            lane.comes_back(&waiting);
        }
        let number = self.first;
        self.first -= 1;
        self.insert(number, waiting);
    }

    /// A job keeps its place, and others go before it until it is released. It waits, and expires as the others do.
    pub fn hold(&mut self, job: JobId) {
        self.set_held(job, true);
    }

    /// A job need not wait for anything but its turn any more.
    pub fn release(&mut self, job: JobId) {
        self.set_held(job, false);
    }

    fn set_held(&mut self, job: JobId, held: bool) {
        if let Some(lane) = self.models.get(&job).and_then(|model| self.lanes.get_mut(model)) {
            lane.hold(job, held);
        }
    }

    fn insert(&mut self, number: u64, waiting: Waiting) {
        if !waiting.is_step {
            *self.clients.entry(waiting.client.clone()).or_default() += 1;
        }
        self.models.insert(waiting.job, waiting.model.clone());
        self.deadlines.insert((waiting.deadline, waiting.job));
        self.lanes.entry(waiting.model.clone()).or_default().insert(number, waiting);
    }

    /// The next job for a model.
    pub fn peek(&mut self, model: &ModelName, now: Instant) -> Option<JobId> {
        self.lanes.get_mut(model)?.peek(now).map(|waiting| waiting.job)
    }

    /// Takes the next job for a model; its client is charged for the tokens that it may cost.
    pub fn next(&mut self, model: &ModelName, now: Instant) -> Option<JobId> {
        let waiting = self.lanes.get_mut(model)?.next(now)?;
        self.forget(&waiting);
        Some(waiting.job)
    }

    /// Whether the next job for a model is one that was asked for in the highest class, not one that has risen to it.
    pub fn is_urgent(&mut self, model: &ModelName, now: Instant) -> bool {
        let next = self.lanes.get_mut(model).and_then(|lane| lane.peek(now));
        next.is_some_and(|waiting| waiting.priority == Priority::High)
    }

    /// A job that was taken has a prompt of so many tokens, which is more than it told while it waited: its client is charged for
    /// them, and the pace of the model is that of the whole prompt.
    pub fn grows(&mut self, model: &ModelName, job: JobId, prompt: u64) {
        if let Some(lane) = self.lanes.get_mut(model) {
            lane.grows(job, prompt);
        }
    }

    /// A job that was taken has been answered: what its client was charged too much for it is given back, and what it has cost
    /// tells the pace of the model.
    pub fn answered(&mut self, model: &ModelName, job: JobId, spent: &Spent) {
        if let Some(lane) = self.lanes.get_mut(model) {
            lane.answered(job, spent);
        }
    }

    /// A job that was taken is done as several others, which wait for themselves: its client is not charged for it.
    pub fn resolve(&mut self, waiting: &Waiting) {
        if let Some(lane) = self.lanes.get_mut(&waiting.model) {
            lane.comes_back(waiting);
        }
    }

    /// The next jobs of a model run in another engine: what was measured of its pace is forgotten.
    pub fn forget_pace(&mut self, model: &ModelName) {
        if let Some(lane) = self.lanes.get_mut(model) {
            lane.forget_pace();
        }
    }

    /// Takes a job out that waits or was taken; whether it waited.
    pub fn remove(&mut self, job: JobId) -> bool {
        for lane in self.lanes.values_mut() {
            lane.stopped(job);
        }
        let lane = self.models.get(&job).and_then(|model| self.lanes.get_mut(model));
        let Some(waiting) = lane.and_then(|lane| lane.remove(job)) else { return false };
        self.forget(&waiting);
        true
    }

    fn forget(&mut self, Waiting { job, is_step, client, deadline, .. }: &Waiting) {
        self.models.remove(job);
        self.deadlines.remove(&(*deadline, *job));
        if let Some(count) = self.clients.get_mut(client).filter(|_| !is_step) {
            *count -= 1;
            if *count == 0 {
                self.clients.remove(client);
            }
        }
    }

    /// Takes out every job whose deadline has come, in the order of the deadlines.
    pub fn expire(&mut self, now: Instant) -> Vec<JobId> {
        let late = self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now);
        let late: Vec<JobId> = late.map(|(_, job)| *job).collect();
        for &job in &late {
            self.remove(job);
        }
        late
    }

    /// When the next job expires.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Forgets what clients have had of a model that is gone. Nobody may wait for it any more.
    pub fn remove_model(&mut self, model: &ModelName) {
        self.lanes.remove(model);
    }

    /// How many jobs wait.
    pub fn len(&self) -> usize {
        self.models.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.models.is_empty()
    }
}

#[cfg(test)]
mod tests;
