//! The engine by itself: the same child and the same batch loop as in the daemon, without MQTT.

use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use promptd::engine::protocol::{Answer, ModelKind};
use promptd::job::{OutputLimits, Task};

use super::Bench;
use super::report::{EngineReport, Percentiles, StreamsReport};
use super::runner::{Load, Runner, open, words};

/// Loads a model and measures it.
pub async fn measure(bench: &Bench, model: &Path) -> anyhow::Result<EngineReport> {
    let most = bench.streams.iter().copied().max().unwrap_or(1);
    // Prompt, template and answer; llama.cpp rounds up to 256.
    let context = (bench.prompt_tokens * 2 + 128 + bench.tokens).next_multiple_of(256);
    let load = Load { kind: ModelKind::Decoder, context, sequences: most, threads: bench.threads() };
    let (mut runner, report) = Runner::start(open(model).await?, load).await?;
    let rounds = bench.streams.len() as u64 * u64::from(bench.rounds);
    let bar = ProgressBar::new(rounds).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} rounds, {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    // The first answer touches memory that later ones find warm.
    round(&mut runner, bench, 1).await?;
    let mut results = Vec::new();
    for &streams in &bench.streams {
        let mut rounds = Vec::new();
        for _ in 0..bench.rounds {
            bar.set_message(format!("{streams} streams"));
            rounds.push(round(&mut runner, bench, streams).await?);
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

/// Keeps so many answers running until each stream has made its share.
async fn round(runner: &mut Runner, bench: &Bench, streams: u32) -> anyhow::Result<Round> {
    let start = Instant::now();
    let total = streams * bench.answers;
    let mut answers = Vec::new();
    for _ in 0..streams {
        submit(runner, bench)?;
    }
    let mut submitted = streams;
    while answers.len() < total as usize {
        answers.push(runner.answer().await?);
        if submitted < total {
            submitted += 1;
            submit(runner, bench)?;
        }
    }
    Ok(Round { wall: start.elapsed(), answers })
}

fn submit(runner: &mut Runner, bench: &Bench) -> anyhow::Result<()> {
    let output = OutputLimits { ignore_eos: true, ..OutputLimits::tokens(bench.tokens) };
    runner.submit(output, |number| Task::Generate { prompt: words(number, bench.prompt_tokens) })
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
