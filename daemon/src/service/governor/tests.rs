//! What the governor does in each case.

use super::*;
use crate::plan::Slack;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

fn calm() -> Reading {
    tight(5000)
}

/// So many thousandths of the reserve, and nothing else of note.
fn tight(permille: u32) -> Reading {
    Reading { slack: Some(Slack::from_permille(permille)), psi: Some(0.0), oom_events: 7 }
}

fn pressed(psi: f32) -> Reading {
    Reading { psi: Some(psi), ..calm() }
}

/// A governor and its clock.
struct Bench {
    now: Instant,
    governor: Governor,
}

impl Bench {
    /// One that has been calm for a minute.
    fn new() -> Self {
        let settings = GovernorSettings { pressure_psi: 20.0, recover_after: MINUTE };
        let now = Instant::now();
        let mut bench = Self { now, governor: Governor::new(now, settings) };
        assert_eq!(bench.run(MINUTE, calm()), []);
        bench
    }

    /// One more reading, 500 ms after the last.
    fn next(&mut self, reading: Reading) -> (Level, Option<Action>) {
        self.now += MS * 500;
        let Verdict { level, action } = self.governor.observe(self.now, reading);
        assert_eq!(level, self.governor.level());
        (level, action)
    }

    /// The same reading for a while; gives the actions. Nobody carries them out.
    fn run(&mut self, time: Duration, reading: Reading) -> Vec<Action> {
        let end = self.now + time;
        let mut actions = Vec::new();
        while self.now < end {
            actions.extend(self.next(reading).1);
        }
        actions
    }

    fn settled(&mut self) {
        self.governor.settled(self.now);
    }

    /// Whether a step up is permitted in each second of `time`, all calm; the time until it is.
    fn wait(&mut self, time: Duration) -> Option<Duration> {
        let (start, end) = (self.now, self.now + time);
        while self.now < end {
            self.next(calm());
            if self.governor.may_step_up(self.now, true) {
                return Some(self.now - start);
            }
        }
        None
    }
}

#[test]
fn each_threshold_has_its_action() {
    let mut bench = Bench::new();
    assert_eq!(bench.next(tight(1000)), (Level::Normal, None));
    assert_eq!(bench.next(tight(999)), (Level::Elevated, Some(Action::DropCaches)));
    assert_eq!(bench.next(tight(750)), (Level::Elevated, None));
    assert_eq!(bench.next(tight(749)), (Level::Refuse, None));
    assert_eq!(bench.next(tight(499)), (Level::Refuse, None));
    assert_eq!(bench.next(tight(499)), (Level::Shed, Some(Action::Shed)));
    bench.settled();
    assert_eq!(bench.next(tight(249)), (Level::Emergency, None));
    assert_eq!(bench.run(S * 2, tight(249)), [Action::ShedNow]);
}

#[test]
fn a_single_reading_sheds_only_in_an_emergency() {
    let mut bench = Bench::new();
    for _ in 0..10 {
        assert!(bench.next(tight(400)).1 != Some(Action::Shed));
        bench.next(tight(800));
    }
    assert_eq!(bench.next(tight(100)), (Level::Emergency, Some(Action::ShedNow)));
    // The caches that could not be dropped with it are dropped next.
    let mut bench = Bench::new();
    assert_eq!(bench.run(S, tight(0)), [Action::ShedNow, Action::DropCaches]);
}

#[test]
fn readings_close_together_are_one() {
    let mut bench = Bench::new();
    bench.next(tight(400));
    let soon = bench.now + MS * 499;
    assert_eq!(bench.governor.observe(soon, tight(400)).level, Level::Refuse);
    assert_eq!(bench.governor.observe(soon + MS, tight(400)).action, Some(Action::Shed));
}

