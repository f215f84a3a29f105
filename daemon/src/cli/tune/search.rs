//! Which settings to try: one after the other, each from the best that is known.

use std::sync::Arc;

use indicatif::ProgressBar;
use promptd::engine::protocol::{TuneParams, TuneReport};
use promptd::engine::{EngineError, ModelFile, tune};
use promptd::job::ModelName;
use promptd::plan::{KvType, Tuning};

/// A request as devices send it: tokens of its prompt, and of its answer.
const PROMPT: f64 = 256.0;
const ANSWER: f64 = 128.0;

/// A change must save this share of the time to be worth it: two measurements of the same differ by as much.
const WORTH: f64 = 0.03;

/// The same for attention without the tricks that make it cheap in long contexts.
const WORTH_ATTENTION: f64 = 0.1;

/// So much slower, and nothing further in that direction is tried.
const HOPELESS: f64 = 1.3;

/// Sizes of steps that are tried.
const BATCHES: [u32; 4] = [128, 256, 512, 1024];

/// Up to so many, every number of threads is tried; above, every second.
const EVERY: u32 = 8;

/// Settings, and what they gave.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Threads that computed.
    pub threads: u32,
    /// The other settings.
    pub tuning: Tuning,
    /// What was measured.
    pub report: TuneReport,
}

/// Settings that were tried, and what they gave or why nothing.
#[derive(Debug, Clone)]
pub struct Tried {
    /// Threads that computed.
    pub threads: u32,
    /// The other settings.
    pub tuning: Tuning,
    /// What was measured.
    pub outcome: Result<Trial, String>,
}

impl Trial {
    /// Seconds for a typical request.
    pub fn seconds(&self) -> f64 {
        PROMPT / self.report.prefill + ANSWER / self.report.decode
    }
}

/// Measures files.
pub struct Search<'a> {
    backends: &'a str,
    tokens: u32,
    sequences: u32,
    bar: &'a ProgressBar,
    /// Tokens of which each file tells how likely they are.
    wanted: Vec<Vec<i32>>,
    name: ModelName,
}

impl<'a> Search<'a> {
    /// With the back ends of a folder.
    pub fn new(backends: &'a str, tokens: u32, sequences: u32, bar: &'a ProgressBar) -> Self {
        let name = ModelName::new("tune").expect("letters only");
        Self { backends, tokens, sequences, bar, wanted: Vec::new(), name }
    }

    /// What was measured from now on is compared with this.
    pub fn compare_with(&mut self, exact: &TuneReport) {
        let tokens =
            |place: &promptd::engine::protocol::Place| place.logprobs.iter().map(|(token, _)| *token).collect();
        self.wanted = exact.places.iter().map(tokens).collect();
    }

    /// A file with the settings that the daemon starts from.
    pub async fn start(&self, file: &Arc<ModelFile>, threads: u32) -> Result<Trial, EngineError> {
        self.trial(file, threads, Tuning::default()).await
    }

    /// The best settings for a file, and what else was tried.
    pub async fn best(&self, file: &Arc<ModelFile>, start: Trial, threads_max: u32) -> (Trial, Vec<Tried>) {
        let (mut best, mut tried) = (start, Vec::new());
        let counts = (1..=threads_max).filter(|count| *count <= EVERY || count % 2 == 0 || *count == threads_max);
        let (fewer, more): (Vec<u32>, Vec<u32>) =
            counts.filter(|count| *count != best.threads).partition(|count| *count < best.threads);
        // Away from the start in both directions, as long as it does not become much worse.
        for direction in [fewer.into_iter().rev().collect(), more] {
            for threads in direction {
                let worst = best.seconds() * HOPELESS;
                let seconds = self.challenge(file, &mut best, &mut tried, |trial| trial.threads = threads).await;
                if seconds.is_none_or(|seconds| seconds > worst) {
                    break;
                }
            }
        }
        let changes: [fn(&mut Tuning); 3] = [
            |tuning| tuning.flash_attention = !tuning.flash_attention,
            |tuning| tuning.repack = !tuning.repack,
            |tuning| tuning.map = !tuning.map,
        ];
        for change in changes {
            self.challenge(file, &mut best, &mut tried, |trial| change(&mut trial.tuning)).await;
        }
        // A larger step than the prompt would compute the same.
        for batch in BATCHES.into_iter().filter(|batch| *batch <= self.tokens) {
            if batch != best.tuning.batch {
                self.challenge(file, &mut best, &mut tried, |trial| trial.tuning.batch = batch).await;
            }
        }
        (best, tried)
    }

    /// Tries a change of the best; it stays if it is worth it. Tells the seconds of the trial, if it did not fail.
    async fn challenge(
        &self,
        file: &Arc<ModelFile>,
        best: &mut Trial,
        tried: &mut Vec<Tried>,
        change: impl FnOnce(&mut Trial),
    ) -> Option<f64> {
        let mut wanted = best.clone();
        change(&mut wanted);
        let Trial { threads, tuning, .. } = wanted;
        match self.trial(file, threads, tuning).await {
            Ok(mut trial) => {
                let seconds = trial.seconds();
                // Other attention needs more memory and time with the longer contexts that are not measured here.
                let plain = best.tuning.flash_attention && !tuning.flash_attention;
                let worth = if plain { WORTH_ATTENTION } else { WORTH };
                if seconds < best.seconds() * (1.0 - worth) {
                    std::mem::swap(best, &mut trial);
                }
                tried.push(Tried { threads: trial.threads, tuning: trial.tuning, outcome: Ok(trial) });
                Some(seconds)
            }
            Err(error) => {
                tried.push(Tried { threads, tuning, outcome: Err(error.to_string()) });
                None
            }
        }
    }

    async fn trial(&self, file: &Arc<ModelFile>, threads: u32, tuning: Tuning) -> Result<Trial, EngineError> {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        let Tuning { flash_attention, batch, repack, map } = tuning;
        self.bar.set_message(format!(
            "{name}: {threads} threads, steps of {batch}, flash attention {}, repacked {}, mapped {}",
            word(flash_attention),
            word(repack),
            word(map),
        ));
        let params = TuneParams {
            backends: vec![self.backends.to_owned()],
            threads,
            tokens: self.tokens,
            sequences: self.sequences,
            kv_type: KvType::F16,
            tuning,
            wanted: self.wanted.clone(),
        };
        let report = tune(&self.name, file, params).await?;
        Ok(Trial { threads, tuning, report })
    }
}

/// For people.
pub fn word(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}
