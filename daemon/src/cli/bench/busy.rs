//! The engine beside busy programs: each fixed number of threads, and the number that it finds by itself.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use promptd::engine::protocol::{ModelKind, ThreadCount};
use promptd::health::profile;
use promptd::job::{OutputLimits, Task};

use super::Bench;
use super::figures::{BusyReport, Percentiles, ThreadsReport};
use super::runner::{Load, Runner, open, words};

/// How long one way is measured without a pause: longer than it takes to find the number of threads.
const TURN: Duration = Duration::from_secs(10);

/// Loads the model once for each number of threads, and measures all of them in turn.
pub async fn measure(bench: &Bench, model: &Path, busy: u32) -> anyhow::Result<BusyReport> {
    let most = bench.threads.unwrap_or_else(|| profile().threads);
    let ways: Vec<ThreadCount> = (1..=most).map(ThreadCount::Fixed).chain([ThreadCount::UpTo(most)]).collect();
    let context = (bench.prompt_tokens * 2 + 128 + bench.tokens).next_multiple_of(256);
    let file = open(model).await?;
    let mut measured: Vec<_> = ways.iter().map(|&threads| (threads, Vec::new(), Vec::new())).collect();
    let bar = ProgressBar::new(ways.len() as u64 * u64::from(bench.rounds) * 2).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} turns, {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    for _ in 0..bench.rounds {
        for (threads, alone, beside) in &mut measured {
            // One after the other: each holds its own copy of some weights.
            let load = Load { kind: ModelKind::Decoder, context, sequences: 1, threads: *threads };
            let (mut runner, _) = Runner::start(Arc::clone(&file), load).await?;
            bar.set_message(format!("{}, alone", named(*threads)));
            alone.push(turn(&mut runner, bench).await?);
            bar.inc(1);
            bar.set_message(format!("{}, beside {busy} busy programs", named(*threads)));
            let programs = Programs::start(busy)?;
            beside.push(turn(&mut runner, bench).await?);
            drop(programs);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let results = measured.into_iter().map(|(threads, alone, beside)| ThreadsReport {
        threads: named(threads),
        alone_tokens_per_second: Percentiles::of(alone).p50,
        beside_tokens_per_second: Percentiles::of(beside).p50,
    });
    Ok(BusyReport { file: model.display().to_string(), busy, results: results.collect() })
}

/// Answers one after the other for a while; tokens a second.
async fn turn(runner: &mut Runner, bench: &Bench) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut tokens = 0;
    while start.elapsed() < TURN {
        let output = OutputLimits { ignore_eos: true, ..OutputLimits::tokens(bench.tokens) };
        runner.submit(output, |number| Task::Generate { prompt: words(number, bench.prompt_tokens) })?;
        tokens += runner.answer().await?.usage.generated_tokens;
    }
    Ok(f64::from(tokens) / start.elapsed().as_secs_f64())
}

fn named(threads: ThreadCount) -> String {
    match threads {
        ThreadCount::Fixed(threads) => threads.to_string(),
        ThreadCount::UpTo(most) => format!("adapted, up to {most}"),
    }
}

/// Programs that always want to compute.
struct Programs {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Programs {
    fn start(count: u32) -> std::io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let mut programs = Self { over: Arc::clone(&over), threads: Vec::new() };
        for _ in 0..count {
            let over = Arc::clone(&over);
            let spin = move || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            };
            programs.threads.push(std::thread::Builder::new().name("busy".into()).spawn(spin)?);
        }
        Ok(programs)
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // They cannot panic.
            let _ = thread.join();
        }
    }
}
