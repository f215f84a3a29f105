//! The governor's laws, on a simulated machine whose memory comes and goes at random.

use proptest::prelude::*;

use super::*;
use crate::plan::{Bytes, MemoryLimit, Reserve, Slack};

/// Memory of the machine; all numbers stand for MiB.
const TOTAL: u64 = 4000;

/// What stays free.
const RESERVE: u64 = 400;

/// What the ways to run the model take, best first.
const SIZES: [u64; 4] = [2000, 1200, 600, 300];

/// How long a load takes.
const LOAD: Duration = Duration::from_secs(3);

const RECOVER_AFTER: Duration = Duration::from_secs(8);

/// The time between two readings.
const TICK: Duration = Duration::from_millis(500);

/// What happens between two readings: milliseconds that pass, memory that others take, PSI, and whether something was
/// killed for memory.
type Turn = (u64, u64, Option<f32>, bool);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Up,
    Shed,
    ShedNow,
}

/// A machine with one model, and a driver that does what the governor says.
struct Machine {
    now: Instant,
    governor: Governor,
    others: u64,
    psi: Option<f32>,
    oom_events: u64,
    /// Which of the sizes is loaded; none if the model was unloaded.
    loaded: Option<usize>,
    /// When what is under way will be done.
    ready: Option<Instant>,
    events: Vec<(Instant, Event)>,
    /// The level after each reading.
    levels: Vec<(Instant, Level)>,
}

impl Machine {
    fn new() -> Self {
        let now = Instant::now();
        let settings = GovernorSettings { pressure_psi: 20.0, recover_after: RECOVER_AFTER };
        Self {
            now,
            governor: Governor::new(now, settings),
            others: 0,
            psi: None,
            oom_events: 0,
            loaded: Some(0),
            ready: None,
            events: Vec::new(),
            levels: Vec::new(),
        }
    }

    /// The machine after all of `trace`.
    fn after(trace: &[Turn]) -> Self {
        let mut machine = Self::new();
        for (ms, others, psi, killed) in trace {
            machine.others = *others;
            machine.psi = *psi;
            machine.oom_events += u64::from(*killed);
            machine.turn(Duration::from_millis(*ms));
        }
        machine
    }

    /// What is free once the model is unloaded.
    fn without_model(&self) -> u64 {
        TOTAL.saturating_sub(self.others)
    }

    fn available(&self) -> u64 {
        self.without_model().saturating_sub(self.loaded.map_or(0, |loaded| SIZES[loaded]))
    }

    fn slack(&self) -> Slack {
        let limit = MemoryLimit { name: "host".to_owned(), total: Bytes(TOTAL), available: Bytes(self.available()) };
        Slack::of(&[limit], Reserve::Bytes(Bytes(RESERVE))).unwrap()
    }

    /// The best way after `first` that leaves the reserve.
    fn fitting(&self, first: usize) -> Option<usize> {
        (first..SIZES.len()).find(|way| SIZES[*way] + RESERVE <= self.without_model())
    }

    fn better(&self) -> Option<usize> {
        self.fitting(0).filter(|way| self.loaded.is_none_or(|loaded| *way < loaded))
    }

    /// Time passes, and a reading is taken and acted on.
    fn turn(&mut self, passed: Duration) -> Verdict {
        self.now += passed;
        if self.ready.take_if(|ready| *ready <= self.now).is_some() {
            self.governor.settled(self.now);
        }
        let reading = Reading { slack: Some(self.slack()), psi: self.psi, oom_events: self.oom_events };
        let verdict = self.governor.observe(self.now, reading);
        self.levels.push((self.now, verdict.level));
        let shed = match verdict.action {
            Some(Action::Shed) => Some(Event::Shed),
            Some(Action::ShedNow) => Some(Event::ShedNow),
            Some(Action::DropCaches) | None => None,
        };
        if let Some(event) = shed {
            let next = self.loaded.and_then(|loaded| self.fitting(loaded + 1));
            self.change(event, next);
        }
        let better = self.better();
        if self.governor.may_step_up(self.now, better.is_some()) {
            self.change(Event::Up, better);
        }
        verdict
    }

    fn change(&mut self, event: Event, to: Option<usize>) {
        self.events.push((self.now, event));
        self.loaded = to;
        self.ready = Some(self.now + LOAD);
    }

    /// Turns at the usual pace until `done`; the time that it took, if it was not longer than `most`.
    fn until(&mut self, most: Duration, done: impl Fn(&Self) -> bool) -> Option<Duration> {
        let start = self.now;
        while !done(self) {
            if self.now - start > most {
                return None;
            }
            self.turn(TICK);
        }
        Some(self.now - start)
    }

    fn sheds(&self) -> usize {
        self.events.iter().filter(|(_, event)| *event != Event::Up).count()
    }
}

