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
mod top;
mod tune;

use std::path::PathBuf;

use anyhow::anyhow;
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
    /// overrides `service.log_level`. The variable `PROMPTD_SENSORS_ROOT` names a folder that stands for / wherever sensors are
    /// read (memory, heat, power, the clock): a recorded or made-up machine, for tests. With a broken configuration it starts with the last good one; exit code 78 means that there
    /// is none, and that the configuration must be mended first.
    Run(run::Run),
    /// Check the configuration, the model files and the files for TLS, and print every problem at once.
    Check(check::Check),
    /// Find out what is wrong with this node and what to do about it.
    Doctor(doctor::Doctor),
    /// Ask a running daemon one question over MQTT and print the answer as it is made.
    Ask(ask::Ask),
    Chat(chat::Chat),
    /// Have a running daemon do the steps of a pipeline over MQTT, as a file of pipelines.d/ says them.
    RunPipeline(run_pipeline::RunPipeline),
    /// Watch a fleet, or one node of it, live: states, models, tokens per second, queues, memory, heat.
    Top(top::Top),
    /// Give a running daemon a job over MQTT and go on; its answer waits in the node's journal.
    Submit(submit::Submit),
    /// Show the state of the node on this machine, and why it is not better.
    Status(Node<node::Status>),
    /// Show what the node on this machine is: its version, tasks, models and limits.
    Info(Node<node::Info>),
    /// Show how the models run, and which better strategies were rejected and why.
    Models(Node<node::Models>),
    /// Show the jobs that wait or run.
    Jobs(Node<node::Jobs>),
    Tasks(Node<node::Tasks>),
    /// Cancel jobs: one, all of a client, or all.
    Cancel(Node<node::Cancel>),
    /// Publish answers of a client again that nobody has got.
    Fetch(Node<node::Fetch>),
    /// Forget what the node remembers of a client's conversations.
    Forget(Node<node::Forget>),
    /// Load a model that was unloaded, perhaps with one strategy only.
    Load(Node<node::Load>),
    /// Let a model go once its running jobs have ended.
    Unload(Node<node::Unload>),
    /// Run a model with another strategy, or make it the default; the old one serves until the new one can.
    Switch(Node<node::Switch>),
    /// Read the configuration again and put it in force; with a name, read the files of one model again.
    Reload(Node<node::Reload>),
    /// Bring a model to this machine, or take one away.
    Model(model::Model),
    /// Take no new work; what was accepted is finished.
    Drain(Node<node::Drain>),
    /// Take work again.
    Resume(Node<node::Resume>),
    /// Show what a model is, how it would run here, and what each way needs of this machine's memory.
    Fit(fit::Fit),
    /// Measure a model on this machine: tokens per second, time to first token, what MQTT adds.
    Bench(bench::Bench),
    /// Make a model of fewer bits from one of more, to run it with less memory.
    Quantize(quantize::Quantize),
    Tune(tune::Tune),
    /// Print the contract of the interface: JSON Schemas of every message, and an AsyncAPI document of the topics.
    Schema(schema::Schema),
    /// Write man pages, shell completions and the configuration of a fresh installation into a folder.
    #[command(hide = true)]
    Generate(generate::Generate),
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

/// A command for the node on this machine.
#[derive(Debug, clap::Args)]
struct Node<C: clap::Args> {
    #[command(flatten)]
    command: C,
    #[command(flatten)]
    file: ConfigFile,
}

impl<C: clap::Args + NodeCommand> Node<C> {
    /// The configuration tells where its socket is. One that is broken is the daemon's trouble, not the operator's: if it
    /// can't be read at all, the socket is looked for where it is by default.
    fn execute(&self) -> Result<(), Failure> {
        match self.file.examine() {
            Ok((loaded, _)) => self.command.execute(&loaded.config.service.control_socket),
            Err(broken) => {
                let asked = self.command.execute(&Config::defaults(&health::profile()).service.control_socket);
                asked.map_err(|failure| match failure.code {
                    exit::Code::Unavailable => Failure::configuration(anyhow!("{}\n{}", broken.text(), failure.text())),
                    _ => failure,
                })
            }
        }
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
