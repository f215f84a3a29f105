//! The jobs that wait for one model.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::accounts::Accounts;
use super::pace::{Ahead, Forecast, Pace, Spent, Work};
use super::{MIDDLE, Waiting};
use crate::job::{ClientName, JobId, Priority};

/// After so long a job goes up a class: what is always overtaken would never be answered.
pub(super) const AGEING: Duration = Duration::from_mins(1);

/// The jobs of one class: of each client, oldest first.
type Class = BTreeMap<ClientName, BTreeMap<u64, Entry>>;

/// What has to be known of each job to tell whose turn it is, and when.
#[derive(Debug, Clone, Copy)]
struct Entry {
    job: JobId,
    work: Work,
    deadline: Instant,
    /// How long it has run before. Of one that came back to the front nobody knows.
    ran: Duration,
    /// Whether something else has to end before it may start.
    held: bool,
}

/// Where a job stands.
#[derive(Debug)]
struct Place {
    class: Priority,
    /// Order of arrival.
    number: u64,
    /// When it goes up a class, unless it is in the highest.
    rises: Option<Instant>,
    held: bool,
    waiting: Waiting,
}

/// A job that was taken out to run.
#[derive(Debug)]
struct Running {
    client: ClientName,
    class: Priority,
    work: Work,
    since: Instant,
    ran: Duration,
    deadline: Instant,
    /// Whether it is in the engine that takes the next jobs.
    in_way: bool,
}

/// The jobs that wait for one model. Next is the highest class; in it, the client that has had the fewest tokens; of it, the
/// oldest job.
#[derive(Debug, Default)]
pub(super) struct Lane {
    classes: BTreeMap<Priority, Class>,
    places: HashMap<JobId, Place>,
    rising: BTreeSet<(Instant, JobId)>,
    accounts: Accounts,
    running: HashMap<JobId, Running>,
    pace: Pace,
}

impl Lane {
    /// Lets a job join in its class. Jobs of a client are in the order of their numbers.
    pub(super) fn insert(&mut self, number: u64, waiting: Waiting) {
        let (job, class) = (waiting.job, waiting.priority);
        let rises = above(class).map(|_| waiting.received + AGEING);
        self.places.insert(job, Place { class, number, rises, held: false, waiting });
        self.join(job);
    }

    fn join(&mut self, job: JobId) {
        let Some(Place { class, number, rises, held, waiting }) = self.places.get(&job) else { return };
        let of_class = self.classes.entry(*class).or_default();
        let (work, deadline, ran) = (waiting.work, waiting.deadline, ran_before(*number));
        of_class
            .entry(waiting.client.clone())
            .or_default()
            .insert(*number, Entry { job, work, deadline, ran, held: *held });
        self.rising.extend(rises.map(|at| (at, job)));
    }

    /// Lets a job keep its place and not be next, or be next again.
    pub(super) fn hold(&mut self, job: JobId, held: bool) {
        self.leave(job);
        if let Some(place) = self.places.get_mut(&job) {
            place.held = held;
        }
        self.join(job);
    }

    /// Takes a job out.
    pub(super) fn remove(&mut self, job: JobId) -> Option<Waiting> {
        self.leave(job);
        self.places.remove(&job).map(|place| place.waiting)
    }

