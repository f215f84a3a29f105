use std::time::Duration;

use proptest::prelude::*;

use super::lane::AGEING;
use super::*;

pub(super) fn client(name: &str) -> ClientName {
    ClientName::new(name).unwrap()
}

pub(super) fn main_model() -> ModelName {
    ModelName::new("main").unwrap()
}

/// A job of ten tokens that came at `now`.
pub(super) fn waiting(job: u64, of: &str, priority: Priority, now: Instant) -> Waiting {
    let deadline = now + Duration::from_hours(24);
    let (job, client, model) = (JobId(job), client(of), main_model());
    Waiting { job, is_step: false, client, model, priority, work: work(10), received: now, deadline }
}

fn work(tokens: u64) -> Work {
    Work { prompt: tokens / 2, answer: tokens - tokens / 2 }
}

/// An answer that was as short as that.
pub(super) fn spent(tokens: u64) -> Spent {
    let Work { prompt, answer } = work(tokens);
    Spent { prompt, answer, prefill: Duration::from_millis(prompt), decode: Duration::from_millis(answer) }
}

pub(super) fn queue(jobs: usize, jobs_per_client: usize) -> Queue {
    Queue::new(QueueLimits { jobs, jobs_per_client })
}

fn drain(queue: &mut Queue, now: Instant) -> Vec<u64> {
    std::iter::from_fn(|| queue.next(&main_model(), now)).map(|job| job.0).collect()
}

#[test]
fn steps_take_no_place_of_what_clients_ask() {
    let (mut queue, now) = (queue(2, 1), Instant::now());
    for job in 1..=5 {
        queue.rejoin(Waiting { is_step: true, ..waiting(job, "a", Priority::Normal, now) });
    }
    queue.admit(waiting(6, "a", Priority::Normal, now)).unwrap();
    assert_eq!((queue.len(), queue.len_of(&client("a"))), (6, 1));
    assert_eq!(queue.admit(waiting(7, "a", Priority::Normal, now)), Err(Refused::ClientFull(1)));
    assert!(queue.remove(JobId(1)));
    assert_eq!(queue.len_of(&client("a")), 1);
    queue.admit(waiting(8, "b", Priority::Normal, now)).unwrap();
    assert_eq!(queue.admit(waiting(9, "c", Priority::Normal, now)), Err(Refused::Full(2)));
}

#[test]
fn urgent_first_then_oldest_first() {
    let (mut queue, now) = (queue(10, 10), Instant::now());
    for (job, priority) in [(1, Priority::Low), (2, Priority::Normal), (3, Priority::High), (4, Priority::Normal)] {
        queue.admit(waiting(job, "a", priority, now)).unwrap();
    }
    assert_eq!(drain(&mut queue, now), [3, 2, 4, 1]);
}

#[test]
fn who_is_held_keeps_its_place_and_lets_others_go_first() {
    let (mut queue, now) = (queue(10, 10), Instant::now());
    for (job, of, priority) in [(1, "a", Priority::High), (2, "a", Priority::High), (3, "b", Priority::Low)] {
        queue.admit(waiting(job, of, priority, now)).unwrap();
        queue.hold(JobId(job));
    }
    assert_eq!((queue.peek(&main_model(), now), queue.len()), (None, 3));
    queue.release(JobId(3));
    assert_eq!(queue.next(&main_model(), now), Some(JobId(3)));
    queue.release(JobId(2));
    assert_eq!(queue.peek(&main_model(), now), Some(JobId(2)));
    queue.release(JobId(1));
    assert_eq!(queue.position(JobId(2)), 1);
    assert_eq!(drain(&mut queue, now), [1, 2], "its place is the one that it had");
    // One that is held gets older as others do, and is late as others are.
    queue.admit(waiting(4, "a", Priority::Low, now)).unwrap();
    queue.hold(JobId(4));
    assert_eq!(queue.peek(&main_model(), now + AGEING * 3), None);
    queue.admit(waiting(5, "a", Priority::High, now + AGEING * 3)).unwrap();
    queue.release(JobId(4));
    assert_eq!(drain(&mut queue, now + AGEING * 3), [4, 5], "it has risen to the highest class");
    queue.admit(waiting(6, "a", Priority::Low, now)).unwrap();
    queue.hold(JobId(6));
    assert_eq!(queue.expire(now + Duration::from_hours(25)), [JobId(6)]);
    queue.release(JobId(6));
    assert!(queue.is_empty());
}

