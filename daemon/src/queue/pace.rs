//! How fast a model works, as its ended jobs tell, and what follows for those that wait.
//!
//! Everything is measured as a job feels it that shares the engine with others, and counted in the tokens that are known of a
//! job before it runs: what the length of its prompt suggests, and the longest answer. That a prompt has more tokens than its
//! length suggests, and answers end early, is in the measurements.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// What of a job is known before it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Tokens of its prompt, by its length.
    pub prompt: u64,
    /// Tokens of its longest answer.
    pub answer: u64,
}

impl Work {
    /// The tokens that it may cost.
    pub fn tokens(self) -> u64 {
        self.prompt.saturating_add(self.answer)
    }
}

/// What a job has cost that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Tokens of its prompt.
    pub prompt: u64,
    /// Tokens of its answer.
    pub answer: u64,
    /// From the engine's receipt to the first token.
    pub prefill: Duration,
    /// From the first token to the last.
    pub decode: Duration,
}

impl Spent {
    /// The tokens that it has cost.
    pub fn tokens(&self) -> u64 {
        self.prompt.saturating_add(self.answer)
    }
}

/// A job that goes before another one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead {
    pub work: Work,
    /// How long it has run.
    pub ran: Duration,
    /// How long its deadline is away, which ends it.
    pub left: Duration,
}

/// When a job that waits is likely to be answered, if none comes that goes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// Until it starts.
    pub start: Duration,
    /// Until it has ended.
    pub end: Duration,
    /// Its first token is not there before that, as far as measurements can tell. Zero while nothing is ahead of it: an idle
    /// engine has to try what it can do.
    pub first_token: Duration,
    /// The part of it that the job's own prompt takes.
    pub own: Duration,
}

/// Weight of the newest measurement in the mean.
const NEWEST: f64 = 1.0 / 8.0;
/// By how much the least of late grows with each measurement that is above it, whatever that is: one that is far above says no
/// more than one that is a little.
const FORGETTING: f64 = 1.0 / 32.0;
/// So many measurements may all be unusual: the first ones after a start are.
const FIRST: u32 = 4;
/// So many times as fast as the fastest of late nothing is.
const MARGIN: f64 = 2.0;

/// Something that is measured again and again, in seconds or as a share.
#[derive(Debug, Clone, Copy)]
struct Measured {
    mean: f64,
    least: f64,
    count: u32,
}

impl Measured {
    fn with(earlier: Option<Self>, sample: f64) -> Self {
        let Some(Self { mean, least, count }) = earlier else { return Self { mean: sample, least: sample, count: 1 } };
        Self {
            mean: mean + (sample - mean) * NEWEST,
            least: sample.min(least * (1.0 + FORGETTING)),
            count: count.saturating_add(1),
        }
    }

    /// What the next one is hardly below.
    fn sure(self) -> f64 {
        if self.count < FIRST { 0.0 } else { self.least }
    }
}

/// The pace of one model. What was not measured yet is none.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Seconds for each token of a prompt.
    prefill: Option<Measured>,
    /// Tokens of the prompts that tell it: a longer one is faster for each token than short ones are.
    prompts: Option<Measured>,
    /// Seconds for each token of an answer.
    decode: Option<Measured>,
    /// Which share of its longest answer a job gives.
    share: Option<Measured>,
    /// Tokens of an answer: who asks for long ones seldom gets the share of them that others get of short ones.
    answers: Option<Measured>,
}

impl Pace {
    /// A job has been answered.
    pub fn add(&mut self, work: Work, spent: &Spent) {
        let prompt = work.prompt.max(1) as f64;
        self.prefill = Some(Measured::with(self.prefill, spent.prefill.as_secs_f64() / prompt));
        self.prompts = Some(Measured::with(self.prompts, prompt));
        if spent.answer > 1 {
            let token = spent.decode.as_secs_f64() / (spent.answer - 1) as f64;
            self.decode = Some(Measured::with(self.decode, token));
        }
        if work.answer > 0 {
            self.answers = Some(Measured::with(self.answers, spent.answer as f64));
            self.share = Some(Measured::with(self.share, spent.answer as f64 / work.answer as f64));
        }
    }

    /// What is expected of a job that waits behind these, and surely behind those, for an engine that runs so many at once. None
    /// while nothing was measured.
    pub fn forecast(
        &self,
        work: Work,
        likely: impl Iterator<Item = Ahead>,
        sure: impl Iterator<Item = Ahead>,
        sequences: usize,
    ) -> Option<Forecast> {
        let (prefill, prompts) = (self.prefill?, self.prompts?);
        let [decode, share, answers] =
            [self.decode, self.share, self.answers].map(|measured| measured.unwrap_or(NOTHING));
        // The first token comes with the prompt.
        let steps = |tokens: f64| (tokens - 1.0).max(0.0);
        let answer = |work: Work| share.mean * work.answer as f64;
        let mean = |work: Work| seconds(prefill.mean * work.prompt as f64 + decode.mean * steps(answer(work)));
        let own = |work: Work| prefill.sure() * (work.prompt as f64).min(prompts.mean) / MARGIN;
        let short = |work: Work| (share.sure() * work.answer as f64).min(answers.sure());
        let least = |work: Work| seconds(own(work) + decode.sure() * steps(short(work)) / MARGIN);
        let start = start(likely.map(|job| (job.left, mean(job.work).saturating_sub(job.ran))).collect(), sequences);
        let sure: Vec<(Duration, Duration)> =
            sure.map(|job| (job.left, least(job.work).saturating_sub(job.ran))).collect();
        // A job that is alone in the engine may be as many times as fast as it was among as many jobs.
        let own = if sure.is_empty() { Duration::ZERO } else { share_of(seconds(own(work)), sequences) };
        Some(Forecast {
            start,
            end: start.saturating_add(mean(work)),
            first_token: self::start(sure, sequences).saturating_add(own),
            own,
        })
    }

    /// What is expected of a job that has run for a time.
    pub fn of_running(&self, work: Work, ran: Duration) -> Option<Forecast> {
        let alone = self.forecast(work, std::iter::empty(), std::iter::empty(), 1)?;
        Some(Forecast { end: alone.end.saturating_sub(ran), ..alone })
    }
}

/// Costs no time.
const NOTHING: Measured = Measured { mean: 0.0, least: 0.0, count: 0 };

/// When the next job starts behind these, of each the time until its deadline and how long it takes: when all have ended but as
/// many as may run beside it.
///
/// It can't be earlier, whatever their order is. Until any time, those whose deadlines are later are finished but for the ones
/// that run then, and be it the longest; the others may have ended without being done.
fn start(mut jobs: Vec<(Duration, Duration)>, sequences: usize) -> Duration {
    jobs.sort_unstable_by(|one, other| other.cmp(one));
    let mut beside = BinaryHeap::new();
    let (mut before, mut start) = (Duration::ZERO, Duration::ZERO);
    for (left, time) in jobs {
        beside.push(Reverse(time));
        if beside.len() >= sequences.max(1) {
            before = before.saturating_add(beside.pop().map_or(Duration::ZERO, |Reverse(shortest)| shortest));
        }
        start = start.max(left.min(share_of(before, sequences)));
    }
    start
}

fn share_of(time: Duration, sequences: usize) -> Duration {
    time / u32::try_from(sequences).unwrap_or(u32::MAX).max(1)
}

/// Durations that no configuration allows are as good as for ever.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
