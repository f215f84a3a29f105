//! The engine by itself: the same child and the same batch loop as in the daemon, without MQTT.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use promptd::engine::protocol::{Answer, EngineJob, Golden, LoadParams, ModelKind, ModelReport};
use promptd::engine::{
    Engine, EngineEnd, EngineEvent, EngineId, EngineReport as Report, EngineSpec, ModelFile, backends_folder,
};
use promptd::health::profile;
use promptd::job::{JobId, ModelName, OutputLimits, Sampling, Task};
use promptd::plan::{GpuLayers, KvType, LoadShape};
use tokio::sync::mpsc;

use super::Bench;
use super::report::{EngineReport, Percentiles, StreamsReport};

/// Words for prompts that no two streams share.
const WORDS: [&str; 24] = [
    "river", "engine", "light", "number", "garden", "signal", "winter", "copper", "bridge", "market", "yellow",
    "thunder", "paper", "window", "island", "method", "silver", "travel", "corner", "animal", "sensor", "harbor",
    "candle", "planet",
];

/// A running engine.
struct Runner {
    engine: Engine,
    reports: mpsc::Receiver<Report>,
    jobs: u64,
}

/// Loads a model and measures it.
pub async fn measure(bench: &Bench, model: &Path) -> anyhow::Result<EngineReport> {
    let most = bench.streams.iter().copied().max().unwrap_or(1);
    let path = model.to_owned();
    let file = tokio::task::spawn_blocking(move || ModelFile::open(&path, None)).await??;
    let threads = bench.threads.unwrap_or_else(|| profile().threads);
    // Prompt, template and answer; llama.cpp rounds up to 256.
    let context = (bench.prompt_tokens * 2 + 128 + bench.tokens).next_multiple_of(256);
    let (mut runner, report) = Runner::start(Arc::new(file), context, most, threads).await?;
    let rounds = bench.streams.len() as u64 * u64::from(bench.rounds);
    let bar = ProgressBar::new(rounds).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} rounds, {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    // The first answer touches memory that later ones find warm.
    runner.round(bench, 1).await?;
    let mut results = Vec::new();
    for &streams in &bench.streams {
        let mut rounds = Vec::new();
        for _ in 0..bench.rounds {
            bar.set_message(format!("{streams} streams"));
            rounds.push(runner.round(bench, streams).await?);
            bar.inc(1);
        }
        results.push(summarize(streams, rounds));
    }
    bar.finish_and_clear();
    Ok(EngineReport {
        model: report.description,
        file: model.display().to_string(),
        threads: report.threads,
        cpu_features: report.cpu_features,
        load_seconds: report.load_time.as_secs_f64(),
        peak_memory_bytes: child_peak_memory(),
        results,
    })
}

/// What one round gave.
struct Round {
    wall: Duration,
    answers: Vec<Answer>,
}

impl Runner {
    async fn start(
        file: Arc<ModelFile>,
        context: u32,
        sequences: u32,
        threads: u32,
    ) -> anyhow::Result<(Self, ModelReport)> {
        let spec = EngineSpec {
            model: ModelName::new("bench")?,
            file,
            load: LoadParams {
                backends: vec![format!("{}/cpu", backends_folder()?.display())],
                kind: ModelKind::Decoder,
                layers: GpuLayers::None,
                shape: LoadShape { context, sequences, kv_type: KvType::F16 },
                threads,
                max_stall: Duration::from_millis(250),
                reproducible: false,
                prompt_bytes: 16 * u64::from(context),
                golden: Golden::Loss,
                warm_up: true,
            },
            load_timeout: Duration::from_mins(10),
            heartbeat_timeout: Duration::from_mins(1),
        };
        let (driver, mut reports) = mpsc::channel(256);
        let engine = Engine::start(spec, EngineId(1), driver);
        loop {
            match reports.recv().await.context("the engine is gone")?.event {
                EngineEvent::Ready(report) => return Ok((Self { engine, reports, jobs: 0 }, *report)),
                EngineEvent::Gone(end) => bail!(why(end)),
                _ => {}
            }
        }
    }

    /// Keeps so many answers running until each stream has made its share.
    async fn round(&mut self, bench: &Bench, streams: u32) -> anyhow::Result<Round> {
        let start = Instant::now();
        let total = streams * bench.answers;
        let mut answers = Vec::new();
        for _ in 0..streams {
            self.submit(bench)?;
        }
        let mut submitted = streams;
        while answers.len() < total as usize {
            match self.reports.recv().await.context("the engine is gone")?.event {
                EngineEvent::Ended { result, .. } => {
                    answers.push(result?);
                    if submitted < total {
                        submitted += 1;
                        self.submit(bench)?;
                    }
                }
                EngineEvent::Gone(end) => bail!(why(end)),
                _ => {}
            }
        }
        Ok(Round { wall: start.elapsed(), answers })
    }

    fn submit(&mut self, bench: &Bench) -> anyhow::Result<()> {
        self.jobs += 1;
        let job = EngineJob {
            id: JobId(self.jobs),
            task: Task::Generate { prompt: prompt(self.jobs, bench.prompt_tokens) },
            sampling: Sampling::default(),
            output: OutputLimits { max_tokens: bench.tokens, max_bytes: None, stop: Vec::new(), ignore_eos: true },
            stream: false,
        };
        if self.engine.submit(job) { Ok(()) } else { bail!("the engine took no job") }
    }
}

fn why(end: EngineEnd) -> anyhow::Error {
    match end {
        EngineEnd::Failed { error, .. } => error.into(),
        EngineEnd::Stopped => anyhow::anyhow!("the engine was stopped"),
    }
}

/// Words in an order that depends on the number.
fn prompt(number: u64, words: u32) -> String {
    let mut random = fastrand::Rng::with_seed(number);
    let words: Vec<&str> = (0..words).map(|_| WORDS[random.usize(..WORDS.len())]).collect();
    words.join(" ")
}

fn summarize(streams: u32, rounds: Vec<Round>) -> StreamsReport {
    let totals = rounds.iter().map(|round| {
        let tokens: u32 = round.answers.iter().map(|a| a.usage.generated_tokens).sum();
        f64::from(tokens) / round.wall.as_secs_f64()
    });
    let total = Percentiles::of(totals.collect()).p50;
    let answers: Vec<Answer> = rounds.into_iter().flat_map(|round| round.answers).collect();
    let decode = answers.iter().map(|a| f64::from(a.usage.generated_tokens - 1) / a.decode.as_secs_f64());
    let first = answers.iter().map(|a| a.prefill.as_secs_f64() * 1000.0);
    StreamsReport {
        streams,
        prompt_tokens: answers.first().map_or(0, |a| a.usage.prompt_tokens),
        decode_tokens_per_second: Percentiles::of(decode.collect()).p50,
        total_tokens_per_second: total,
        time_to_first_token_ms: Percentiles::of(first.collect()),
    }
}

/// Peak resident memory of our only child, from the kernel.
fn child_peak_memory() -> Option<u64> {
    let children = std::fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id())).ok()?;
    let child = children.split_whitespace().next()?;
    let status = std::fs::read_to_string(format!("/proc/{child}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}