#[test]
fn nothing_is_shed_before_the_last_has_settled() {
    let mut bench = Bench::new();
    assert_eq!(bench.run(S, tight(400)), [Action::DropCaches, Action::Shed]);
    assert_eq!(bench.run(MINUTE, tight(400)), []);
    bench.settled();
    assert_eq!(bench.run(MS * 1500, tight(400)), []);
    assert_eq!(bench.next(tight(400)).1, Some(Action::Shed));
}

#[test]
fn an_emergency_that_lasts_does_not_wait_for_a_slow_load() {
    let mut bench = Bench::new();
    assert_eq!(bench.next(tight(100)).1, Some(Action::ShedNow));
    assert_eq!(bench.run(MS * 4500, tight(100)), [Action::DropCaches]);
    assert_eq!(bench.next(tight(100)).1, Some(Action::ShedNow));
    // Nor for one that the operator asked for.
    let mut bench = Bench::new();
    bench.governor.change_begins();
    assert_eq!(bench.run(MINUTE, tight(400)), [Action::DropCaches]);
    assert_eq!(bench.next(tight(100)).1, Some(Action::ShedNow));
}

#[test]
fn refusing_does_not_go_on_for_ever() {
    let mut bench = Bench::new();
    assert_eq!(bench.run(S * 30, tight(700)), [Action::DropCaches]);
    assert_eq!(bench.next(tight(700)), (Level::Shed, Some(Action::Shed)));
    bench.settled();
    assert_eq!(bench.run(S * 30, tight(700)), []);
    assert_eq!(bench.next(tight(700)).1, Some(Action::Shed));
    // Elevated may.
    let mut bench = Bench::new();
    assert_eq!(bench.run(MINUTE * 60, tight(800)), [Action::DropCaches]);
}

#[test]
fn an_out_of_memory_kill_sheds_at_once() {
    let mut bench = Bench::new();
    let killed = |oom_events| Reading { oom_events, ..calm() };
    assert_eq!(bench.next(killed(8)), (Level::Shed, Some(Action::Shed)));
    bench.settled();
    assert_eq!(bench.run(MINUTE, killed(8)), [Action::DropCaches]);
    // A counter that starts anew is no kill.
    assert_eq!(bench.next(killed(0)), (Level::Normal, None));
    assert_eq!(bench.next(killed(2)).1, Some(Action::Shed));
}

#[test]
fn a_load_that_was_killed_costs_the_others_nothing() {
    let mut bench = Bench::new();
    bench.governor.change_begins();
    let killed = Reading { oom_events: 8, ..calm() };
    assert_eq!(bench.next(killed), (Level::Refuse, Some(Action::DropCaches)));
    bench.settled();
    assert_eq!(bench.next(Reading { oom_events: 9, ..calm() }), (Level::Refuse, None));
}

#[test]
fn waiting_for_memory_refuses_and_sheds() {
    let mut bench = Bench::new();
    assert_eq!(bench.next(pressed(19.0)), (Level::Normal, None));
    assert_eq!(bench.next(pressed(25.0)), (Level::Refuse, Some(Action::DropCaches)));
    // It is an average that includes what others wait for: alone it only refuses.
    assert_eq!(bench.run(MINUTE, pressed(25.0)), []);
    assert_eq!(bench.run(S, pressed(45.0)), [Action::Shed]);
    // What it says next is still about the time before.
    bench.settled();
    assert_eq!(bench.run(S * 10, pressed(45.0)), []);
    assert_eq!(bench.next(pressed(45.0)).1, Some(Action::Shed));
}

#[test]
fn what_cannot_be_read_is_no_pressure() {
    let mut bench = Bench::new();
    let blind = Reading { slack: None, psi: None, oom_events: 0 };
    assert_eq!(bench.run(MINUTE, blind), []);
    assert_eq!(bench.governor.level(), Level::Normal);
}

