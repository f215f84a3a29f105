//! What happens to requests and jobs.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Labels;
use crate::job::{Completion, ErrorCode, Finish, ModelName, Outcome};

/// Seconds from a chip's first token to the patience of a batch job.
const WAITS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Seconds of one token: 500 a second on a server's GPU, less than one on a small board.
const TOKENS: [f64; 14] = [0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5];

/// Seconds of a whole request, up to the longest usual deadline.
const WHOLE: [f64; 16] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];

type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Requests and jobs since the daemon started.
#[derive(Debug)]
pub struct JobMetrics {
    received: Counter,
    accepted: Counter,
    repeated: Counter,
    refused: Family<Labels, Counter>,
    completed: Family<Labels, Counter>,
    failed: Family<Labels, Counter>,
    preempted: Counter,
    prompt: Family<Labels, Counter>,
    cached: Family<Labels, Counter>,
    hits: Family<Labels, Counter>,
    generated: Family<Labels, Counter>,
    /// Prompt, cached and generated tokens of all models.
    all_tokens: [AtomicU64; 3],
    deltas: Counter,
    deltas_dropped: Counter,
    queue: Histograms,
    prefill: Histograms,
    first_token: Histograms,
    inter_token: Histograms,
    whole: Histograms,
}

/// Sums over all labels, for those who want one number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobTotals {
    /// Requests that came.
    pub received: u64,
    /// Requests that became jobs.
    pub accepted: u64,
    /// Requests and cancels that were refused.
    pub refused: u64,
    /// Jobs that were answered.
    pub completed: u64,
    /// Jobs that ended with an error.
    pub failed: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Of these, how many were not computed again.
    pub cached_tokens: u64,
    /// Tokens of answers.
    pub generated_tokens: u64,
}

