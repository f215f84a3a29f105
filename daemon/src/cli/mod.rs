//! The command line: what can be asked for, and how the process ends.

mod answer;
mod ask;
mod bench;
mod chat;
mod check;
mod client;
mod doctor;
mod exit;
mod fit;
mod generate;
mod joining;
mod log_rate;
mod logs;
mod model;
mod node;
mod prompting;
mod quantize;
mod run;
mod run_pipeline;
mod schema;
mod signals;
mod submit;
#[cfg(test)]
mod tests;
mod top;
mod tune;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use promptd::config::{Config, ConfigError, Loaded, Origin};
use promptd::health;

pub use exit::Failure;

use node::NodeCommand;

const AFTER_HELP: &str = "\
Examples:
  promptd check --config promptd.toml
  promptd run --config promptd.toml
  promptd ask --config promptd.toml \"What is MQTT?\"
  promptd status --broker mqtt://broker.local --node gw7
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

// What a command does is told at its own type: a comment here would take the place of all of it.
#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Doctor(doctor::Doctor),
    Ask(ask::Ask),
    Chat(chat::Chat),
    RunPipeline(run_pipeline::RunPipeline),
    Top(top::Top),
    Submit(submit::Submit),
    Status(Node<node::Status>),
    Info(Node<node::Info>),
    Models(Node<node::Models>),
    Jobs(Node<node::Jobs>),
    Tasks(Node<node::Tasks>),
    Diagnose(Node<node::Diagnose>),
    Cancel(Node<node::Cancel>),
    Fetch(Node<node::Fetch>),
    Forget(Node<node::Forget>),
    Load(Node<node::Load>),
    Unload(Node<node::Unload>),
    Switch(Node<node::Switch>),
    Reload(Node<node::Reload>),
    Model(model::Model),
    Drain(Node<node::Drain>),
    Resume(Node<node::Resume>),
    Fit(fit::Fit),
    Bench(bench::Bench),
    Quantize(quantize::Quantize),
    Tune(tune::Tune),
    Schema(schema::Schema),
    #[command(hide = true)]
    Generate(generate::Generate),
    #[command(hide = true)]
    Engine(run::EngineChild),
}

// Which configuration a command reads. No doc comment: those of parts become the help of commands that have none.
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
        self.read().map_err(Failure::configuration)
    }

    fn read(&self) -> Result<(Loaded, Option<ConfigError>), ConfigError> {
        let profile = health::profile();
        match self.path() {
            Some(path) => Config::examine(&path, &profile),
            None => Ok((Loaded::defaults(&profile), None)),
        }
    }

    /// The file that is read, if there is one.
    fn path(&self) -> Option<PathBuf> {
        Origin::file(self.config.as_deref())
    }

    fn origin(&self) -> Result<Origin, Failure> {
        Origin::new(self.config.as_deref(), health::profile()).map_err(Failure::software)
    }
}

// A command for a node. The command comes last: its help is the help of the whole.
#[derive(Debug, clap::Args)]
struct Node<C: clap::Args> {
    #[command(flatten, next_help_heading = "Which node, and the way to it")]
    reach: node::Reach,
    #[command(flatten)]
    command: C,
}

impl<C: clap::Args + NodeCommand> Node<C> {
    fn execute(&self) -> Result<(), Failure> {
        self.command.execute(&self.reach)
    }
}

/// Carries out a command.
pub fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Run(run) => run.execute(),
        Command::Check(check) => check.execute(),
        Command::Doctor(doctor) => doctor.execute(),
        Command::Ask(ask) => ask.execute(),
        Command::Chat(chat) => chat.execute(),
        Command::RunPipeline(pipeline) => pipeline.execute(),
        Command::Top(top) => top.execute(),
        Command::Status(node) => node.execute(),
        Command::Info(node) => node.execute(),
        Command::Models(node) => node.execute(),
        Command::Jobs(node) => node.execute(),
        Command::Tasks(node) => node.execute(),
        Command::Diagnose(node) => node.execute(),
        Command::Cancel(node) => node.execute(),
        Command::Fetch(node) => node.execute(),
        Command::Forget(node) => node.execute(),
        Command::Submit(submit) => submit.execute(),
        Command::Load(node) => node.execute(),
        Command::Unload(node) => node.execute(),
        Command::Switch(node) => node.execute(),
        Command::Reload(node) => node.execute(),
        Command::Model(model) => model.execute(),
        Command::Drain(node) => node.execute(),
        Command::Resume(node) => node.execute(),
        Command::Fit(fit) => fit.execute(),
        Command::Bench(bench) => bench.execute(),
        Command::Quantize(quantize) => quantize.execute(),
        Command::Tune(tune) => tune.execute(),
        Command::Schema(schema) => schema.execute(),
        Command::Generate(generate) => generate.execute(),
        Command::Engine(child) => child.execute(),
    }
}
