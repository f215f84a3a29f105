//! Engines by themselves, the same child and the same batch loop as in the daemon but without MQTT, beside servers that get the
//! same load in turn.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use promptd::engine::ModelFile;
use promptd::engine::protocol::{ModelKind, ModelReport};

use super::Bench;
use super::contestant::{Contestant, Round, Work};
use super::figures::{Measured, Percentiles, PromptReport, StreamsReport};
use super::machine::Watch;
use super::runner::{Load, Runner, open};
use super::server::Server;

/// Tokens of an answer of which only the first counts.
const FEW: u32 = 2;

/// One that takes part, and what was measured of it.
struct Entrant {
    contestant: Contestant,
    measured: Measured,
    file: Option<Arc<ModelFile>>,
    joules: Option<f64>,
    tokens: u64,
}

/// Measures all models and servers, each number of streams in turn.
pub async fn measure(bench: &Bench) -> anyhow::Result<Vec<Measured>> {
    let mut entrants = Vec::new();
    for model in &bench.model {
        entrants.push(engine(bench, model).await?);
    }
    for url in &bench.compare {
        entrants.push(Entrant::new(Contestant::Server(Server::new(url)?, 0), Measured::named(url.as_str()), None));
    }
    let steps =
        (bench.streams.len() * bench.rounds as usize + bench.prompts.len() * bench.rounds as usize) * entrants.len();
    let bar = ProgressBar::new(steps as u64).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} rounds, {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    streams(bench, &mut entrants, &bar).await?;
    prompts(bench, &mut entrants, &bar).await?;
    bar.finish_and_clear();
    Ok(entrants.into_iter().map(Entrant::measured).collect())
}

/// Starts an engine for the streams.
async fn engine(bench: &Bench, model: &Path) -> anyhow::Result<Entrant> {
    let most = bench.streams.iter().copied().max().unwrap_or(1);
    let file = open(model).await?;
    let (runner, report) = start(bench, &file, bench.prompt_tokens, bench.tokens, most).await?;
    let measured = Measured {
        model: Some(report.description),
        threads: Some(report.threads),
        cpu_features: Some(report.cpu_features),
        load_seconds: Some(report.load_time.as_secs_f64()),
        ..Measured::named(&model.display().to_string())
    };
    Ok(Entrant::new(Contestant::Engine(Box::new(runner)), measured, Some(file)))
}

async fn start(
    bench: &Bench,
    file: &Arc<ModelFile>,
    words: u32,
    tokens: u32,
    sequences: u32,
) -> anyhow::Result<(Runner, ModelReport)> {
    // Prompt, template and answer; llama.cpp rounds up to 256.
    let context = (words * 2 + 128 + tokens).next_multiple_of(256);
    let load = Load { kind: ModelKind::Decoder, context, sequences, threads: bench.threads() };
    Runner::start(Arc::clone(file), load).await
}

/// Answers at once.
async fn streams(bench: &Bench, entrants: &mut [Entrant], bar: &ProgressBar) -> anyhow::Result<()> {
    let Bench { answers, prompt_tokens: words, tokens, .. } = *bench;
    for entrant in &mut *entrants {
        // The first answer touches memory that later ones find warm.
        entrant.contestant.round(Work { streams: 1, answers: 1, words, tokens }).await?;
    }
    for &streams in &bench.streams {
        let mut rounds: Vec<Vec<Round>> = entrants.iter().map(|_| Vec::new()).collect();
        for _ in 0..bench.rounds {
            for (entrant, rounds) in entrants.iter_mut().zip(&mut rounds) {
                bar.set_message(format!("{streams} streams, {}", entrant.measured.name));
                rounds.push(entrant.round(Work { streams, answers, words, tokens }).await?);
                bar.inc(1);
            }
        }
        for (entrant, rounds) in entrants.iter_mut().zip(rounds) {
            entrant.measured.streams.push(StreamsReport::of(streams, &rounds));
        }
    }
    Ok(())
}