impl JobMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let histograms = |buckets: fn() -> Histogram| Histograms::new_with_constructor(buckets);
        let metrics = Self {
            received: Counter::default(),
            accepted: Counter::default(),
            repeated: Counter::default(),
            refused: Family::default(),
            completed: Family::default(),
            failed: Family::default(),
            preempted: Counter::default(),
            prompt: Family::default(),
            cached: Family::default(),
            hits: Family::default(),
            generated: Family::default(),
            all_tokens: Default::default(),
            deltas: Counter::default(),
            deltas_dropped: Counter::default(),
            queue: histograms(|| Histogram::new(WAITS)),
            prefill: histograms(|| Histogram::new(WAITS)),
            first_token: histograms(|| Histogram::new(WAITS)),
            inter_token: histograms(|| Histogram::new(TOKENS)),
            whole: histograms(|| Histogram::new(WHOLE)),
        };
        metrics.register_counters(registry);
        metrics.register_tokens(registry);
        metrics.register_times(registry);
        metrics.begin_at_zero();
        metrics
    }

    fn register_counters(&self, registry: &mut Registry) {
        registry.register("requests_received", "Requests that came", self.received.clone());
        registry.register("requests_accepted", "Requests that became jobs", self.accepted.clone());
        registry.register(
            "requests_repeated",
            "Requests that came again, while their job was open or after it",
            self.repeated.clone(),
        );
        registry.register("requests_refused", "Requests and cancels refused, by error code", self.refused.clone());
        registry.register("jobs_completed", "Jobs answered, by the reason for the end", self.completed.clone());
        registry.register("jobs_failed", "Jobs that ended with an error, by its code", self.failed.clone());
        registry.register(
            "preemptions",
            "Times that a running job made room for a more urgent one",
            self.preempted.clone(),
        );
        registry.register("deltas_published", "Pieces of answers published", self.deltas.clone());
        registry.register(
            "deltas_dropped",
            "Pieces of answers left out because the broker was slow",
            self.deltas_dropped.clone(),
        );
    }

    fn register_tokens(&self, registry: &mut Registry) {
        let tokens = || Unit::Other("tokens".to_owned());
        registry.register_with_unit("prompt", "Tokens of answered prompts", tokens(), self.prompt.clone());
        let help = "Tokens of answered prompts that were in memory and not computed again";
        registry.register_with_unit("cached", help, tokens(), self.cached.clone());
        let help = "Answered prompts of which some tokens were not computed again";
        registry.register("prefix_hits", help, self.hits.clone());
        registry.register_with_unit("generated", "Tokens of answers", tokens(), self.generated.clone());
    }

    fn register_times(&self, registry: &mut Registry) {
        let mut time = |name, help, family: &Histograms| {
            registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        };
        time("queue_time", "From receipt of a request to the engine", &self.queue);
        time("prefill_time", "From the engine's receipt to the first token", &self.prefill);
        time("time_to_first_token", "From receipt of a request to its first token", &self.first_token);
        time("inter_token_latency", "Mean time from token to token of an answer", &self.inter_token);
        time("request_duration", "From receipt of a request to its answer", &self.whole);
    }

    /// A series that begins with its first event has no rate for it.
    fn begin_at_zero(&self) {
        for code in ErrorCode::ALL {
            drop(self.refused.get_or_create(&by_code(*code)));
            drop(self.failed.get_or_create(&by_code(*code)));
        }
        for finish in Finish::ALL {
            drop(self.completed.get_or_create(&by_finish(finish)));
        }
    }

    /// The counters of a model begin.
    pub fn begin(&self, model: &ModelName) {
        let labels = by_model(model);
        for family in [&self.prompt, &self.cached, &self.hits, &self.generated] {
            drop(family.get_or_create(&labels));
        }
        for family in [&self.queue, &self.prefill, &self.first_token, &self.inter_token, &self.whole] {
            drop(family.get_or_create(&labels));
        }
    }

    /// A request came.
    pub fn received(&self) {
        self.received.inc();
    }

    /// It became a job.
    pub fn accepted(&self) {
        self.accepted.inc();
    }

    /// It came before.
    pub fn repeated(&self) {
        self.repeated.inc();
    }

    /// It was refused.
    pub fn refused(&self, code: ErrorCode) {
        self.refused.get_or_create(&by_code(code)).inc();
    }

    /// A piece of an answer was published or left out.
    pub fn delta(&self, published: bool) {
        if published {
            self.deltas.inc()
        } else {
            self.deltas_dropped.inc()
        };
    }

    /// A job made room for a more urgent one.
    pub fn preempted(&self) {
        self.preempted.inc();
    }

    /// A job ended.
    pub fn ended(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Completed(completion) => self.answered(completion),
            Outcome::Failed(error) => _ = self.failed.get_or_create(&by_code(error.code)).inc(),
        }
    }

    fn answered(&self, Completion { finish, model, usage, timings, .. }: &Completion) {
        self.completed.get_or_create(&by_finish(*finish)).inc();
        let labels = by_model(model);
        let count = |family: &Family<Labels, Counter>, tokens: u32| {
            family.get_or_create(&labels).inc_by(tokens.into());
        };
        count(&self.prompt, usage.prompt_tokens);
        count(&self.cached, usage.cached_tokens);
        count(&self.hits, u32::from(usage.cached_tokens > 0));
        count(&self.generated, usage.generated_tokens);
        let tokens = [usage.prompt_tokens, usage.cached_tokens, usage.generated_tokens];
        for (all, tokens) in self.all_tokens.iter().zip(tokens) {
            all.fetch_add(tokens.into(), Ordering::Relaxed);
        }
        let time = |family: &Histograms, seconds: f64| family.get_or_create(&labels).observe(seconds);
        time(&self.queue, timings.queue.as_secs_f64());
        time(&self.prefill, timings.prefill.as_secs_f64());
        time(&self.first_token, (timings.queue + timings.prefill).as_secs_f64());
        if usage.generated_tokens > 1 {
            time(&self.inter_token, timings.decode.as_secs_f64() / f64::from(usage.generated_tokens - 1));
        }
        time(&self.whole, timings.total.as_secs_f64());
    }

    /// All of it in a few numbers. Tokens of models that are gone count on.
    pub fn totals(&self) -> JobTotals {
        let codes = |family: &Family<Labels, Counter>| {
            ErrorCode::ALL.iter().map(|code| family.get_or_create(&by_code(*code)).get()).sum()
        };
        let [prompt_tokens, cached_tokens, generated_tokens] =
            self.all_tokens.each_ref().map(|tokens| tokens.load(Ordering::Relaxed));
        JobTotals {
            received: self.received.get(),
            accepted: self.accepted.get(),
            refused: codes(&self.refused),
            completed: Finish::ALL.map(|finish| self.completed.get_or_create(&by_finish(finish)).get()).iter().sum(),
            failed: codes(&self.failed),
            prompt_tokens,
            cached_tokens,
            generated_tokens,
        }
    }
}

fn by_model(model: &ModelName) -> Labels {
    vec![("model", model.to_string())]
}

fn by_code(code: ErrorCode) -> Labels {
    vec![("code", code.as_str().to_owned())]
}

fn by_finish(finish: Finish) -> Labels {
    vec![("finish", finish.as_str().to_owned())]
}