fn any_trace() -> impl Strategy<Value = Vec<Turn>> {
    let psi = prop_oneof![4 => Just(None), 4 => (0_f32..20.0).prop_map(Some), 1 => (20_f32..100.0).prop_map(Some)];
    let turn = (100_u64..1500, psi, prop::bool::weighted(0.01));
    // Others take as much for a number of turns, so that there are calm times as well as restless ones.
    let others = prop_oneof![2 => 0_u64..4200, 1 => Just(0), 1 => 1900_u64..2100];
    let phase = (others, prop_oneof![Just(0_u64), 0_u64..300], prop::collection::vec(turn, 1..60));
    let phase = phase.prop_map(|(others, wave, turns)| {
        let turns = turns.into_iter().enumerate();
        let turns = turns.map(|(n, (ms, psi, killed))| (ms, others + if n % 2 == 0 { wave } else { 0 }, psi, killed));
        turns.collect::<Vec<Turn>>()
    });
    prop::collection::vec(phase, 1..12).prop_map(|phases| phases.concat())
}

proptest! {
    #[test]
    fn it_never_flaps(trace in any_trace()) {
        let machine = Machine::after(&trace);
        for pair in machine.events.windows(2) {
            let [(before, first), (after, second)] = pair else { unreachable!() };
            // Nothing steps up within `recover_after` of any other change, nothing is shed before the last has settled; but
            // an emergency ends a step up.
            let least = match (first, second) {
                (_, Event::Up) => LOAD + SETTLE + RECOVER_AFTER,
                (Event::Up, Event::ShedNow) => TICK / 5,
                (_, Event::Shed | Event::ShedNow) => LOAD + SETTLE,
            };
            prop_assert!(*after - *before >= least, "{:?}", pair);
        }
        // A level stands for the time that its fall takes.
        let mut risen: Option<Instant> = None;
        for pair in machine.levels.windows(2) {
            let [(_, before), (at, level)] = pair else { unreachable!() };
            if level < before {
                prop_assert!(risen.is_none_or(|risen| *at - risen >= HOLD), "falls to {level} too soon");
            } else if level > before {
                risen = Some(*at);
            }
        }
    }

    #[test]
    fn it_sheds_until_half_of_the_reserve_is_there(trace in any_trace(), others in 3801_u64..4200) {
        let mut machine = Machine::after(&trace);
        machine.others = others;
        machine.psi = None;
        // Less than half of the reserve is left even without the model: it must go, one step after the other.
        let settle = LOAD + SETTLE + TICK * 2;
        let steps = u32::try_from(SIZES.len()).unwrap();
        prop_assert!(machine.until(settle * (steps + 1), |machine| machine.loaded.is_none()).is_some());
        // And each time it goes on after the last has settled.
        for _ in 0..3 {
            let sheds = machine.sheds();
            prop_assert!(machine.until(settle, |machine| machine.sheds() > sheds).is_some());
        }
    }

    #[test]
    fn it_recovers_when_there_is_headroom(trace in any_trace(), others in 0_u64..1500) {
        let mut machine = Machine::after(&trace);
        machine.others = others;
        machine.psi = Some(3.0);
        let normal = |machine: &Machine| machine.governor.level() == Level::Normal;
        prop_assert!(machine.until(HOLD * 2 + TICK * 4, normal).is_some());
        let wait = RECOVER_AFTER * 8 + LOAD + SETTLE + TICK * 4;
        prop_assert!(machine.until(wait * 2, |machine| machine.loaded == Some(0)).is_some());
        // There is nothing better, and it stays.
        let events = machine.events.len();
        machine.until(wait * 3, |_| false);
        prop_assert_eq!(machine.events.len(), events);
    }

    #[test]
    fn it_refuses_only_under_pressure(trace in any_trace()) {
        let mut machine = Machine::new();
        for (ms, others, psi, killed) in trace {
            (machine.others, machine.psi) = (others, psi);
            machine.oom_events += u64::from(killed);
            let verdict = machine.turn(Duration::from_millis(ms));
            let refusal = machine.governor.refusal(machine.now);
            prop_assert_eq!(refusal.is_some(), verdict.level >= Level::Refuse);
            prop_assert!(refusal.is_none_or(|wait| (1..=15).contains(&wait.as_secs())));
            let tight = machine.slack() < Slack::from_permille(750);
            let changed = verdict.action.is_some() || machine.ready.is_some();
            prop_assert!(!tight || changed || verdict.level >= Level::Refuse);
        }
    }
}

/// Memory that others take whenever the model has stepped up: the worst case for a governor.
#[test]
fn who_always_comes_back_costs_fewer_and_fewer_steps() {
    let mut machine = Machine::new();
    let mut waits = Vec::new();
    for _ in 0..5 {
        machine.others = 1900;
        machine.until(RECOVER_AFTER, |machine| machine.loaded != Some(0)).unwrap();
        machine.others = 0;
        waits.push(machine.until(RECOVER_AFTER * 10, |machine| machine.loaded == Some(0)).unwrap().as_secs());
        machine.until(LOAD + SETTLE, |_| false);
    }
    let expected = [1, 2, 4, 8, 8].map(|factor| RECOVER_AFTER.as_secs() * factor);
    for (waited, expected) in waits.iter().zip(expected) {
        assert!((expected..expected + 12).contains(waited), "{waits:?}");
    }
}
