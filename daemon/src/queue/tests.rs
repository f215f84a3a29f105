use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn waiting(job: u64, client: &str, priority: Priority, deadline: Instant) -> Waiting {
    let model = ModelName::new("main").unwrap();
    Waiting { job: JobId(job), client: ClientName::new(client).unwrap(), model, priority, deadline }
}

fn queue(jobs: usize, jobs_per_client: usize) -> Queue {
    Queue::new(QueueLimits { jobs, jobs_per_client })
}

fn drain(queue: &mut Queue) -> Vec<u64> {
    let model = ModelName::new("main").unwrap();
    std::iter::from_fn(|| queue.next(&model)).map(|job| job.0).collect()
}

#[test]
fn urgent_first_then_oldest_first() {
    let mut queue = queue(10, 10);
    let later = Instant::now() + Duration::from_mins(1);
    for (job, priority) in [(1, Priority::Low), (2, Priority::Normal), (3, Priority::High), (4, Priority::Normal)] {
        queue.admit(waiting(job, "a", priority, later)).unwrap();
    }
    assert_eq!(drain(&mut queue), [3, 2, 4, 1]);
}

#[test]
fn the_position_counts_those_who_go_first() {
    let mut queue = queue(10, 10);
    let later = Instant::now() + Duration::from_mins(1);
    assert_eq!(queue.admit(waiting(1, "a", Priority::Normal, later)), Ok(0));
    assert_eq!(queue.admit(waiting(2, "a", Priority::Normal, later)), Ok(1));
    assert_eq!(queue.admit(waiting(3, "a", Priority::High, later)), Ok(0));
}

#[test]
fn limits_hold_and_name_themselves() {
    let mut queue = queue(2, 1);
    let later = Instant::now() + Duration::from_mins(1);
    queue.admit(waiting(1, "a", Priority::Normal, later)).unwrap();
    assert_eq!(queue.admit(waiting(2, "a", Priority::Normal, later)), Err(Refused::ClientFull(1)));
    queue.admit(waiting(3, "b", Priority::Normal, later)).unwrap();
    assert_eq!(queue.admit(waiting(4, "c", Priority::High, later)), Err(Refused::Full(2)));
    assert!(queue.remove(JobId(1)));
    queue.admit(waiting(5, "a", Priority::Normal, later)).unwrap();
}

#[test]
fn a_job_for_another_model_does_not_block() {
    let mut queue = queue(10, 10);
    let later = Instant::now() + Duration::from_mins(1);
    let mut other = waiting(1, "a", Priority::High, later);
    other.model = ModelName::new("other").unwrap();
    queue.admit(other).unwrap();
    queue.admit(waiting(2, "a", Priority::Low, later)).unwrap();
    assert_eq!(drain(&mut queue), [2]);
    assert_eq!(queue.len(), 1);
}

#[test]
fn who_comes_back_is_next_of_its_class() {
    let mut queue = queue(2, 2);
    let later = Instant::now() + Duration::from_mins(1);
    for job in [1, 2] {
        queue.admit(waiting(job, "a", Priority::Normal, later)).unwrap();
    }
    let model = ModelName::new("main").unwrap();
    assert_eq!(queue.next(&model), Some(JobId(1)));
    queue.admit(waiting(3, "a", Priority::Normal, later)).unwrap();
    // The queue is full, and still it may come back.
    queue.put_back(waiting(1, "a", Priority::Normal, later));
    queue.put_back(waiting(4, "b", Priority::High, later));
    assert_eq!(drain(&mut queue), [4, 1, 2, 3]);
    assert!(queue.is_empty() && queue.admit(waiting(5, "a", Priority::Low, later)).is_ok());
}

#[test]
fn the_expired_go_at_their_deadline() {
    let mut queue = queue(10, 10);
    let now = Instant::now();
    queue.admit(waiting(1, "a", Priority::Normal, now + Duration::from_secs(2))).unwrap();
    queue.admit(waiting(2, "a", Priority::Normal, now + Duration::from_secs(1))).unwrap();
    assert_eq!(queue.next_deadline(), Some(now + Duration::from_secs(1)));
    assert_eq!(queue.expire(now), []);
    assert_eq!(queue.expire(now + Duration::from_secs(1)), [JobId(2)]);
    assert_eq!(drain(&mut queue), [1]);
}

#[derive(Debug, Clone)]
enum Step {
    Admit(u8, u8),
    Next,
    Remove(u8),
}

proptest! {
    /// Against a plain list: no job is lost, doubled or out of order, and limits hold at every step.
    #[test]
    fn agrees_with_a_plain_list(steps in prop::collection::vec(prop_oneof![
        (0u8..4, 0u8..3).prop_map(|(client, class)| Step::Admit(client, class)),
        Just(Step::Next),
        (0u8..40).prop_map(Step::Remove),
    ], 0..60)) {
        let mut queue = queue(6, 3);
        let mut list: Vec<Waiting> = Vec::new();
        let later = Instant::now() + Duration::from_mins(1);
        let model = ModelName::new("main").unwrap();
        for (job, step) in (0u64..).zip(steps) {
            match step {
                Step::Admit(client, class) => {
                    let priority = [Priority::Low, Priority::Normal, Priority::High][usize::from(class)];
                    let new = waiting(job, &format!("c{client}"), priority, later);
                    let of_client = list.iter().filter(|w| w.client == new.client).count();
                    let expected = if list.len() >= 6 {
                        Err(Refused::Full(6))
                    } else if of_client >= 3 {
                        Err(Refused::ClientFull(3))
                    } else {
                        Ok(list.iter().filter(|w| w.priority >= priority).count())
                    };
                    prop_assert_eq!(queue.admit(new.clone()), expected);
                    if expected.is_ok() { list.push(new); }
                }
                Step::Next => {
                    let best = list.iter().map(|w| w.priority).max();
                    let at = list.iter().position(|w| Some(w.priority) == best);
                    let expected = at.map(|at| list.remove(at).job);
                    prop_assert_eq!(queue.next(&model), expected);
                }
                Step::Remove(job) => {
                    let at = list.iter().position(|w| w.job == JobId(u64::from(job)));
                    prop_assert_eq!(queue.remove(JobId(u64::from(job))), at.is_some());
                    if let Some(at) = at { list.remove(at); }
                }
            }
            prop_assert_eq!(queue.len(), list.len());
        }
    }
}
