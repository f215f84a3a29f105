//! `promptd check`.

use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use anyhow::anyhow;
use promptd::config::{Config, ConfigError, Model};
use promptd::engine::{ModelFile, backends_folder};
use promptd::job::Precision;
use promptd::mqtt::certificates;
use promptd::plan::KvType;
use serde_json::json;

use super::{ConfigFile, Failure};

/// Check the configuration, the model files and the files for TLS, and print every problem at once.
#[derive(Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Print what was found as JSON.
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Prints every problem, or what was found in order.
    pub fn execute(self) -> Result<(), Failure> {
        let (loaded, invalid) = self.file.examine()?;
        let config = &loaded.config;
        let here = problems(config);
        if self.json {
            let invalid = invalid.iter().flat_map(ConfigError::problems);
            let report = json!({
                "files": loaded.files(), "node": config.node.name, "broker": config.mqtt.url.to_string(),
                "models": config.models.iter().map(|model| &model.name).collect::<Vec<_>>(),
                "problems": invalid.chain(here.iter().cloned()).collect::<Vec<String>>(),
            });
            writeln!(std::io::stdout(), "{report:#}").map_err(Failure::software)?;
        }
        let here =
            (!here.is_empty()).then(|| format!("{} found on this machine:\n  {}", here.len(), here.join("\n  ")));
        let problems: Vec<String> = invalid.map(|invalid| invalid.to_string()).into_iter().chain(here).collect();
        if !problems.is_empty() {
            return Err(Failure::configuration(anyhow!("{}", problems.join("\n"))));
        }
        if self.json {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        for file in loaded.files() {
            writeln!(out, "read {}", file.display()).map_err(Failure::software)?;
        }
        writeln!(
            out,
            "configuration is valid: node {}, broker {}, {} model(s)",
            config.node.name,
            config.mqtt.url,
            config.models.len()
        )
        .map_err(Failure::software)
    }
}

/// What the configuration alone can't tell.
fn problems(config: &Config) -> Vec<String> {
    let models = config
        .models
        .iter()
        .flat_map(|model| model_problems(model).into_iter().map(|p| format!("model[{}].files: {p}", model.name)));
    let password = config.mqtt.password().err().map(|e| e.to_string());
    let certificates = config.mqtt.tls.iter().flat_map(|tls| certificates(tls, SystemTime::now()));
    let certificates = certificates.flat_map(|file| file.problems);
    let golden = config.models.iter().filter_map(golden_problem);
    let kv_types = config.models.iter().filter_map(|model| kv_problem(config, model));
    let backends = backends_folder().err().map(|e| e.to_string());
    models.chain(kv_types).chain(golden).chain(password).chain(certificates).chain(backends).collect()
}

/// What is wrong with each file, and two of one precision, of which one would never be used.
fn model_problems(model: &Model) -> Vec<String> {
    let mut problems = Vec::new();
    let mut known: Vec<(Precision, &Path)> = Vec::new();
    for file in &model.files {
        let path = file.path.as_path();
        match ModelFile::facts(path) {
            Err(problem) => problems.push(problem.to_string()),
            Ok(facts) => {
                if model.context > facts.n_ctx_train {
                    let trained = facts.n_ctx_train;
                    let text = format!("was trained with {trained} tokens of context; context is {}", model.context);
                    problems.push(format!("{} {text}", path.display()));
                }
                match known.iter().find(|(precision, _)| *precision == facts.precision) {
                    Some((precision, first)) => problems.push(format!(
                        "{} and {} have the same precision, {precision}; one for each is used",
                        first.display(),
                        path.display()
                    )),
                    None => known.push((facts.precision, path)),
                }
            }
        }
    }
    problems
}

fn kv_problem(config: &Config, model: &Model) -> Option<String> {
    let wrong = config.engine.reproducible && model.kv_type != KvType::F16;
    wrong.then(|| format!("model[{}].kv_type = {}: engine.reproducible needs \"f16\"", model.name, model.kv_type))
}

fn golden_problem(model: &Model) -> Option<String> {
    let expression = model.golden_expect.as_deref()?;
    let error = regex::Regex::new(expression).err()?;
    Some(format!("model[{}].golden_expect: {error}", model.name))
}
