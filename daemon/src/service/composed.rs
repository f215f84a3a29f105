//! What is known of a job that is done as several others.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::job::{Completion, Finish, ModelName, Outcome, Output, Timings, Usage};
use crate::journal::Ticket;
use crate::task::{Progress, Run, StepKey};

/// A job whose steps have begun.
#[derive(Debug)]
pub struct Composed {
    /// Which step is next, and what the end is.
    pub run: Run,
    /// When the first could begin.
    pub since: Instant,
    /// Whether steps are being begun: what ends meanwhile has only to be noted.
    pub advancing: bool,
    /// What the journal must have before the progress is told.
    pub ticket: Option<Ticket>,
    steps: Steps,
    total: Total,
}

/// Names of steps of which some have begun in this run, and of those that had ended before it.
#[derive(Debug, Default)]
struct Steps {
    begun: BTreeSet<String>,
    ended_before: BTreeSet<String>,
}

/// What all steps together have taken.
#[derive(Debug)]
struct Total {
    usage: Usage,
    prefill: Duration,
    decode: Duration,
    /// Joules; none if that is not known of all.
    energy: Option<f64>,
    finish: Finish,
    /// The model that answered last, and its strategy.
    last: Option<(ModelName, String)>,
}

impl Composed {
    /// Nothing has been done.
    pub fn new(run: Run, since: Instant) -> Self {
        let total = Total {
            usage: Usage::default(),
            prefill: Duration::ZERO,
            decode: Duration::ZERO,
            energy: Some(0.0),
            finish: Finish::Stop,
            last: None,
        };
        Self { run, since, advancing: false, ticket: None, steps: Steps::default(), total }
    }

    /// A step begins.
    pub fn begins(&mut self, key: &StepKey) {
        self.steps.begun.insert(step_name(key));
    }

    /// A step had ended in an earlier run.
    pub fn had_ended(&mut self, key: &StepKey) {
        self.steps.ended_before.insert(step_name(key));
    }

    /// What has become of steps, as far as it was not told by an earlier run.
    pub fn news(&mut self) -> Vec<Progress> {
        let Steps { begun, ended_before } = &self.steps;
        let is_old = |step: &str| ended_before.contains(step) && !begun.contains(step);
        self.run.progress().into_iter().filter(|progress| !is_old(progress.step.as_str())).collect()
    }

    /// Adds what a step has taken.
    pub fn add(&mut self, outcome: &Outcome) {
        let Outcome::Completed(Completion { finish, model, strategy, usage, timings, energy_joules, .. }) = outcome
        else {
            return;
        };
        let total = &mut self.total;
        total.usage.prompt_tokens += usage.prompt_tokens;
        total.usage.cached_tokens += usage.cached_tokens;
        total.usage.generated_tokens += usage.generated_tokens;
        total.prefill += timings.prefill;
        total.decode += timings.decode;
        total.energy = total.energy.zip(*energy_joules).map(|(all, more)| all + more);
        // One that was cut off is what a client has to know.
        if *finish != Finish::Stop && !matches!(total.finish, Finish::Length | Finish::Truncated) {
            total.finish = *finish;
        }
        total.last = Some((model.clone(), strategy.clone()));
    }

    /// Adds what the steps of a step have taken that has failed: of one that is done its outcome tells it.
    pub fn add_failed(&mut self, step: &Self) {
        let (total, usage) = (&mut self.total.usage, &step.total.usage);
        total.prompt_tokens += usage.prompt_tokens;
        total.cached_tokens += usage.cached_tokens;
        total.generated_tokens += usage.generated_tokens;
    }

    /// Tokens of all steps.
    pub fn tokens(&self) -> u64 {
        u64::from(self.total.usage.prompt_tokens) + u64::from(self.total.usage.generated_tokens)
    }

    /// The whole answer. `model` is that of a job no step of which was answered.
    pub fn completion(&self, output: Output, received: Instant, model: &ModelName, deltas: u32) -> Completion {
        let Total { usage, prefill, decode, energy, finish, last } = &self.total;
        let (model, strategy) = last.clone().unwrap_or_else(|| (model.clone(), String::new()));
        Completion {
            output,
            finish: *finish,
            model,
            strategy,
            usage: *usage,
            timings: Timings {
                queue: self.since.saturating_duration_since(received),
                prefill: *prefill,
                decode: *decode,
                total: received.elapsed(),
            },
            deltas,
            logprobs: Vec::new(),
            session: None,
            energy_joules: energy.map(|joules| (joules * 1000.0).round() / 1000.0),
        }
    }
}

/// The name of a step without the number of its item.
pub(super) fn step_name(key: &StepKey) -> String {
    key.as_str().split('/').next().unwrap_or_default().to_owned()
}