#[test]
fn the_position_counts_those_who_are_likely_to_go_first() {
    let (mut queue, now) = (queue(20, 20), Instant::now());
    for job in 0..5 {
        assert_eq!(queue.admit(waiting(job, "flood", Priority::Normal, now)), Ok(usize::try_from(job).unwrap()));
    }
    assert_eq!(queue.admit(waiting(5, "b", Priority::Normal, now)), Ok(1), "one of the flood");
    assert_eq!(queue.admit(waiting(6, "b", Priority::Normal, now)), Ok(3), "two of the flood and its own");
    assert_eq!(queue.admit(waiting(7, "c", Priority::High, now)), Ok(0));
    assert_eq!(queue.admit(waiting(8, "d", Priority::Low, now)), Ok(8));
}

#[test]
fn limits_hold_and_name_themselves() {
    let (mut queue, now) = (queue(2, 1), Instant::now());
    queue.admit(waiting(1, "a", Priority::Normal, now)).unwrap();
    assert_eq!(queue.admit(waiting(2, "a", Priority::Normal, now)), Err(Refused::ClientFull(1)));
    queue.admit(waiting(3, "b", Priority::Normal, now)).unwrap();
    assert_eq!(queue.admit(waiting(4, "c", Priority::High, now)), Err(Refused::Full(2)));
    assert!(queue.remove(JobId(1)) && !queue.remove(JobId(1)));
    queue.admit(waiting(5, "a", Priority::Normal, now)).unwrap();
}

#[test]
fn who_has_risen_is_not_urgent() {
    let (mut queue, now) = (queue(10, 10), Instant::now());
    let model = main_model();
    assert!(!queue.is_urgent(&model, now), "nobody waits");
    for (job, priority) in [(1, Priority::Low), (2, Priority::Normal), (3, Priority::High)] {
        queue.admit(waiting(job, "a", priority, now)).unwrap();
        assert_eq!(queue.is_urgent(&model, now), priority == Priority::High);
    }
    let late = now + 2 * AGEING;
    assert!(!queue.is_urgent(&model, late), "the first of its client has risen");
    assert_eq!(queue.len(), 3, "to look takes nothing out");
    assert_eq!(queue.next(&model, late), Some(JobId(1)));
}

#[test]
fn a_job_for_another_model_does_not_block() {
    let (mut queue, now) = (queue(10, 10), Instant::now());
    let mut other = waiting(1, "a", Priority::High, now);
    other.model = ModelName::new("other").unwrap();
    queue.admit(other.clone()).unwrap();
    queue.admit(waiting(2, "a", Priority::Low, now)).unwrap();
    assert_eq!(drain(&mut queue, now), [2]);
    assert_eq!(queue.len(), 1);
    assert_eq!(queue.next(&other.model, now), Some(JobId(1)));
    queue.remove_model(&other.model);
    assert!(queue.is_empty());
}

#[test]
fn who_comes_back_is_next_of_its_client_and_is_not_charged_twice() {
    let (mut queue, now) = (queue(2, 2), Instant::now());
    for job in [1, 2] {
        queue.admit(waiting(job, "a", Priority::Normal, now)).unwrap();
    }
    assert_eq!(queue.next(&main_model(), now), Some(JobId(1)));
    queue.admit(waiting(3, "b", Priority::Normal, now)).unwrap();
    // The queue is full, and still it may come back.
    queue.put_back(waiting(1, "a", Priority::Normal, now));
    queue.put_back(waiting(4, "c", Priority::High, now));
    assert_eq!(drain(&mut queue, now), [4, 1, 3, 2]);
    assert!(queue.is_empty() && queue.admit(waiting(5, "a", Priority::Low, now)).is_ok());
}

#[test]
fn the_expired_go_at_their_deadline() {
    let (mut queue, now) = (queue(10, 10), Instant::now());
    let expiring = |job, seconds| Waiting {
        deadline: now + Duration::from_secs(seconds),
        ..waiting(job, "a", Priority::Normal, now)
    };
    queue.admit(expiring(1, 2)).unwrap();
    queue.admit(expiring(2, 1)).unwrap();
    assert_eq!(queue.next_deadline(), Some(now + Duration::from_secs(1)));
    assert_eq!(queue.expire(now), []);
    assert_eq!(queue.expire(now + Duration::from_secs(1)), [JobId(2)]);
    assert_eq!(queue.next_deadline(), Some(now + Duration::from_secs(2)));
    assert_eq!(drain(&mut queue, now), [1]);
    assert_eq!(queue.next_deadline(), None);
}

#[test]
fn a_flood_does_not_hold_up_others() {
    let (mut queue, now) = (queue(2000, 1000), Instant::now());
    for job in 0..1000 {
        queue.admit(waiting(job, "flood", Priority::Normal, now)).unwrap();
    }
    for turn in 0..100 {
        queue.admit(waiting(1000 + turn, "other", Priority::Normal, now)).unwrap();
        let next: Vec<u64> = (0..2).map(|_| queue.next(&main_model(), now).unwrap().0).collect();
        assert!(next.contains(&(1000 + turn)), "{next:?} in turn {turn}");
    }
}

