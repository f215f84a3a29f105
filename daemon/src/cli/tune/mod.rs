//! `promptd tune`.

mod quality;
mod search;
mod show;

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use promptd::config::{Config, LogLevel, Model};
use promptd::engine::derive::find;
use promptd::engine::{ModelFile, Tuned, backends_folder};
use promptd::gguf::Cache;
use promptd::health::Machine;
use promptd::job::{ModelName, Precision};

use self::quality::Quality;
use self::search::{Search, Trial, Tried};
use super::exit::Code;
use super::fit::Survey;
use super::{ConfigFile, Failure, logs};

/// Find out what makes a model fast on this machine, and what each precision costs in quality.
///
/// Threads, attention, the size of steps, weights in another order and mapped files are tried on the CPU one after the other,
/// each in an engine process of its own. The best are kept for the daemon, which takes them the next time that it loads the
/// model (`promptd reload MODEL`) to run on the CPU; another number of threads than the default in the configuration goes
/// before. Nothing else should compute meanwhile.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Quality is that of what a model says about a shipped text beside its most exact precision: how often both expect the same \
next token, and the Kullback-Leibler divergence of their expectations in nats (0 is equal), over the 32 likeliest tokens \
and the rest as one.")]
pub struct Tune {
    /// GGUF files of one model in several precisions, or else the name of a configured model.
    #[arg(value_name = "FILE|MODEL", required = true)]
    what: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
    /// Answers at once where many are measured.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    sequences: u32,
    /// Tokens of the prompt that is computed; half as many of a text of 300 are read one by one. Fewer are measured faster, and
    /// less surely.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(16..=8192))]
    tokens: u32,
    /// Most threads that are tried; by default as many as this process may use.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
    threads: Option<u32>,
    /// Measure as things are, and try nothing.
    #[arg(long)]
    as_is: bool,
    /// Keep nothing for the daemon.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was found for one file.
#[derive(Debug, Clone)]
pub struct Found {
    file: Arc<ModelFile>,
    /// With the settings that the daemon starts from.
    before: Trial,
    /// With the best.
    best: Trial,
    /// Every other trial that was made.
    tried: Vec<Tried>,
    /// Beside the most exact file; none for that one.
    quality: Option<Quality>,
}

impl Tune {
    /// Measures, keeps and prints.
    pub fn execute(self) -> Result<(), Failure> {
        let config = self.config.load()?;
        let _stays = logs::init(LogLevel::Warn);
        let files = self.files(&config)?;
        let keeps = !self.dry_run && !self.as_is;
        if keeps {
            let made = Tuned::make_folder(&config.service.state_dir);
            made.context("nothing could be kept; --dry-run does without").map_err(Failure::unavailable)?;
        }
        for file in &files {
            self.fits(&config, file)?;
        }
        let backends = backends_folder().map_err(Failure::unavailable)?.join("cpu").display().to_string();
        // One thread: the children die with the one that starts them.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::software)?;
        let found = runtime.block_on(self.measure(&files, &backends, config.profile.threads))?;
        let machine = Machine::this().name();
        let text = if self.json { show::json(&machine, &found) } else { show::text(&machine, &found) };
        stdout().lock().write_all(text.as_bytes()).map_err(Failure::software)?;
        if keeps { keep(&config, &found, &machine) } else { Ok(()) }
    }

    /// A measurement takes memory like any model, and what runs must not lose its own.
    fn fits(&self, config: &Config, file: &ModelFile) -> Result<(), Failure> {
        let name = ModelName::new("tune").map_err(Failure::software)?;
        let mut model = Model::of_file(name, file.path.clone(), &config.profile);
        (model.context, model.sequences) = (self.tokens, self.sequences);
        let choice = Survey::by_formula(config, &model).choice;
        if choice.chosen.is_some_and(|chosen| !chosen.squeezed) {
            return Ok(());
        }
        let reasons: Vec<String> = choice.rejected.iter().map(ToString::to_string).collect();
        let (path, Self { sequences, tokens, .. }) = (file.path.display(), self);
        let text = format!("{path} does not fit beside what runs, with {sequences} sequences of {tokens} tokens");
        let text = if reasons.is_empty() { text } else { format!("{text}: {}", reasons.join("; ")) };
        Err(Failure::unavailable(anyhow!("{text}")))
    }

