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

/// Nothing is tried that would make a step take longer than this.
const LONGEST_STEP: f64 = 5.0;

/// Processors without work for which one more thread is tried.
const IDLE_CORES: f64 = 0.6;

/// When nothing has been computed for so long, everything may have changed.
const FORGOTTEN: Duration = Duration::from_secs(3);

/// Pause after a trial that was for nothing; doubles with each.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The same for more threads where nothing tells that processors are idle: programs that let others go first look busy.
const BLIND_PAUSE: Duration = Duration::from_secs(30);

/// The longest such pause.
const BLIND_PAUSE_MAX: Duration = Duration::from_mins(10);

/// A pause is at least so many times as long as the trial was.
const RARELY: u32 = 20;

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

impl Kind {
    /// Of a step with so many tokens of so many sequences.
    pub fn of(tokens: usize, sequences: usize) -> Self {
        if tokens == sequences { Self::Decode(tokens) } else { Self::Prompt(tokens.max(1).ilog2()) }
    }
}

impl Step {
    /// Seconds for each token.
    fn cost(&self) -> f64 {
        self.wall.as_secs_f64() / self.tokens.max(1) as f64
    }
}

/// Another number of threads is being tried.
#[derive(Debug)]
struct Trial {
    threads: u32,
    /// Kind of the steps, and what one cost before.
    kind: Kind,
    cost: f64,
    taken: Vec<Step>,
    /// Steps of other kinds since it began.
    strange: u32,
}

/// When something may be tried again.
#[derive(Debug)]
struct Pause {
    until: Option<Instant>,
    next: Duration,
    longest: Duration,
}

/// The number of threads, and what was learned of it.
#[derive(Debug)]
pub struct Threads {
    adapts: bool,
    most: u32,
    best: u32,
    /// The last steps with this number, all of one kind.
    recent: VecDeque<Step>,
    trial: Option<Trial>,
    /// When the last step had been computed.
    last: Option<Instant>,
    fewer: Pause,
    more: Pause,
    blind: Pause,
    /// Even fewer than those that were tried for nothing: with them no core may have to be shared.
    next: Option<u32>,
}

impl Threads {
    /// At most so many, and so many at first.
    pub fn adapting(most: u32) -> Self {
        Self { adapts: most > 1, ..Self::fixed(most) }
    }

    /// Always so many.
    pub fn fixed(threads: u32) -> Self {
        Self {
            adapts: false,
            most: threads,
            best: threads,
            recent: VecDeque::new(),
            trial: None,
            last: None,
            fewer: Pause::new(PAUSE, PAUSE_MAX),
            more: Pause::new(PAUSE, PAUSE_MAX),
            blind: Pause::new(BLIND_PAUSE, BLIND_PAUSE_MAX),
            next: None,
        }
    }

    /// How many shall compute a step that begins now.
    pub fn of_step(&mut self, kind: Kind, at: Instant) -> u32 {
        if self.adapts && self.last.is_some_and(|last| at.saturating_duration_since(last) > FORGOTTEN) {
            *self = Self::adapting(self.most);
        }
        self.trial.as_ref().filter(|trial| trial.kind == kind).map_or(self.best, |trial| trial.threads)
    }

    /// Learns from a step that has been computed. `idle` tells how many processors have no work, if that is known; it is asked
    /// only where more threads are allowed.
    pub fn measured(&mut self, step: Step, at: Instant, idle: impl FnOnce() -> Option<f64>) {
        if !self.adapts {
            return;
        }
        self.last = Some(at);
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
        let threads = self.candidate(at, idle).filter(|threads| self.is_bearable(*threads));
        self.trial = threads.map(|threads| Trial {
            threads,
            kind: step.kind,
            cost: mean(&self.recent),
            taken: Vec::new(),
            strange: 0,
        });
    }

    /// Which number is worth a trial.
    fn candidate(&self, at: Instant, idle: impl FnOnce() -> Option<f64>) -> Option<u32> {
        if !enough(self.recent.iter(), STEPS) {
            return None;
        }
        if self.best > 1 && self.fewer.is_over(at) {
            let got = got(&self.recent);
            if f64::from(self.best) - got > crowded(self.best) {
                return Some(self.next.unwrap_or_else(|| whole(got)).clamp(1, self.best - 1));
            }
        }
        if self.best < self.most && self.more.is_over(at) {
            return match idle() {
                Some(idle) if idle >= IDLE_CORES => {
                    Some((self.best + whole(idle + 1.0 - IDLE_CORES)).clamp(self.best + 1, self.most))
                }
                _ => self.blind.is_over(at).then_some(self.best + 1),
            };
        }
        None
    }

    /// Whether a step does not take too long even if nothing but the number of threads counts.
    fn is_bearable(&self, threads: u32) -> bool {
        let longest = self.recent.iter().map(|step| step.wall.as_secs_f64()).fold(0.0, f64::max);
        threads > self.best || longest * f64::from(self.best) / f64::from(threads) <= LONGEST_STEP
    }

    fn go_on(&mut self, mut trial: Trial, step: Step, at: Instant) {
        if step.kind != trial.kind {
            trial.strange += 1;
            if trial.strange < STRANGE_STEPS {
                self.trial = Some(trial);
            } else {
                self.failed(&trial, at);
            }
            return;
        }
        trial.taken.push(step);
        let cost = mean(&trial.taken);
        let hopeless = cost > trial.cost * HOPELESS;
        if !hopeless && !enough(trial.taken.iter(), LEAST_STEPS) {
            self.trial = Some(trial);
        } else if cost <= trial.cost * (1.0 - WORTH) {
            *self = Self { best: trial.threads, last: self.last, ..Self::adapting(self.most) };
            self.recent = trial.taken.into();
            self.blind.begin(at, Duration::ZERO);
        } else {
            self.failed(&trial, at);
        }
    }

    fn failed(&mut self, trial: &Trial, at: Instant) {
        let time = trial.taken.iter().map(|step| step.wall).sum();
        self.recent.clear();
        if trial.threads > self.best {
            self.more.begin(at, time);
            self.blind.begin(at, time);
        } else if trial.threads > 1 && trial.strange < STRANGE_STEPS {
            self.next = Some(trial.threads / 2);
        } else {
            self.next = None;
            self.fewer.begin(at, time);
        }
    }
}

impl Pause {
    fn new(first: Duration, longest: Duration) -> Self {
        Self { until: None, next: first, longest }
    }

    fn is_over(&self, at: Instant) -> bool {
        self.until.is_none_or(|until| at >= until)
    }

    /// Begins after something that took so long.
    fn begin(&mut self, at: Instant, took: Duration) {
        self.until = Some(at + self.next.max(took * RARELY));
        self.next = (self.next * 2).min(self.longest);
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
