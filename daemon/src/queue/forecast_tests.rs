//! What jobs that wait and run let others expect.

use std::time::{Duration, Instant};

use super::Queue;
use super::tests::{client, main_model, queue, spent, waiting};
use crate::job::{JobId, Priority};

/// A model that has answered enough jobs of ten tokens, five milliseconds for the prompt and five for the answer.
fn measured(queue: &mut Queue, now: Instant) {
    for job in 10_000..10_040 {
        queue.admit(waiting(job, "earlier", Priority::Normal, now)).unwrap();
        assert_eq!(queue.next(&main_model(), now), Some(JobId(job)));
        queue.answered(&main_model(), JobId(job), &spent(10));
    }
}

#[test]
fn what_waits_and_what_runs_is_ahead() {
    let (mut queue, now) = (queue(10, 10), Instant::now());
    let start = |queue: &Queue, job, now| queue.forecast(JobId(job), 1, now).unwrap().start.as_micros().div_ceil(1000);
    queue.admit(waiting(1, "a", Priority::Normal, now)).unwrap();
    assert_eq!(queue.forecast(JobId(1), 1, now), None);
    assert!(queue.remove(JobId(1)));
    measured(&mut queue, now);
    for job in 1..=3 {
        queue.admit(waiting(job, "a", Priority::Normal, now)).unwrap();
    }
    assert_eq!([1, 2, 3].map(|job| start(&queue, job, now) / 10), [0, 1, 2]);
    assert_eq!(queue.next(&main_model(), now), Some(JobId(1)));
    assert_eq!([2, 3].map(|job| start(&queue, job, now) / 10), [1, 2]);
    assert_eq!(queue.next_start(&main_model(), Some(&client("b")), 1, now), None);
    let own = queue.next_start(&main_model(), Some(&client("a")), 1, now).unwrap();
    assert_eq!(
        (own, queue.next_start(&main_model(), None, 1, now)),
        (queue.forecast(JobId(2), 1, now).unwrap().start, Some(own))
    );
    // Half of the first has run.
    let half = now + Duration::from_millis(5);
    assert_eq!(start(&queue, 2, now), start(&queue, 2, half) + 5);
    assert!(queue.forecast(JobId(1), 1, half).unwrap().end <= Duration::from_millis(6));
    // It comes back to the head of the queue, and nobody knows how much of it is left; or it ends, in whatever way.
    queue.put_back(waiting(1, "a", Priority::Normal, now));
    assert_eq!([1, 2, 3].map(|job| start(&queue, job, now) / 10), [0, 0, 1]);
    assert_eq!(queue.next(&main_model(), now), Some(JobId(1)));
    assert_eq!([2, 3].map(|job| start(&queue, job, now) / 10), [0, 1]);
    assert!(!queue.remove(JobId(1)));
    assert_eq!([2, 3].map(|job| start(&queue, job, now) / 10), [0, 1]);
    // Another engine may be faster.
    queue.forget_pace(&main_model());
    assert_eq!(queue.forecast(JobId(3), 1, now), None);
}

#[test]
fn the_most_urgent_do_not_wait_for_those_that_make_room() {
    let (mut queue, now) = (queue(10, 10), Instant::now());
    measured(&mut queue, now);
    queue.admit(waiting(1, "a", Priority::Low, now)).unwrap();
    assert_eq!(queue.next(&main_model(), now), Some(JobId(1)));
    for (job, priority) in [(2, Priority::Normal), (3, Priority::High)] {
        queue.admit(waiting(job, "b", priority, now)).unwrap();
        let forecast = queue.forecast(JobId(job), 1, now).unwrap();
        assert_eq!((forecast.start.is_zero(), forecast.first_token.is_zero()), (job == 3, job == 3), "{forecast:?}");
    }
}
