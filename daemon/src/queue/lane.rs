//! The jobs that wait for one model.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::Waiting;
use super::accounts::Accounts;
use crate::job::{ClientName, JobId, Priority};

/// After so long a job goes up a class: what is always overtaken would never be answered.
pub(super) const AGEING: Duration = Duration::from_mins(1);

/// The jobs of one class: of each client, oldest first.
type Class = BTreeMap<ClientName, BTreeMap<u64, JobId>>;

/// Where a job stands.
#[derive(Debug)]
struct Place {
    class: Priority,
    /// Order of arrival.
    number: u64,
    /// When it goes up a class, unless it is in the highest.
    rises: Option<Instant>,
    waiting: Waiting,
}

/// The jobs that wait for one model. Next is the highest class; in it, the client that has had the fewest tokens; of it, the
/// oldest job.
#[derive(Debug, Default)]
pub(super) struct Lane {
    classes: BTreeMap<Priority, Class>,
    places: HashMap<JobId, Place>,
    rising: BTreeSet<(Instant, JobId)>,
    accounts: Accounts,
}

impl Lane {
    /// Lets a job join in its class. Jobs of a client are in the order of their numbers.
    pub(super) fn insert(&mut self, number: u64, waiting: Waiting) {
        let (job, class) = (waiting.job, waiting.priority);
        let rises = above(class).map(|_| waiting.received + AGEING);
        self.places.insert(job, Place { class, number, rises, waiting });
        self.join(job);
    }

    fn join(&mut self, job: JobId) {
        let Some(Place { class, number, rises, waiting }) = self.places.get(&job) else { return };
        let of_class = self.classes.entry(*class).or_default();
        of_class.entry(waiting.client.clone()).or_default().insert(*number, job);
        self.rising.extend(rises.map(|at| (at, job)));
    }

    /// Takes a job out.
    pub(super) fn remove(&mut self, job: JobId) -> Option<Waiting> {
        self.leave(job);
        self.places.remove(&job).map(|place| place.waiting)
    }

    fn leave(&mut self, job: JobId) {
        let Some(Place { class, number, rises, waiting }) = self.places.get(&job) else { return };
        if let Some(at) = rises {
            self.rising.remove(&(*at, job));
        }
        let Some(of_class) = self.classes.get_mut(class) else { return };
        if let Some(of_client) = of_class.get_mut(&waiting.client) {
            of_client.remove(number);
            if of_client.is_empty() {
                of_class.remove(&waiting.client);
            }
        }
        if of_class.is_empty() {
            self.classes.remove(class);
        }
    }

    /// How many jobs are likely to go before this one: those of higher classes, the client's own before it, and of the others
    /// in its class as many as in turns.
    pub(super) fn before(&self, job: JobId) -> usize {
        let Some(Place { class, number, waiting, .. }) = self.places.get(&job) else { return 0 };
        let higher = self.classes.range(*class..).skip(1).flat_map(|(_, class)| class.values()).map(BTreeMap::len);
        let Some(of_class) = self.classes.get(class) else { return 0 };
        let own = of_class.get(&waiting.client).map_or(0, |of_client| of_client.range(..number).count());
        let others = of_class.iter().filter(|(client, _)| **client != waiting.client);
        let turns = others.map(|(_, of_client)| of_client.len().min(own + 1));
        higher.sum::<usize>() + own + turns.sum::<usize>()
    }

    /// The next job.
    pub(super) fn peek(&mut self, now: Instant) -> Option<&Waiting> {
        let job = self.choose(now)?;
        self.places.get(&job).map(|place| &place.waiting)
    }

    /// Takes the next job out. Its client is charged for what it may cost.
    pub(super) fn next(&mut self, now: Instant) -> Option<Waiting> {
        let job = self.choose(now)?;
        let waiting = self.remove(job)?;
        self.accounts.charge(&waiting.client, waiting.tokens);
        Some(waiting)
    }

    fn choose(&mut self, now: Instant) -> Option<JobId> {
        self.rise(now);
        let clients = self.classes.values().flat_map(BTreeMap::keys);
        self.accounts.waiting(clients);
        let (_, of_class) = self.classes.last_key_value()?;
        let oldest = |(client, of_client): (&ClientName, &BTreeMap<u64, JobId>)| {
            of_client.first_key_value().map(|(number, job)| (self.accounts.of(client), *number, *job))
        };
        of_class.iter().filter_map(oldest).min().map(|(_, _, job)| job)
    }

    fn rise(&mut self, now: Instant) {
        while let Some(&(at, job)) = self.rising.first().filter(|(at, _)| *at <= now) {
            self.leave(job);
            self.rising.remove(&(at, job));
            if let Some(place) = self.places.get_mut(&job) {
                place.class = above(place.class).unwrap_or(place.class);
                place.rises = above(place.class).map(|_| at + AGEING);
            }
            self.join(job);
        }
    }

    /// A client was charged for more than it has had.
    pub(super) fn refund(&mut self, client: &ClientName, tokens: u64) {
        self.accounts.refund(client, tokens);
    }
}

fn above(class: Priority) -> Option<Priority> {
    match class {
        Priority::Low => Some(Priority::Normal),
        Priority::Normal => Some(Priority::High),
        Priority::High => None,
    }
}
