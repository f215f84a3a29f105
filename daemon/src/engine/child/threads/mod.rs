//! How many threads compute, learned from how long steps take. The threads of a step wait for each other at every operation, so
//! that one which shares its core with another program holds all of them up: two threads beside two busy programs were
//! measured at a sixth of the speed of one. Fewer are tried when the process got less of the processors than its threads
//! could use, which costs nothing to see; more when processors are idle again. Steps tell which is faster.

mod crew;
mod sensor;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use self::crew::Crew;

/// Steps that are remembered, and most that a trial takes.
const STEPS: usize = 8;

/// A trial may be judged after so many steps …
const LEAST_STEPS: usize = 3;

/// … or after fewer that took so long: a crowded machine makes them slow enough.
const LONG: Duration = Duration::from_millis(150);

/// Steps of other kinds after which a trial is given up.
const STRANGE_STEPS: u32 = 16;

/// How much of its cost a step must save for another number of threads to be worth it.
const WORTH: f64 = 0.08;

/// A first step so much dearer than before ends a trial at once.
const HOPELESS: f64 = 1.5;

/// Processors without work for which one more thread is tried.
const IDLE_CORES: f64 = 0.6;

/// Pause after a trial that was for nothing; doubles with each.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Steps that may be compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One token for each of so many sequences.
    Decode(usize),
    /// Prompts, of about two to the power of this tokens in all.
    Prompt(u32),
}

/// One step that was computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// With which others it may be compared.
    pub kind: Kind,
    /// Tokens in it.
    pub tokens: usize,
    /// How long it took.
    pub wall: Duration,
    /// How much time of processors the process got meanwhile.
    pub cpu: Duration,
}

impl Step {
    /// A step of so many tokens, of so many sequences.
    pub fn new(tokens: usize, sequences: usize, wall: Duration, cpu: Duration) -> Self {
        let kind = if tokens == sequences { Kind::Decode(tokens) } else { Kind::Prompt(tokens.max(1).ilog2()) };
        Self { kind, tokens, wall, cpu }
    }

    /// Seconds for each token.
    fn cost(&self) -> f64 {
        self.wall.as_secs_f64() / self.tokens.max(1) as f64
    }
}

/// Another number of threads is being tried.
#[derive(Debug)]
struct Trial {
    /// What it was before.
    from: u32,
    /// Kind of the steps, and what one cost before.
    kind: Kind,
    cost: f64,
    taken: Vec<Step>,
    strange: u32,
}

/// When a direction may be tried again.
#[derive(Debug)]
struct Pause {
    until: Option<Instant>,
    next: Duration,
}

/// The number of threads, and what was learned of it.
#[derive(Debug)]
pub struct Threads {
    adapts: bool,
    most: u32,
    now: u32,
    /// The last steps with this number, all of one kind.
    recent: VecDeque<Step>,
    trial: Option<Trial>,
    fewer: Pause,
    more: Pause,
    /// Even fewer than those that were tried for nothing: with them no core may have to be shared.
    next: Option<u32>,
}

impl Threads {
    /// At most so many, and so many at first.
    pub fn adapting(most: u32) -> Self {
        Self { most, adapts: most > 1, ..Self::fixed(most) }
    }

    /// Always so many.
    pub fn fixed(threads: u32) -> Self {
        let (fewer, more) = (Pause::default(), Pause::default());
        Self {
            adapts: false,
            most: threads,
            now: threads,
            recent: VecDeque::new(),
            trial: None,
            fewer,
            more,
            next: None,
        }
    }

    /// How many shall compute the next step.
    pub fn now(&self) -> u32 {
        self.now
    }