#[test]
fn who_needed_less_than_was_thought_is_next_the_sooner() {
    let (mut queue, now) = (queue(100, 100), Instant::now());
    for turn in 0..10 {
        queue.admit(waiting(turn, "short", Priority::Normal, now)).unwrap();
        queue.admit(waiting(10 + turn, "long", Priority::Normal, now)).unwrap();
    }
    let mut short = 0;
    for _ in 0..8 {
        let job = queue.next(&main_model(), now).unwrap();
        if job.0 < 10 {
            short += 1;
            // It said ten and needs two.
            queue.answered(&main_model(), job, &spent(2));
        }
    }
    assert_eq!(short, 6, "as many tokens for both");
}

#[test]
fn a_low_job_is_not_overtaken_for_ever() {
    let (mut queue, start) = (queue(10, 10), Instant::now());
    queue.admit(waiting(0, "patient", Priority::Low, start)).unwrap();
    let mut turns = 0;
    let mut now = start;
    // Somebody always has an urgent job, and each takes a second.
    loop {
        turns += 1;
        queue.admit(waiting(turns, "urgent", Priority::High, now)).unwrap();
        if queue.next(&main_model(), now) == Some(JobId(0)) {
            break;
        }
        now += Duration::from_secs(1);
    }
    let waited = now - start;
    assert!(waited >= 2 * AGEING && waited <= 2 * AGEING + Duration::from_secs(2), "{waited:?}");
}

#[derive(Debug, Clone)]
enum Step {
    Admit { client: u8, class: u8, tokens: u64 },
    Next,
    PutBack,
    Answered(u64),
    Remove(u8),
    Later(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..4, 0u8..3, 1u64..50).prop_map(|(client, class, tokens)| Step::Admit { client, class, tokens }),
        4 => Just(Step::Next),
        1 => Just(Step::PutBack),
        1 => (0u64..60).prop_map(Step::Answered),
        1 => (0u8..80).prop_map(Step::Remove),
        1 => (0u64..50).prop_map(Step::Later),
    ]
}

/// The same as the queue for one model, said as plainly as can be.
#[derive(Default)]
struct Plain {
    /// Number, class now, when it rises.
    list: Vec<(u64, Priority, Instant, Waiting)>,
    had: HashMap<ClientName, u64>,
    floor: u64,
}

impl Plain {
    fn had(&self, client: &ClientName) -> u64 {
        self.had.get(client).copied().unwrap_or_default().max(self.floor)
    }

    fn next(&mut self, now: Instant) -> Option<Waiting> {
        for (_, class, rises, _) in &mut self.list {
            while *rises <= now && *class < Priority::High {
                *class = if *class == Priority::Low { Priority::Normal } else { Priority::High };
                *rises += AGEING;
            }
        }
        self.floor = self.list.iter().map(|(_, _, _, w)| self.had(&w.client)).min().unwrap_or(self.floor);
        let key = |(number, class, _, w): &(u64, Priority, Instant, Waiting)| {
            (std::cmp::Reverse(*class), self.had(&w.client), *number)
        };
        let first_of_client = |entry: &&(u64, Priority, Instant, Waiting)| {
            let same = self.list.iter().filter(|other| other.1 == entry.1 && other.3.client == entry.3.client);
            same.map(|other| other.0).min() == Some(entry.0)
        };
        let best = self.list.iter().filter(first_of_client).min_by_key(|entry| key(entry))?.3.job;
        let at = self.list.iter().position(|(_, _, _, w)| w.job == best)?;
        let (_, _, _, taken) = self.list.remove(at);
        let had = self.had(&taken.client) + taken.work.tokens();
        self.had.insert(taken.client.clone(), had);
        Some(taken)
    }
}

