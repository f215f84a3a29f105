use super::*;

/// A machine with cores, and other programs that always want to compute: each thread of ours gets a share of a core, and a step
/// is over when the slowest is done, plus what it costs that a core changes hands.
struct Machine {
    cores: u32,
    busy: u32,
    at: Instant,
    steps: u32,
}

const KIND: Kind = Kind::Decode(1);

/// Seconds of one thread that a step takes.
const WORK: f64 = 0.02;

/// A time slice of the kernel, for which a thread waits whose core another program has.
const SLICE: f64 = 0.04;

impl Machine {
    fn new(cores: u32, busy: u32) -> Self {
        Self { cores, busy, at: Instant::now(), steps: 0 }
    }

    fn step(&mut self, threads: &mut Threads) -> f64 {
        let ours = threads.of_step(KIND, self.at);
        let free = self.cores.saturating_sub(self.busy);
        let crowded = ours.saturating_sub(free);
        let slowest = if crowded == 0 { 1.0 } else { 1.0 / f64::from(1 + self.busy.div_ceil(self.cores)) };
        let wait = if crowded > 0 && ours > 1 { SLICE } else { 0.0 };
        let wall = WORK / f64::from(ours) / slowest + wait;
        // Those that wait for the slowest do so computing, on cores of their own.
        let cpu = wall * f64::from(ours - crowded) + wall * f64::from(crowded) * slowest;
        self.at += Duration::from_secs_f64(wall);
        self.steps += 1;
        let idle = f64::from(self.cores.saturating_sub(self.busy + ours));
        let [wall_time, cpu] = [wall, cpu].map(Duration::from_secs_f64);
        threads.measured(Step { kind: KIND, tokens: 1, wall: wall_time, cpu }, self.at, || Some(idle));
        wall
    }

    /// Computes for so many seconds; tokens a second.
    fn run(&mut self, threads: &mut Threads, seconds: f64) -> f64 {
        let (mut passed, mut steps) = (0.0, 0_u32);
        while passed < seconds {
            passed += self.step(threads);
            steps += 1;
        }
        f64::from(steps) / passed
    }
}

#[test]
fn an_idle_machine_is_never_disturbed() {
    for cores in [1, 2, 4, 8] {
        let (mut machine, mut threads) = (Machine::new(cores, 0), Threads::adapting(cores));
        for _ in 0..1000 {
            machine.step(&mut threads);
            assert_eq!(threads.of_step(KIND, machine.at), cores);
        }
    }
}

#[test]
fn beside_busy_programs_it_is_as_fast_as_the_best_fixed_number() {
    for (cores, busy) in [(2, 1), (2, 2), (4, 1), (4, 2), (4, 4), (8, 2)] {
        let speed = |mut threads: Threads| Machine::new(cores, busy).run(&mut threads, 60.0);
        let best = (1..=cores).map(|fixed| speed(Threads::fixed(fixed))).fold(0.0, f64::max);
        let adapted = speed(Threads::adapting(cores));
        assert!(adapted >= 0.9 * best, "{cores} cores, {busy} busy: {adapted} of {best} tokens/s");
    }
}

#[test]
fn threads_come_back_when_the_others_are_gone() {
    let (mut machine, mut threads) = (Machine::new(4, 3), Threads::adapting(4));
    machine.run(&mut threads, 20.0);
    assert_eq!(threads.best, 1);
    machine.busy = 0;
    machine.run(&mut threads, 2.0);
    assert_eq!(threads.best, 4);
}

#[test]
fn trials_for_nothing_become_rare() {
    // It looks crowded, and fewer threads are slower all the same; on slow machines, too.
    for millis in [10, 2000] {
        let mut threads = Threads::adapting(2);
        let (mut at, mut other, mut lost) = (Instant::now(), 0, Duration::ZERO);
        let begin = at;
        for _ in 0..20_000 {
            let ours = threads.of_step(KIND, at);
            let wall = Duration::from_millis(millis * u64::from(3 - ours));
            if ours == 1 {
                other += 1;
                lost += wall / 2;
            }
            at += wall;
            threads.measured(Step { kind: KIND, tokens: 1, wall, cpu: wall }, at, || None);
        }
        assert!(other >= 4, "{other} steps with one thread");
        assert!(lost * 25 < at - begin, "{lost:?} of {:?} were lost", at - begin);
    }
}

#[test]
fn more_are_tried_though_nobody_tells_of_idle_processors() {
    let (mut machine, mut threads) = (Machine::new(2, 2), Threads::adapting(2));
    machine.run(&mut threads, 20.0);
    assert_eq!(threads.best, 1);
    let mut at = machine.at;
    let end = at + BLIND_PAUSE_MAX;
    while threads.best == 1 && at < end {
        let ours = threads.of_step(KIND, at);
        let wall = Duration::from_millis(20) / ours;
        at += wall;
        threads.measured(Step { kind: KIND, tokens: 1, wall, cpu: wall * ours }, at, || None);
    }
    assert_eq!(threads.best, 2);
}

#[test]
fn all_compute_again_after_a_rest() {
    let (mut machine, mut threads) = (Machine::new(2, 2), Threads::adapting(2));
    machine.run(&mut threads, 20.0);
    assert_eq!(threads.best, 1);
    assert_eq!(threads.of_step(KIND, machine.at + FORGOTTEN), 1);
    assert_eq!(threads.of_step(KIND, machine.at + FORGOTTEN * 2), 2);
}

#[test]
fn steps_of_another_kind_take_no_part_in_a_trial_and_end_it_at_last() {
    let mut threads = Threads::adapting(2);
    let wall = Duration::from_millis(100);
    let (at, other) = (Instant::now(), Kind::Decode(2));
    let step = |kind| Step { kind, tokens: 1, wall, cpu: wall };
    while threads.trial.is_none() {
        threads.measured(step(KIND), at, || None);
    }
    assert_eq!((threads.of_step(KIND, at), threads.of_step(other, at)), (1, 2));
    for _ in 0..STRANGE_STEPS {
        threads.measured(step(other), at, || None);
    }
    assert!(threads.trial.is_none() && !threads.fewer.is_over(at));
    assert_eq!(threads.of_step(KIND, at), 2);
}

#[test]
fn no_step_is_made_unbearable() {
    let mut threads = Threads::adapting(4);
    let mut at = Instant::now();
    for _ in 0..100 {
        assert_eq!(threads.of_step(KIND, at), 4);
        let wall = Duration::from_secs(10);
        at += wall;
        threads.measured(Step { kind: KIND, tokens: 1, wall, cpu: wall }, at, || None);
    }
}

#[test]
fn a_fixed_number_stays() {
    let (mut machine, mut threads) = (Machine::new(2, 2), Threads::fixed(2));
    machine.run(&mut threads, 10.0);
    assert_eq!(threads.best, 2);
}