    /// Learns from a step. `idle` tells how many processors have no work, if that is known; it is asked only where more
    /// threads are allowed.
    pub fn measured(&mut self, step: Step, at: Instant, idle: impl FnOnce() -> Option<f64>) {
        if !self.adapts {
            return;
        }
        if let Some(trial) = self.trial.take() {
            return self.go_on(trial, step, at);
        }
        if self.recent.back().is_some_and(|last| last.kind != step.kind) {
            self.recent.clear();
        }
        if self.recent.len() == STEPS {
            self.recent.pop_front();
        }
        self.recent.push_back(step);
        if let Some(candidate) = self.candidate(at, idle) {
            let trial =
                Trial { from: self.now, kind: step.kind, cost: mean(&self.recent), taken: Vec::new(), strange: 0 };
            self.now = candidate;
            self.trial = Some(trial);
        }
    }

    /// Which number is worth a trial.
    fn candidate(&self, at: Instant, idle: impl FnOnce() -> Option<f64>) -> Option<u32> {
        if !enough(self.recent.iter(), STEPS) {
            return None;
        }
        if self.now > 1 && self.fewer.is_over(at) {
            let got = got(&self.recent);
            if f64::from(self.now) - got > crowded(self.now) {
                return Some(self.next.unwrap_or_else(|| whole(got)).clamp(1, self.now - 1));
            }
        }
        if self.now < self.most && self.more.is_over(at) {
            let idle = idle()?;
            if idle >= IDLE_CORES {
                return Some((self.now + whole(idle + 1.0 - IDLE_CORES)).clamp(self.now + 1, self.most));
            }
        }
        None
    }

    fn go_on(&mut self, mut trial: Trial, step: Step, at: Instant) {
        if step.kind != trial.kind {
            trial.strange += 1;
            if trial.strange == STRANGE_STEPS {
                // Nothing was learned.
                self.now = trial.from;
            } else {
                self.trial = Some(trial);
            }
            return;
        }
        trial.taken.push(step);
        let cost = mean(&trial.taken);
        let hopeless = cost > trial.cost * HOPELESS;
        if !hopeless && !enough(trial.taken.iter(), LEAST_STEPS) {
            self.trial = Some(trial);
            return;
        }
        let tried = self.now;
        if cost <= trial.cost * (1.0 - WORTH) {
            (self.fewer, self.more, self.next) = (Pause::default(), Pause::default(), None);
            self.recent = trial.taken.into();
            return;
        }
        self.now = trial.from;
        self.recent.clear();
        if tried > trial.from {
            self.more.begin(at);
        } else if tried > 1 {
            self.next = Some(tried / 2);
        } else {
            self.next = None;
            self.fewer.begin(at);
        }
    }
}

impl Default for Pause {
    fn default() -> Self {
        Self { until: None, next: PAUSE_MIN }
    }
}

impl Pause {
    fn is_over(&self, at: Instant) -> bool {
        self.until.is_none_or(|until| at >= until)
    }

    fn begin(&mut self, at: Instant) {
        self.until = Some(at + self.next);
        self.next = (self.next * 2).min(PAUSE_MAX);
    }
}

/// Whether steps say enough: so many, or a few that took long.
fn enough<'a>(steps: impl ExactSizeIterator<Item = &'a Step>, count: usize) -> bool {
    let few = steps.len() >= 2;
    steps.len() >= count || few && steps.map(|step| step.wall).sum::<Duration>() >= LONG
}

fn mean<'a>(steps: impl IntoIterator<Item = &'a Step>) -> f64 {
    let (sum, count) = steps.into_iter().fold((0.0, 0_u32), |(sum, count), step| (sum + step.cost(), count + 1));
    sum / f64::from(count.max(1))
}

/// How many processors the process got in these steps.
fn got(steps: &VecDeque<Step>) -> f64 {
    let (cpu, wall) = steps
        .iter()
        .fold((0.0, 0.0), |(cpu, wall), step| (cpu + step.cpu.as_secs_f64(), wall + step.wall.as_secs_f64()));
    cpu / f64::max(wall, 1e-9)
}

/// How much of its processors a process lacks that is disturbed. Less is what one thread does while the others wait.
fn crowded(threads: u32) -> f64 {
    0.15 + 0.04 * f64::from(threads)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; no machine has so many")]
fn whole(cores: f64) -> u32 {
    cores as u32
}

#[cfg(test)]
mod tests;
