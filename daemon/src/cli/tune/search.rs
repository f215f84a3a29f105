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
    pub async fn best(
        &self,
        file: &Arc<ModelFile>,
        start: Trial,
        threads_max: u32,
    ) -> Result<(Trial, Vec<Trial>), EngineError> {
        let (mut best, mut tried) = (start, Vec::new());
        let counts = (1..=threads_max).filter(|count| *count <= EVERY || count % 2 == 0 || *count == threads_max);
        for threads in counts.filter(|count| *count != best.threads).collect::<Vec<_>>() {
            self.challenge(file, &mut best, &mut tried, |trial| trial.threads = threads).await?;
        }
        let changes: [fn(&mut Tuning); 3] = [
            |tuning| tuning.flash_attention = !tuning.flash_attention,
            |tuning| tuning.repack = !tuning.repack,
            |tuning| tuning.map = !tuning.map,
        ];
        for change in changes {
            self.challenge(file, &mut best, &mut tried, |trial| change(&mut trial.tuning)).await?;
        }
        for batch in BATCHES.into_iter().filter(|batch| *batch != best.tuning.batch).collect::<Vec<_>>() {
            self.challenge(file, &mut best, &mut tried, |trial| trial.tuning.batch = batch).await?;
        }
        Ok((best, tried))
    }

    /// Tries a change of the best; it stays if it is worth it.
    async fn challenge(
        &self,
        file: &Arc<ModelFile>,
        best: &mut Trial,
        tried: &mut Vec<Trial>,
        change: impl FnOnce(&mut Trial),
    ) -> Result<(), EngineError> {
        let mut wanted = best.clone();
        change(&mut wanted);
        let mut trial = self.trial(file, wanted.threads, wanted.tuning).await?;
        if trial.seconds() < best.seconds() * (1.0 - WORTH) {
            std::mem::swap(best, &mut trial);
        }
        tried.push(trial);
        Ok(())
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
