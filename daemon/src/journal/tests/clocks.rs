//! Boards with and without a clock.

use super::*;

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

/// A job that waited a minute before and a minute after it was accepted; then another run with this clock. Gives the time
/// that is left of five minutes.
fn remaining(before: Option<Duration>, after: Option<Duration>) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let (clock, runtime) = (TestClock::new(before), runtime());
    let (mut journal, _) = Journal::open(&settings(folder.path()), clock.clock()).unwrap();
    let (request, reply, model) = (request("a"), reply("a"), model());
    let new = NewJob {
        request: &request,
        reply: &reply,
        model: &model,
        fingerprint: fingerprint("a"),
        waited: MINUTE,
        outcome_max: 1,
        session_max: None,
    };
    journal.accept(JobId(1), new).unwrap();
    clock.pass(MINUTE);
    close(&runtime, journal);
    let clock = TestClock::new(after);
    // The time since boot means nothing.
    clock.0.lock().unwrap().running = 7 * HOUR;
    let (_journal, recovery) = Journal::open(&settings(folder.path()), clock.clock()).unwrap();
    let open = &recovery.open[0];
    assert_eq!(open.waited + open.remaining, Duration::from_mins(5).max(open.waited));
    open.remaining
}

#[test]
fn a_deadline_goes_on_while_it_was_down_if_the_clock_was_right_before_and_after() {
    assert_eq!(
        remaining(Some(WALL), Some(WALL + 3 * MINUTE)),
        MINUTE,
        "a minute of waiting each, and one of down time"
    );
    assert_eq!(remaining(Some(WALL), Some(WALL + 24 * HOUR)), Duration::ZERO);
    for (before, after) in [(None, Some(WALL)), (Some(WALL), None), (None, None), (Some(WALL + HOUR), Some(WALL))] {
        assert_eq!(remaining(before, after), 3 * MINUTE, "{before:?} {after:?}");
    }
}

#[test]
fn a_jump_of_the_clock_drops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, runtime) = (TestClock::new(None), runtime());
    let (mut journal, _) = Journal::open(&settings(folder.path()), clock.clock()).unwrap();
    accept(&mut journal, JobId(1), "a").unwrap();
    journal.finish(JobId(1), outcome("a")).unwrap();
    journal.delivered(JobId(1));
    // 1970, and then a time server.
    clock.0.lock().unwrap().wall = Some(WALL);
    clock.pass(HOUR / 2);
    assert_eq!((journal.expire(HOUR), journal.next_expiry(HOUR)), (0, Some(HOUR / 2)));
    close(&runtime, journal);
    // Half an hour of down time: the last moment of that run had the right time.
    let clock = TestClock::new(Some(WALL + HOUR));
    let (mut journal, _) = Journal::open(&settings(folder.path()), clock.clock()).unwrap();
    assert_eq!((journal.next_expiry(HOUR), journal.expire(HOUR)), (Some(Duration::ZERO), 1));
}

#[test]
fn a_board_without_a_clock_forgets_by_the_time_that_it_runs() {
    let mut bench = Bench::new();
    bench.clock.0.lock().unwrap().wall = None;
    let job = bench.ended("a");
    bench.journal.delivered(job);
    // Power is cut every day after an hour and a half.
    for day in 0.. {
        assert!(day < 10, "it is kept for ever");
        let mut expired = 0;
        for _ in 0..3 {
            bench.clock.pass(HOUR / 2);
            expired += bench.journal.expire(4 * HOUR);
        }
        if expired > 0 {
            assert!(day >= 2, "four hours have not passed on day {day}");
            return;
        }
        let (_, ticket) = bench.accept(&format!("day{day}"));
        bench.commit(ticket);
        bench = bench.cut_off_with(TestClock::new(None)).0;
    }
}

#[test]
fn an_outcome_s_time_begins_with_its_end() {
    let mut bench = Bench::new();
    let (job, _) = bench.accept("a");
    bench.clock.pass(24 * HOUR);
    bench.journal.finish(job, outcome("a")).unwrap();
    let ticket = bench.journal.delivered(job).unwrap();
    bench.commit(ticket);
    assert_eq!(bench.journal.next_expiry(HOUR / 4), Some(Duration::ZERO), "the time is noted after a day");
    assert_eq!(bench.journal.expire(HOUR / 4), 0);
    assert_eq!(bench.journal.next_expiry(HOUR / 4), Some(HOUR / 4));
    bench.clock.pass(HOUR / 4);
    assert_eq!(bench.journal.expire(HOUR / 4), 1);
}
