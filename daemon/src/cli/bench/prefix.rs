//! What an operator's instructions cost: the first time, again, after a restart, and for many clients at once.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use promptd::engine::ModelFile;
use promptd::engine::protocol::{Answer, ModelKind};
use promptd::job::{Message, OutputLimits, Role, Task};

use super::Bench;
use super::figures::{Percentiles, PrefixReport};
use super::runner::{Load, Runner, open, words};

/// Clients who ask at once.
const CLIENTS: u32 = 8;

/// Tokens of each answer.
const TOKENS: u32 = 16;

/// Words of what stands after the instructions.
const QUESTION: u32 = 8;

/// Measures instructions of so many words.
pub async fn measure(bench: &Bench, model: &Path, instructions: u32) -> anyhow::Result<PrefixReport> {
    let file = open(model).await?;
    let folder = Folder::new()?;
    let mut measured = Measured::default();
    for round in 0..bench.rounds {
        // Nobody has asked with these before.
        let system = words(u64::from(round) + 1_000_000, instructions);
        let mut runner = start(bench, &file, instructions, &folder).await?;
        measured.of_many(&mut runner, &words(u64::from(round) + 2_000_000, instructions)).await?;
        let cold = one(&mut runner, &system).await?;
        measured.tokens = cold.usage.prompt_tokens;
        measured.cold.push(milliseconds(&cold));
        for _ in 0..bench.answers {
            measured.warm.push(milliseconds(&one(&mut runner, &system).await?));
        }
        folder.has(2 * (round as usize + 1)).await?;
        drop(runner);
        let mut runner = start(bench, &file, instructions, &folder).await?;
        measured.restarted.push(milliseconds(&one(&mut runner, &system).await?));
    }
    Ok(measured.report(model))
}

async fn start(bench: &Bench, file: &Arc<ModelFile>, instructions: u32, folder: &Folder) -> anyhow::Result<Runner> {
    let context = (instructions * 2 + 256).next_multiple_of(256);
    let load = Load { kind: ModelKind::Decoder, context, sequences: CLIENTS, threads: bench.threads() };
    let (mut runner, _) = Runner::start_with(Arc::clone(file), load, Some(folder.0.clone())).await?;
    // What the first answer finds cold is no matter of prompts.
    submit(&mut runner, "")?;
    runner.answer().await?;
    Ok(runner)
}

fn submit(runner: &mut Runner, system: &str) -> anyhow::Result<()> {
    let output = OutputLimits { ignore_eos: true, ..OutputLimits::tokens(TOKENS) };
    let message = |role, content: String| Message { role, content };
    runner.submit(output, |number| Task::Chat {
        messages: vec![message(Role::System, system.to_owned()), message(Role::User, words(number, QUESTION))],
    })
}

async fn one(runner: &mut Runner, system: &str) -> anyhow::Result<Answer> {
    runner.set_opening(opening(system))?;
    submit(runner, system)?;
    runner.answer().await
}

fn opening(system: &str) -> Vec<Message> {
    let message = |role, content: &str| Message { role, content: content.to_owned() };
    vec![message(Role::System, system), message(Role::User, "")]
}

fn milliseconds(answer: &Answer) -> f64 {
    answer.prefill.as_secs_f64() * 1000.0
}

#[derive(Default)]
struct Measured {
    tokens: u32,
    cold: Vec<f64>,
    warm: Vec<f64>,
    restarted: Vec<f64>,
    many_cold: Vec<f64>,
    many_warm: Vec<f64>,
}

impl Measured {
    /// All clients at once, with instructions that nobody has asked with, and again.
    async fn of_many(&mut self, runner: &mut Runner, system: &str) -> anyhow::Result<()> {
        runner.set_opening(opening(system))?;
        for seconds in [&mut self.many_cold, &mut self.many_warm] {
            let start = Instant::now();
            for _ in 0..CLIENTS {
                submit(runner, system)?;
            }
            for _ in 0..CLIENTS {
                runner.answer().await?;
            }
            seconds.push(start.elapsed().as_secs_f64());
        }
        Ok(())
    }

    fn report(self, model: &Path) -> PrefixReport {
        let median = |samples: Vec<f64>| Percentiles::of(samples).p50;
        PrefixReport {
            file: model.display().to_string(),
            prompt_tokens: self.tokens,
            cold_ms: median(self.cold),
            warm_ms: median(self.warm),
            restarted_ms: median(self.restarted),
            clients: CLIENTS,
            clients_cold_seconds: median(self.many_cold),
            clients_warm_seconds: median(self.many_warm),
        }
    }
}

/// A folder for what engines keep, which goes with it.
struct Folder(PathBuf);

impl Folder {
    /// One that nobody else has made or may write.
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("promptd-bench-{:016x}", fastrand::u64(..)));
        DirBuilder::new().mode(0o700).create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    /// Waits until so many instructions are in it.
    async fn has(&self, files: usize) -> anyhow::Result<()> {
        let written = || {
            let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
            // Those are longer than what every prompt begins with.
            entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "prefix")).count() >= files
        };
        let wait = async {
            while !written() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), wait).await.context("the engine keeps nothing on disk")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // One that nobody could write is not there.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
