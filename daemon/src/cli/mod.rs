//! The command line: what can be asked for, and how the process ends.

mod ask;
mod bench;
mod check;
mod client;
mod exit;
mod fit;
mod logs;
mod run;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use promptd::config::{Config, ConfigError, Loaded};

pub use exit::Failure;

/// Where the packaged configuration lies.
const DEFAULT_CONFIG: &str = "/etc/promptd/promptd.toml";

const AFTER_HELP: &str = "\
Examples:
  promptd check --config promptd.toml
  promptd run --config promptd.toml
  promptd ask --config promptd.toml \"What is MQTT?\"
  promptd fit model.gguf

Exit codes: 0 done, 1 answered with an error, 2 usage, 65 a file is not what it should be,
69 broker, node or model cannot be reached, 70 a defect, 78 the configuration is wrong";

/// Turns this computer into a language-model appliance for the devices around it.
///
/// Devices publish prompts to an MQTT broker; promptd answers them with a local model.
#[derive(Debug, Parser)]
#[command(name = "promptd", version, propagate_version = true, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: load the models and serve requests until SIGTERM.
    ///
    /// The log goes to journald under systemd, else to standard error; the variable `PROMPTD_LOG` (such as `debug`)
    /// overrides `service.log_level`. Exit code 78 means a configuration that must be mended first.
    Run(run::Run),
    /// Check the configuration and the model files, and print every problem at once.
    Check(check::Check),
    /// Ask a running daemon one question over MQTT and print the answer as it is made.
    Ask(ask::Ask),
    /// Show what a model file is and how much memory it needs here.
    Fit(fit::Fit),
    /// Measure a model on this machine: tokens per second, time to first token, what MQTT adds.
    Bench(bench::Bench),
    /// The process that loads one model; started by the daemon only.
    #[command(hide = true)]
    Engine(run::EngineChild),
}

/// Which configuration a command reads.
#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration file; conf.d/*.toml beside it is read after it. Without this option the packaged file
    /// /etc/promptd/promptd.toml is read if it exists, else every setting has its default.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn load(&self) -> Result<Config, Failure> {
        match self.examine()? {
            (loaded, None) => Ok(loaded.config),
            (_, Some(invalid)) => Err(Failure::configuration(invalid)),
        }
    }

    fn examine(&self) -> Result<(Loaded, Option<ConfigError>), Failure> {
        let path = match &self.config {
            Some(path) => path.clone(),
            None if PathBuf::from(DEFAULT_CONFIG).exists() => DEFAULT_CONFIG.into(),
            None => return Ok((Loaded { config: Config::defaults(), files: Vec::new() }, None)),
        };
        Config::examine(&path).map_err(Failure::configuration)
    }
}

/// Carries out a command.
pub fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Run(run) => run.execute(),
        Command::Check(check) => check.execute(),
        Command::Ask(ask) => ask.execute(),
        Command::Fit(fit) => fit.execute(),
        Command::Bench(bench) => bench.execute(),
        Command::Engine(child) => child.execute(),
    }
}
