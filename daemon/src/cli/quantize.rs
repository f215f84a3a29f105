//! `promptd quantize`.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::anyhow;
use indicatif::{ProgressBar, ProgressStyle};
use promptd::engine::derive::{self, ConvertSpec, DeriveSpec, Derived, DiskLimits, Recipe};
use promptd::engine::{EngineError, ModelFile};
use promptd::health::profile;
use promptd::job::{ModelName, Precision};
use promptd::plan::Bytes;
use serde_json::json;

use super::exit::Code;
use super::{Failure, signals};

/// Steps of the progress bar.
const STEPS: f32 = 1000.0;

/// Between two lines of progress where there is no terminal.
const LINE_EVERY: f32 = 0.1;

/// Make a model of fewer bits from one of more, to run it with less memory.
///
/// The work has low priority and needs little memory however large the model is. The file appears under its name when it is
/// complete; an interrupted run leaves nothing.
#[derive(Debug, clap::Args)]
pub struct Quantize {
    /// The GGUF file to read.
    input: PathBuf,
    /// The file to write. A folder gets the model as the daemon keeps those that it derives: with `derive = true` it finds
    /// one in its own folder and need not make it.
    output: PathBuf,
    /// `f16`, `int8` (`Q8_0`) or `int4` (`Q4_K_M`, or `Q4_0` where the model's rows don't allow it).
    #[arg(long, value_name = "PRECISION", value_parser = precision)]
    to: Precision,
    /// Threads that compute; by default one for each big core, less one on machines with many.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
    threads: Option<u32>,
    /// Replace the output if it exists.
    #[arg(long)]
    force: bool,
    /// Allow as many bits as the input has, or more: the file can grow, and is no more exact than before.
    #[arg(long)]
    requantize: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn precision(text: &str) -> Result<Precision, String> {
    Precision::parse(text).ok_or_else(|| "one of f16, int8, int4".to_owned())
}

/// What came out.
struct Outcome {
    source: Arc<ModelFile>,
    recipe: Recipe,
    made: Derived,
    /// False if it was there already.
    is_new: bool,
}

impl Quantize {
    /// Quantizes and prints the sizes.
    pub fn execute(self) -> Result<(), Failure> {
        let into_folder = self.output.is_dir();
        if into_folder && self.requantize {
            return Err(Failure::new(Code::Failed, anyhow!("--requantize needs a file as output, not a folder")));
        }
        if !into_folder && self.output.exists() && !self.force {
            let error = anyhow!("{} exists already; --force replaces it", self.output.display());
            return Err(Failure::new(Code::Failed, error));
        }
        let start = Instant::now();
        // One thread: the child dies with the one that starts it.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::software)?;
        let outcome = runtime.block_on(self.until_signal(into_folder));
        // A large file that is being hashed should not hold up the end.
        runtime.shutdown_background();
        self.print(&outcome?, start).map_err(Failure::software)
    }

    /// Ctrl-C drops the work, which ends the child and removes the unfinished file.
    async fn until_signal(&self, into_folder: bool) -> Result<Outcome, Failure> {
        tokio::select! {
            biased;
            stopped = signals::any() => {
                stopped.map_err(Failure::software)?;
                Err(Failure::new(Code::Failed, anyhow!("interrupted; nothing was written")))
            }
            outcome = self.work(into_folder) => outcome.map_err(|error| Failure::new(code(&error), error)),
        }
    }

    async fn work(&self, into_folder: bool) -> Result<Outcome, EngineError> {
        let input = self.input.clone();
        let source = Arc::new(open(move || ModelFile::open(&input, None)).await?);
        let recipe = derive::recipe(&source, self.to)?;
        let mut meter = Meter::new();
        let progress = |share| meter.show(share);
        let (made, is_new) = if into_folder {
            self.keep_in_folder(&source, progress).await?
        } else {
            (derive::convert(self.convert_spec(&source), progress).await?, true)
        };
        meter.bar.finish_and_clear();
        Ok(Outcome { source, recipe, made, is_new })
    }