    /// The files, the most exact first.
    fn files(&self, config: &Config) -> Result<Vec<Arc<ModelFile>>, Failure> {
        let mut files = Vec::new();
        for what in &self.what {
            match config.models.iter().find(|model| what.as_os_str() == model.name.as_str()) {
                Some(model) if !what.is_file() => files.extend(of_model(config, model)?),
                _ => files.push(open(what, None)?),
            }
        }
        if let Some(encoder) = files.iter().find(|file| file.facts.cache == Cache::None) {
            let path = encoder.path.display();
            return Err(Failure::new(
                Code::Data,
                anyhow!("{path} is an encoder; only models that write text are tuned"),
            ));
        }
        files.sort_by_key(|file| std::cmp::Reverse(file.facts.precision));
        files.dedup_by_key(|file| file.sha256.clone());
        Ok(files)
    }

    async fn measure(&self, files: &[Arc<ModelFile>], backends: &str, threads: u32) -> Result<Vec<Found>, Failure> {
        let bar = ProgressBar::new_spinner().with_style(
            ProgressStyle::with_template("{spinner} {elapsed} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let most = self.threads.unwrap_or_else(|| u32::try_from(cores).unwrap_or(1));
        let mut found: Vec<Found> = Vec::new();
        let mut search = Search::new(backends, self.tokens, self.sequences, &bar);
        for file in files {
            let before = search.start(file, threads.min(most)).await.map_err(Failure::unavailable)?;
            let (best, tried) =
                if self.as_is { (before.clone(), Vec::new()) } else { search.best(file, before.clone(), most).await };
            let exact = found.first().map(|exact| &exact.before.report);
            if exact.is_some_and(|exact| exact.text != before.report.text) {
                let (path, exact) = (file.path.display(), files[0].path.display());
                let text = format!("{path} has other tokens than {exact}: it is no precision of the same model");
                return Err(Failure::new(Code::Data, anyhow!("{text}")));
            }
            let quality = exact.map(|exact| Quality::of(exact, &before.report));
            if found.is_empty() {
                search.compare_with(&before.report);
            }
            found.push(Found { file: Arc::clone(file), before, best, tried, quality });
        }
        bar.finish_and_clear();
        Ok(found)
    }
}

/// The files of a configured model, and those that were derived from them.
fn of_model(config: &Config, model: &Model) -> Result<Vec<Arc<ModelFile>>, Failure> {
    let mut files = Vec::new();
    for file in &model.files {
        files.push(open(&file.path, file.sha256.as_ref())?);
    }
    let folder = config.service.state_dir.join("derived");
    let source = files.iter().max_by_key(|file| file.facts.precision).map(|file| file.sha256.clone());
    let derived = [Precision::F16, Precision::Int8, Precision::Int4]
        .into_iter()
        .filter_map(|to| find(&folder, source.as_deref()?, to))
        .collect::<Vec<_>>();
    for derived in derived {
        files.push(Arc::new(derived.open().map_err(|e| Failure::new(Code::Data, e))?));
    }
    Ok(files)
}

fn open(path: &std::path::Path, sha256: Option<&[u8; 32]>) -> Result<Arc<ModelFile>, Failure> {
    ModelFile::open(path, sha256).map(Arc::new).map_err(|e| Failure::new(Code::Data, e))
}

fn keep(config: &Config, found: &[Found], machine: &str) -> Result<(), Failure> {
    for Found { file, best, .. } in found {
        let tuned = Tuned::new(&file.sha256, machine, best.threads, best.tuning);
        let kept = tuned.keep(&config.service.state_dir).context("what was found could not be kept");
        kept.map_err(Failure::unavailable)?;
    }
    Ok(())
}