#[test]
fn a_level_falls_when_it_has_been_better_for_five_seconds() {
    let mut bench = Bench::new();
    bench.next(tight(700));
    // In the band that is no better.
    bench.run(S * 5, tight(900));
    assert_eq!(bench.governor.level(), Level::Refuse);
    bench.run(S * 5, tight(1100));
    assert_eq!(bench.governor.level(), Level::Refuse);
    assert_eq!(bench.next(tight(1100)).0, Level::Elevated);
    bench.run(S * 5, tight(2000));
    assert_eq!(bench.next(tight(2000)).0, Level::Normal);
}

#[test]
fn it_falls_straight_to_the_worst_of_that_time() {
    let mut bench = Bench::new();
    bench.next(tight(100));
    bench.next(tight(1000));
    bench.run(S * 4, tight(9000));
    assert_eq!(bench.governor.level(), Level::Emergency);
    bench.run(S, tight(9000));
    assert_eq!(bench.governor.level(), Level::Elevated);
    bench.run(MS * 5500, tight(9000));
    assert_eq!(bench.governor.level(), Level::Normal);
}

#[test]
fn memory_that_stands_in_the_band_is_accepted_in_the_end() {
    let mut bench = Bench::new();
    bench.next(tight(749));
    bench.run(S * 30, tight(760));
    assert_eq!(bench.governor.level(), Level::Refuse);
    assert_eq!(bench.next(tight(760)).0, Level::Elevated);
    bench.run(S * 31, tight(1001));
    assert_eq!(bench.governor.level(), Level::Normal);
}

#[test]
fn caches_are_dropped_once_for_each_time_of_pressure() {
    let mut bench = Bench::new();
    assert_eq!(bench.run(MINUTE, tight(900)), [Action::DropCaches]);
    assert_eq!(bench.run(S * 20, tight(700)), []);
    assert_eq!(bench.run(MINUTE, calm()), []);
    assert_eq!(bench.run(MINUTE, tight(900)), [Action::DropCaches]);
}

#[test]
fn who_is_refused_is_told_when_to_come_back() {
    let mut bench = Bench::new();
    assert_eq!(bench.governor.refusal(bench.now), None);
    bench.next(tight(900));
    assert_eq!(bench.governor.refusal(bench.now), None);
    bench.next(tight(600));
    assert_eq!(bench.governor.refusal(bench.now), Some(S * 5));
    bench.next(calm());
    bench.next(calm());
    assert_eq!(bench.governor.refusal(bench.now), Some(MS * 4500));
    bench.run(MS * 4000, calm());
    assert_eq!(bench.governor.refusal(bench.now), Some(S));
    // While models change it takes longer.
    bench.run(S, tight(400));
    assert_eq!(bench.governor.refusal(bench.now), Some(S * 15));
}

#[test]
fn a_step_up_waits_until_all_has_been_well() {
    let mut bench = Bench::new();
    assert_eq!(bench.wait(MINUTE * 2), Some(MINUTE + MS * 500));
    // The next one waits for this one.
    assert_eq!(bench.wait(MINUTE * 10), None);
    bench.settled();
    assert_eq!(bench.wait(MINUTE * 2), Some(MINUTE + S * 2));
    bench.settled();
    // Any pressure starts it anew, and what does not fit as well.
    assert_eq!(bench.wait(MINUTE), None);
    bench.next(tight(900));
    bench.run(S * 10, calm());
    assert_eq!(bench.wait(MINUTE), None);
    assert!(!bench.governor.may_step_up(bench.now, false));
    assert_eq!(bench.wait(MINUTE), None);
}

#[test]
fn a_step_up_that_failed_is_waited_for_longer() {
    let mut bench = Bench::new();
    bench.wait(MINUTE * 2).unwrap();
    bench.settled();
    bench.run(S * 3, calm());
    assert_eq!(bench.run(S, tight(400)), [Action::DropCaches, Action::Shed]);
    bench.settled();
    let waited = bench.wait(MINUTE * 3).unwrap();
    assert!(waited > MINUTE * 2 && waited < MINUTE * 2 + S * 10, "{waited:?}");
}
