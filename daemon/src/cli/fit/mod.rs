//! `promptd fit`.

mod report;
mod show;
mod survey;
pub mod table;
#[cfg(test)]
mod tests;

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use indicatif::ProgressBar;
use promptd::config::{Config, LogLevel, Model};
use promptd::engine::EngineError;
use promptd::job::ModelName;
use promptd::plan::KvType;
use promptd::service::{self, ServiceError};

use self::report::Report;
pub use self::survey::Survey;

use super::exit::Code;
use super::{ConfigFile, Failure, logs};

/// Show what a model is, how it would run here, and what each way needs of this machine's memory.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The files are read and hashed, and an engine process measures each strategy without taking memory for it. The choice is \
the daemon's, as if no other model were loaded; what a running daemon holds counts as taken.")]
pub struct Fit {
    /// A GGUF file, or else the name of a configured model.
    #[arg(value_name = "FILE|MODEL")]
    what: PathBuf,
    #[command(flatten)]
    config: ConfigFile,
    /// Tokens of context for each sequence; by default the model's setting, for a file 2048.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(256..=1_048_576))]
    context: Option<u32>,
    /// Jobs that run at once; by default the model's setting, for a file 4.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    sequences: Option<u32>,
    /// Element type of the KV cache: `f16`, `q8_0` or `q4_0`; by default the model's setting, for a file `f16`.
    #[arg(long, value_name = "TYPE", value_parser = kv_type)]
    kv_type: Option<KvType>,
    /// Measure nothing: estimate from the headers of the files, on the CPU. Quick for files of any size, and needs no
    /// back ends.
    #[arg(long)]
    quick: bool,
    /// Print JSON, sizes in bytes.
    #[arg(long)]
    json: bool,
}

fn kv_type(text: &str) -> Result<KvType, String> {
    let all = [KvType::F16, KvType::Q8_0, KvType::Q4_0];
    all.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| "one of f16, q8_0, q4_0".to_owned())
}

/// What the command line means.
struct Subject {
    model: Model,
    /// Its name in the configuration, if it comes from there.
    name: Option<ModelName>,
}

impl Fit {
    /// Finds out and prints. That nothing fits is an answer, not a failure.
    pub fn execute(self) -> Result<(), Failure> {
        let config = self.config.load()?;
        let Subject { model, name } = self.subject(&config)?;
        let survey = if self.quick { Survey::by_formula(&config, &model) } else { measure(&config, model.clone())? };
        if let Some(reasons) = survey.unusable() {
            return Err(Failure::new(Code::Data, anyhow!(reasons)));
        }
        let report = Report::new(name, &model, &config, survey);
        let text = if self.json {
            serde_json::to_string_pretty(&report).map_err(Failure::software)? + "\n"
        } else {
            show::text(&report)
        };
        stdout().lock().write_all(text.as_bytes()).map_err(Failure::software)
    }

    /// The file if there is one, else the configured model, with the settings of the command line.
    fn subject(&self, config: &Config) -> Result<Subject, Failure> {
        let (mut model, name) = match std::fs::metadata(&self.what) {
            Ok(found) if found.is_file() => (Model::of_file(process_name(), self.what.clone(), &config.profile), None),
            found => {
                let reason = found.map_or_else(|e| e.to_string(), |_| "not a regular one".to_owned());
                let model = self.configured(config).ok_or_else(|| self.unknown(config, &reason))?;
                (model.clone(), Some(model.name.clone()))
            }
        };
        if let Some(context) = self.context {
            model.context = context;
            model.min_context = model.min_context.min(context);
        }
        model.sequences = self.sequences.unwrap_or(model.sequences);
        model.kv_type = self.kv_type.unwrap_or(model.kv_type);
        Ok(Subject { model, name })
    }

    fn configured<'a>(&self, config: &'a Config) -> Option<&'a Model> {
        config.models.iter().find(|model| self.what.as_os_str() == model.name.as_str())
    }

    fn unknown(&self, config: &Config, reason: &str) -> Failure {
        let known: Vec<&str> = config.models.iter().map(|model| model.name.as_str()).collect();
        let known =
            if known.is_empty() { "none is configured".to_owned() } else { format!("known are: {}", known.join(", ")) };
        let what = self.what.display();
        Failure::new(Code::Data, anyhow!("{what} is neither a file ({reason}) nor a configured model; {known}"))
    }
}

/// The name in the list of processes of a model that has none.
fn process_name() -> ModelName {
    ModelName::new("fit").expect("letters only")
}

/// Asks what the daemon would do.
pub fn measure(config: &Config, model: Model) -> Result<Survey, Failure> {
    // Why a back end or a file is not used.
    let _stays = logs::init(LogLevel::Warn);
    let spinner = ProgressBar::new_spinner().with_message("reading the files and measuring");
    spinner.enable_steady_tick(Duration::from_millis(200));
    // One thread: the children die with the one that starts them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::software)?;
    let fit = runtime.block_on(service::fit(config, model));
    spinner.finish_and_clear();
    fit.map(Survey::from).map_err(|error| match error {
        ServiceError::Engine(EngineError::NoBackends(_)) => {
            Failure::unavailable(anyhow!("{error}; --quick does without"))
        }
        ServiceError::Engine(EngineError::Replaced) => Failure::unavailable(error),
        error => Failure::software(error),
    })
}