    async fn keep_in_folder(
        &self,
        source: &Arc<ModelFile>,
        progress: impl FnMut(f32),
    ) -> Result<(Derived, bool), EngineError> {
        for path in derive::clean(&self.output, |_| true)? {
            eprintln!("promptd: removed {}, which an interrupted run has left", path.display());
        }
        if let Some(found) = derive::find(&self.output, &source.sha256, self.to).filter(|_| !self.force) {
            let there = found.clone();
            match open(move || there.open()).await {
                Ok(_) => return Ok((found, false)),
                Err(error) => eprintln!("promptd: making it anew: {error}"),
            }
        }
        let spec = DeriveSpec {
            model: name(),
            source: Arc::clone(source),
            to: self.to,
            folder: self.output.clone(),
            threads: self.threads(),
            disk: DiskLimits { reserve: Bytes(0), derived_max: Bytes(u64::MAX) },
        };
        Ok((derive::derive(spec, progress).await?, true))
    }

    fn convert_spec(&self, source: &Arc<ModelFile>) -> ConvertSpec {
        ConvertSpec {
            model: name(),
            source: Arc::clone(source),
            to: self.to,
            any_direction: self.requantize,
            output: self.output.clone(),
            replace: self.force,
            threads: self.threads(),
        }
    }

    fn threads(&self) -> u32 {
        self.threads.unwrap_or_else(|| profile().threads)
    }

    fn print(&self, outcome: &Outcome, start: Instant) -> std::io::Result<()> {
        let Outcome { source, recipe, made, is_new } = outcome;
        let mut out = stdout().lock();
        if self.json {
            let report = json!({
                "input": { "path": source.path, "sha256": source.sha256, "file_type": source.facts.file_type, "size": source.size },
                "output": { "path": made.path, "sha256": made.sha256, "file_type": made.file_type, "size": made.size },
                "estimate": { "size": recipe.size, "memory": recipe.memory },
                "new": is_new,
                "seconds": start.elapsed().as_secs_f64(),
            });
            return writeln!(out, "{}", serde_json::to_string_pretty(&report)?);
        }
        let share = made.size as f64 * 100.0 / source.size.max(1) as f64;
        let before = Bytes(source.size).to_string();
        writeln!(out, "{:<8} {before:>10}  {}", source.facts.file_type, source.path.display())?;
        let (after, path) = (Bytes(made.size).to_string(), made.path.display());
        writeln!(out, "{:<8} {after:>10}  {path} ({share:.0} %)", made.file_type)?;
        if *is_new {
            writeln!(out, "SHA-256  {}, {:.1} s", made.sha256, start.elapsed().as_secs_f64())
        } else {
            writeln!(out, "SHA-256  {}; it was there already", made.sha256)
        }
    }
}

/// The name in the list of processes.
fn name() -> ModelName {
    ModelName::new("quantize").expect("letters only")
}

/// Opens and hashes a file without holding up the signals.
async fn open(
    open: impl FnOnce() -> Result<ModelFile, EngineError> + Send + 'static,
) -> Result<ModelFile, EngineError> {
    tokio::task::spawn_blocking(open).await.map_err(|e| EngineError::Ended(e.to_string()))?
}

fn code(error: &EngineError) -> Code {
    match error {
        EngineError::Unreadable { .. } | EngineError::Malformed { .. } => Code::Data,
        EngineError::Replaced => Code::Unavailable,
        EngineError::Derive(_) | EngineError::Refused(_) | EngineError::Killed | EngineError::Stalled(_) => {
            Code::Failed
        }
        _ => Code::Software,
    }
}

/// A bar on a terminal, else a line now and then.
struct Meter {
    bar: ProgressBar,
    next_line: f32,
}

impl Meter {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} %, {elapsed} of about {duration}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { bar: ProgressBar::new(steps(1.0)).with_style(style), next_line: LINE_EVERY }
    }

    fn show(&mut self, share: f32) {
        self.bar.set_position(steps(share));
        if share >= self.next_line && !stderr().is_terminal() {
            eprintln!("promptd: {:.0} %", share * 100.0);
            self.next_line = share + LINE_EVERY;
        }
    }
}

fn steps(share: f32) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the number of steps")]
    let steps = (share.clamp(0.0, 1.0) * STEPS) as u64;
    steps
}