    fn leave(&mut self, job: JobId) {
        let Some(Place { class, number, rises, held: _, waiting }) = self.places.get(&job) else { return };
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

    /// The jobs that go before this one if none comes or ends: those of higher classes, the client's own before it, and of each
    /// other client in its class those whose turn it is while that has had less. `back` tokens are given back to its client.
    fn before(&self, job: JobId, back: u64) -> Vec<Entry> {
        let Some(Place { class, number, waiting, .. }) = self.places.get(&job) else { return Vec::new() };
        let mut before = Vec::new();
        let mut get: HashMap<&ClientName, u64> = HashMap::new();
        for (client, jobs) in self.classes.range(class..).skip(1).flat_map(|(_, class)| class) {
            *get.entry(client).or_default() += tokens(jobs.values());
            before.extend(jobs.values());
        }
        let mut get = |client| get.remove(client).unwrap_or_default();
        let Some(of_class) = self.classes.get(class) else { return before };
        let own =
            of_class.get(&waiting.client).into_iter().flat_map(|jobs| jobs.range(..number).map(|(_, entry)| entry));
        let had = self.accounts.of(&waiting.client) + get(&waiting.client) + tokens(own.clone());
        let had = had.saturating_sub(back).max(self.accounts.floor());
        before.extend(own);
        for (client, jobs) in of_class.iter().filter(|(client, _)| **client != waiting.client) {
            let mut theirs = self.accounts.of(client) + get(client);
            let turns = jobs.iter().take_while(|(their_number, entry)| {
                let is_before = (theirs, *their_number) < (had, number);
                theirs += entry.work.tokens();
                is_before
            });
            before.extend(turns.map(|(_, entry)| entry));
        }
        before
    }

    /// How many jobs are likely to go before this one.
    pub(super) fn position(&self, job: JobId) -> usize {
        self.before(job, 0).len()
    }

    /// What is expected of a job that waits or runs; none if it does neither, or nothing was measured.
    pub(super) fn forecast(&self, job: JobId, sequences: usize, now: Instant) -> Option<Forecast> {
        if let Some(Running { work, since, .. }) = self.running.get(&job) {
            return self.pace.of_running(*work, now.saturating_duration_since(*since));
        }
        let Place { waiting, class, rises, .. } = self.places.get(&job)?;
        // By then it is in the highest class, where nobody is sure to go before it.
        let risen = rises.map(|at| if *class == Priority::Low { at + AGEING } else { at });
        let risen = risen.map_or(Duration::MAX, |at| at.saturating_duration_since(now));
        // What its client is charged for its other jobs may be given back, and then it goes before others.
        let running = self.running.values().filter(|running| running.client == waiting.client);
        let waits = self.classes.values().filter_map(|class| class.get(&waiting.client)).flat_map(BTreeMap::values);
        let back = tokens(waits) + running.map(|running| running.work.tokens()).sum::<u64>();
        let ahead = |back, within: Duration| {
            let waits = self.before(job, back).into_iter().map(move |Entry { work, deadline, ran, .. }| Ahead {
                work,
                ran,
                left: deadline.saturating_duration_since(now).min(within),
            });
            self.running(waiting.priority, now).chain(waits)
        };
        self.pace.forecast(waiting.work, ahead(0, Duration::MAX), ahead(back, risen), sequences)
    }

    /// When the next job is likely to start, or the next one of a client.
    pub(super) fn next_start(&self, client: Option<&ClientName>, sequences: usize, now: Instant) -> Option<Duration> {
        let Some(client) = client else {
            let running = || self.running(Priority::Low, now);
            return self.pace.forecast(Work::default(), running(), running(), sequences).map(|forecast| forecast.start);
        };
        let mut classes = self.classes.values().rev();
        let (_, next) = classes.find_map(|class| class.get(client)?.first_key_value())?;
        self.forecast(next.job, sequences, now).map(|forecast| forecast.start)
    }

    /// The running jobs that one of this class has to wait for: those of the lowest make room for the highest.
    fn running(&self, class: Priority, now: Instant) -> impl Iterator<Item = Ahead> {
        let make_room = move |running: &&Running| class == Priority::High && running.class == Priority::Low;
        let stay = self.running.values().filter(move |running| running.in_way && !make_room(running));
        stay.map(move |Running { work, since, ran, deadline, .. }| Ahead {
            work: *work,
            ran: ran.saturating_add(now.saturating_duration_since(*since)),
            left: deadline.saturating_duration_since(now),
        })
    }

    /// The next job.
    pub(super) fn peek(&mut self, now: Instant) -> Option<&Waiting> {
        let job = self.choose(now)?;
        self.places.get(&job).map(|place| &place.waiting)
    }

    /// Takes the next job out. Its client is charged for what it may cost.
    pub(super) fn next(&mut self, now: Instant) -> Option<Waiting> {
        let job = self.choose(now)?;
        let ran = self.places.get(&job).map_or(Duration::ZERO, |place| ran_before(place.number));
        let waiting = self.remove(job)?;
        self.accounts.charge(&waiting.client, waiting.work.tokens());
        let Waiting { client, priority: class, work, deadline, .. } = waiting.clone();
        self.running.insert(job, Running { client, class, work, since: now, ran, deadline, in_way: true });
        Some(waiting)
    }

    fn choose(&mut self, now: Instant) -> Option<JobId> {
        self.rise(now);
        let clients = self.classes.values().flat_map(BTreeMap::keys);
        self.accounts.waiting(clients);
        let oldest = |(client, of_client): (&ClientName, &BTreeMap<u64, Entry>)| {
            let (number, entry) = of_client.iter().find(|(_, entry)| !entry.held)?;
            Some((self.accounts.of(client), *number, entry.job))
        };
        let next = |of_class: &Class| of_class.iter().filter_map(oldest).min();
        self.classes.values().rev().find_map(next).map(|(_, _, job)| job)
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

    /// A job runs no more. Its client is still charged for it.
    pub(super) fn stopped(&mut self, job: JobId) {
        self.running.remove(&job);
    }

    /// A job waits again that ran: its client is no longer charged for it.
    pub(super) fn comes_back(&mut self, waiting: &Waiting) {
        let work = self.running.remove(&waiting.job).map_or(waiting.work, |running| running.work);
        self.accounts.refund(&waiting.client, work.tokens());
    }

    /// A job that was taken has a longer prompt than it told while it waited.
    pub(super) fn grows(&mut self, job: JobId, prompt: u64) {
        let Some(running) = self.running.get_mut(&job) else { return };
        let more = prompt.saturating_sub(running.work.prompt);
        running.work.prompt += more;
        self.accounts.charge(&running.client, more);
    }

    /// A job has been answered: its client is charged for no more than it has had.
    pub(super) fn answered(&mut self, job: JobId, spent: &Spent) {
        let Some(Running { client, work, in_way, .. }) = self.running.remove(&job) else { return };
        self.accounts.refund(&client, work.tokens().saturating_sub(spent.tokens()));
        if in_way {
            self.pace.add(work, spent);
        }
    }

    /// The next jobs run in another engine, whose pace nobody knows.
    pub(super) fn forget_pace(&mut self) {
        self.pace = Pace::default();
        self.running.values_mut().for_each(|running| running.in_way = false);
    }
}

fn ran_before(number: u64) -> Duration {
    if number < MIDDLE { Duration::MAX } else { Duration::ZERO }
}

fn tokens<'a>(jobs: impl Iterator<Item = &'a Entry>) -> u64 {
    jobs.map(|entry| entry.work.tokens()).sum()
}

fn above(class: Priority) -> Option<Priority> {
    match class {
        Priority::Low => Some(Priority::Normal),
        Priority::Normal => Some(Priority::High),
        Priority::High => None,
    }
}
