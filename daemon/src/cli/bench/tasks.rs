//! The task of an encoder: texts one by one, of many clients at once, and many in a request.

use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use promptd::engine::protocol::{ENCODER_JOBS, ModelKind};
use promptd::gguf::{Cache, Pooling};
use promptd::job::{Encoding, Input, OutputLimits, Task};

use super::Bench;
use super::figures::{Percentiles, TasksReport, TextsReport};
use super::runner::{Load, Runner, open, words};

/// Tokens of context that a model has by default.
const CONTEXT: u32 = 2048;

/// Words of a word or two, of a short text, such as a sensor's message, and of a long one.
const WORDS: [u32; 3] = [2, 8, 96];

/// Texts in a request, as many as `limits.inputs` allows by default.
const INPUTS: u64 = 64;

/// How texts come to the engine.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// A job of one text, and the next when it is answered.
    OneByOne,
    /// Jobs of one text each, as many at once as the engine takes.
    Together,
    /// Jobs of many texts each.
    Inputs,
}

/// Loads a model and measures it.
pub async fn measure(bench: &Bench, model: &Path) -> anyhow::Result<TasksReport> {
    let file = open(model).await?;
    if file.facts.cache != Cache::None {
        bail!("--tasks measures encoders, and this model generates text: leave it out");
    }
    let pooling = file.facts.pooling;
    let task = |input| match pooling {
        Some(Pooling::Rank) => Task::Classify { input, labels: Vec::new() },
        Some(Pooling::None) => Task::Extract { input, types: Vec::new() },
        _ => Task::Embed { input, encoding: Encoding::default() },
    };
    let context = file.facts.n_ctx_train.min(CONTEXT);
    let load = Load { kind: ModelKind::Encoder, context, sequences: 1, threads: bench.threads() };
    let (mut runner, report) = Runner::start(file, load).await?;
    let mut results = Vec::new();
    for words in WORDS {
        let mut measured =
            Measured { runner: &mut runner, words, texts: u64::from(bench.texts), task: &task, tokens: 0 };
        // The first answers touch memory that later ones find warm.
        measured.round(Way::Inputs).await?;
        let one_by_one = measured.median(bench.rounds, Way::OneByOne).await?;
        let together = measured.median(bench.rounds, Way::Together).await?;
        let inputs = measured.median(bench.rounds, Way::Inputs).await?;
        results.push(TextsReport {
            words,
            tokens: measured.tokens,
            one_by_one_per_second: one_by_one,
            together_per_second: together,
            inputs_per_second: inputs,
            speed_up: inputs / one_by_one,
        });
    }
    Ok(TasksReport {
        model: report.description,
        file: model.display().to_string(),
        threads: report.threads,
        cpu_features: report.cpu_features,
        task: task(Input::Many(Vec::new())).name().to_owned(),
        texts: bench.texts,
        results,
    })
}

/// Texts of one length on an engine.
struct Measured<'a, T> {
    runner: &'a mut Runner,
    words: u32,
    texts: u64,
    task: &'a T,
    /// Of the last text.
    tokens: u32,
}

impl<T: Fn(Input) -> Task> Measured<'_, T> {
    /// Texts a second.
    async fn median(&mut self, rounds: u32, way: Way) -> anyhow::Result<f64> {
        let mut rates = Vec::new();
        for _ in 0..rounds {
            let start = Instant::now();
            self.round(way).await?;
            rates.push(self.texts as f64 / start.elapsed().as_secs_f64());
        }
        Ok(Percentiles::of(rates).p50)
    }

    async fn round(&mut self, way: Way) -> anyhow::Result<()> {
        let (each, at_once) = match way {
            Way::OneByOne => (1, 1),
            Way::Together => (1, u64::from(ENCODER_JOBS)),
            Way::Inputs => (INPUTS, 2),
        };
        let (mut open, mut left) = (0, self.texts);
        while open > 0 || left > 0 {
            if left > 0 && open < at_once {
                let count = each.min(left);
                self.submit(count)?;
                (open, left) = (open + 1, left - count);
                continue;
            }
            let answer = self.runner.answer().await?;
            open -= 1;
            if each == 1 {
                self.tokens = answer.usage.prompt_tokens;
            }
        }
        Ok(())
    }

    fn submit(&mut self, count: u64) -> anyhow::Result<()> {
        let output = OutputLimits::tokens(1);
        let (length, task) = (self.words, self.task);
        self.runner.submit(output, |number| {
            let text = |place| words(number * INPUTS + place, length);
            task(if count == 1 { Input::One(text(0)) } else { Input::Many((0..count).map(text).collect()) })
        })
    }
}