/// Prompts of several lengths, one at a time. Engines get a context of their own for them: one for each of many streams would
/// take much memory.
async fn prompts(bench: &Bench, entrants: &mut [Entrant], bar: &ProgressBar) -> anyhow::Result<()> {
    let Some(&longest) = bench.prompts.iter().max() else { return Ok(()) };
    for entrant in &mut *entrants {
        let Some(file) = &entrant.file else { continue };
        entrant.measured.peak_memory_bytes = entrant.contestant.peak_memory();
        let (runner, _) = start(bench, file, longest, FEW, 1).await?;
        entrant.contestant = Contestant::Engine(Box::new(runner));
        entrant.contestant.round(Work { streams: 1, answers: 1, words: 1, tokens: FEW }).await?;
    }
    for &words in &bench.prompts {
        let mut firsts: Vec<(u32, Vec<f64>)> = entrants.iter().map(|_| (0, Vec::new())).collect();
        for _ in 0..bench.rounds {
            for (entrant, (tokens, firsts)) in entrants.iter_mut().zip(&mut firsts) {
                bar.set_message(format!("prompts of {words} words, {}", entrant.measured.name));
                let round = entrant.contestant.round(Work { streams: 1, answers: 1, words, tokens: FEW }).await?;
                for sample in round.samples {
                    *tokens = sample.prompt_tokens;
                    firsts.push(milliseconds(sample.first));
                }
                bar.inc(1);
            }
        }
        for (entrant, (prompt_tokens, firsts)) in entrants.iter_mut().zip(firsts) {
            let first = Percentiles::of(firsts);
            entrant.measured.prompts.push(PromptReport { words, prompt_tokens, time_to_first_token_ms: first });
        }
    }
    Ok(())
}

impl Entrant {
    fn new(contestant: Contestant, measured: Measured, file: Option<Arc<ModelFile>>) -> Self {
        Self { contestant, measured, file, joules: None, tokens: 0 }
    }

    /// A round, and what the machine's sensors told meanwhile.
    async fn round(&mut self, work: Work) -> anyhow::Result<Round> {
        let watch = Watch::start()?;
        let round = self.contestant.round(work).await?;
        let seen = watch.stop();
        if let Some(joules) = seen.joules {
            *self.joules.get_or_insert(0.0) += joules;
            self.tokens += round.samples.iter().map(|sample| u64::from(sample.tokens)).sum::<u64>();
        }
        if let Some(celsius) = seen.hottest_celsius {
            let hottest = self.measured.hottest_celsius.get_or_insert(celsius);
            *hottest = hottest.max(celsius);
        }
        Ok(round)
    }

    fn measured(mut self) -> Measured {
        self.measured.peak_memory_bytes = self.measured.peak_memory_bytes.or_else(|| self.contestant.peak_memory());
        self.measured.joules_per_token =
            self.joules.filter(|_| self.tokens > 0).map(|joules| joules / self.tokens as f64);
        self.measured
    }
}

impl StreamsReport {
    /// Medians of rounds at one number of streams.
    fn of(streams: u32, rounds: &[Round]) -> Self {
        let totals = rounds.iter().map(|round| {
            let tokens: u32 = round.samples.iter().map(|sample| sample.tokens).sum();
            f64::from(tokens) / round.wall.as_secs_f64()
        });
        let samples = || rounds.iter().flat_map(|round| &round.samples);
        let decode = samples().filter(|sample| sample.tokens > 1).map(|sample| {
            f64::from(sample.tokens - 1) / sample.total.saturating_sub(sample.first).as_secs_f64().max(1e-9)
        });
        Self {
            streams,
            prompt_tokens: samples().next().map_or(0, |sample| sample.prompt_tokens),
            decode_tokens_per_second: Percentiles::of(decode.collect()).p50,
            total_tokens_per_second: Percentiles::of(totals.collect()).p50,
            time_to_first_token_ms: Percentiles::of(samples().map(|sample| milliseconds(sample.first)).collect()),
            latency_ms: Percentiles::of(samples().map(|sample| milliseconds(sample.total)).collect()),
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