proptest! {
    /// No job is lost, doubled or out of order, and limits hold at every step.
    #[test]
    fn agrees_with_a_plain_list(steps in prop::collection::vec(step(), 0..80)) {
        let mut queue = queue(12, 5);
        let mut plain = Plain::default();
        let mut taken: Vec<Waiting> = Vec::new();
        let mut now = Instant::now();
        let (mut last, mut first) = (1_000_000, 1_000_000);
        for (job, step) in (0u64..).zip(steps) {
            match step {
                Step::Admit { client, class, tokens } => {
                    let priority = [Priority::Low, Priority::Normal, Priority::High][usize::from(class)];
                    let new = Waiting { work: work(tokens), ..waiting(job, &format!("c{client}"), priority, now) };
                    let of_client = plain.list.iter().filter(|(_, _, _, w)| w.client == new.client).count();
                    let answer = queue.admit(new.clone());
                    if plain.list.len() >= 12 {
                        prop_assert_eq!(answer, Err(Refused::Full(12)));
                    } else if of_client >= 5 {
                        prop_assert_eq!(answer, Err(Refused::ClientFull(5)));
                    } else {
                        prop_assert!(answer.is_ok_and(|before| before <= plain.list.len()));
                        last += 1;
                        plain.list.push((last, priority, now + AGEING, new));
                    }
                }
                Step::Next => {
                    let expected = plain.next(now);
                    prop_assert_eq!(queue.next(&main_model(), now), expected.as_ref().map(|w| w.job));
                    taken.extend(expected);
                }
                Step::PutBack => if let Some(back) = taken.pop() {
                    if let Some(had) = plain.had.get_mut(&back.client) { *had = had.saturating_sub(back.work.tokens()); }
                    first -= 1;
                    plain.list.push((first, back.priority, back.received + AGEING, back.clone()));
                    queue.put_back(back);
                },
                Step::Answered(tokens) => if let Some(ended) = taken.pop() {
                    queue.answered(&main_model(), ended.job, &spent(tokens));
                    let too_much = ended.work.tokens().saturating_sub(tokens);
                    if let Some(had) = plain.had.get_mut(&ended.client) { *had = had.saturating_sub(too_much); }
                    // It was the last that was told of it.
                    queue.answered(&main_model(), ended.job, &spent(tokens));
                }
                Step::Remove(job) => {
                    let at = plain.list.iter().position(|(_, _, _, w)| w.job == JobId(u64::from(job)));
                    prop_assert_eq!(queue.remove(JobId(u64::from(job))), at.is_some());
                    if let Some(at) = at { plain.list.remove(at); }
                    taken.retain(|taken| taken.job != JobId(u64::from(job)));
                }
                Step::Later(seconds) => now += Duration::from_secs(seconds),
            }
            prop_assert_eq!(queue.len(), plain.list.len());
            prop_assert_eq!(queue.next_deadline(), plain.list.iter().map(|(_, _, _, w)| w.deadline).min());
        }
        let mut rest: Vec<u64> = plain.list.iter().map(|(_, _, _, w)| w.job.0).collect();
        let mut drained = drain(&mut queue, now);
        rest.sort_unstable();
        drained.sort_unstable();
        prop_assert_eq!(rest, drained);
    }

    /// The position is how many go first if nothing comes and nothing ends.
    #[test]
    fn tells_how_many_go_first(jobs in prop::collection::vec((0u8..4, 0u8..3, 1u64..50), 1..40), taken in 0usize..10) {
        let (mut queue, now) = (queue(100, 100), Instant::now());
        for (job, (client, class, tokens)) in (0u64..).zip(&jobs) {
            let priority = [Priority::Low, Priority::Normal, Priority::High][usize::from(*class)];
            queue.admit(Waiting { work: work(*tokens), ..waiting(job, &format!("c{client}"), priority, now) }).unwrap();
        }
        for _ in 0..taken.min(jobs.len() - 1) {
            queue.next(&main_model(), now).unwrap();
        }
        let said: HashMap<u64, usize> = (0..jobs.len() as u64).map(|job| (job, queue.position(JobId(job)))).collect();
        for (position, job) in drain(&mut queue, now).into_iter().enumerate() {
            prop_assert_eq!(said[&job], position, "of job {}", job);
        }
    }

    /// While two clients have jobs waiting, neither gets more tokens than the other by twice the largest job.
    #[test]
    fn clients_get_the_same_number_of_tokens(
        sizes in prop::collection::vec((1u64..500, 1u64..500), 60),
        others in 0usize..4,
    ) {
        let (mut queue, now) = (queue(1000, 1000), Instant::now());
        let tokens = |job: u64| {
            let (a, b) = sizes[usize::try_from(job / 2).unwrap()];
            if job.is_multiple_of(2) { a } else { b }
        };
        for job in 0u64..120 {
            let client = if job.is_multiple_of(2) { "a" } else { "b" };
            queue.admit(Waiting { work: work(tokens(job)), ..waiting(job, client, Priority::Normal, now) }).unwrap();
        }
        for other in 0..others {
            queue.admit(waiting(1000 + other as u64, &format!("o{other}"), Priority::Normal, now)).unwrap();
        }
        let (mut had, mut left) = ([0u64; 2], [60, 60]);
        while left.iter().all(|left| *left > 0) {
            let job = queue.next(&main_model(), now).unwrap().0;
            if job < 1000 {
                had[usize::try_from(job % 2).unwrap()] += tokens(job);
                left[usize::try_from(job % 2).unwrap()] -= 1;
            }
            prop_assert!(had[0].abs_diff(had[1]) <= 2 * 500, "{had:?}");
        }
    }
}
