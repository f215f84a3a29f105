//! `promptd status`, `models`, `load` and the like: what an operator asks of the node on this machine, over its control
//! socket, or of another one, over MQTT.

mod reach;
mod remote;
pub mod show;
pub mod socket;
#[cfg(test)]
mod tests;

use std::io::{Write, stdout};
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use indicatif::{ProgressBar, ProgressStyle};
use promptd::job::{ClientName, ModelName, RequestId, SessionName};
use promptd::plan::Strategy;
use serde_json::Value;

pub use self::reach::Reach;
use self::socket::{Node, Question};
use super::Failure;
use super::exit::Code;

/// Has the daemon at `socket` read the configuration and the models' files again, and gives the models' documents when that
/// is done. None if no daemon listens there.
pub fn reload(socket: &Path) -> Result<Option<Value>, Failure> {
    let Some(mut node) = Node::find(socket)? else { return Ok(None) };
    let bar = Bar::new();
    node.ask(&Question::of("reload"), |step, share| bar.show(step, share))?;
    Node::connect(socket)?.ask(&Question::of("models"), |_, _| {}).map(Some)
}

/// The models' documents for people.
pub fn show_models(documents: &Value) -> String {
    show::models(documents)
}

/// A command that asks a node.
pub trait NodeCommand {
    /// Asks, with a bar on standard error for what takes long, and gives what is to be printed.
    fn answer(&self, reach: &Reach) -> Result<String, Failure>;

    /// Asks and prints.
    fn execute(&self, reach: &Reach) -> Result<(), Failure> {
        stdout().lock().write_all(self.answer(reach)?.as_bytes()).map_err(Failure::software)
    }
}

/// What takes long shows how far it is, on a terminal.
struct Bar(ProgressBar);

impl Bar {
    /// Steps of the bar.
    const LENGTH: u64 = 1000;

    fn new() -> Self {
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} % {msg}");
        Self(ProgressBar::new(Self::LENGTH).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the length")]
    fn show(&self, step: &str, share: Option<f64>) {
        // Steps of unknown length still show that something goes on.
        self.0.enable_steady_tick(Duration::from_millis(200));
        self.0.set_message(show::clean(step));
        if let Some(share) = share {
            self.0.set_position((share.clamp(0.0, 1.0) * Self::LENGTH as f64) as u64);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Show the state of a node, and why it is not better.
#[derive(Debug, clap::Args)]
pub struct Status {}

/// Show what a node is: its version, tasks, models and limits.
#[derive(Debug, clap::Args)]
pub struct Info {}

/// Show how the models run, and which better strategies were rejected and why.
#[derive(Debug, clap::Args)]
pub struct Models {
    /// Only this one.
    name: Option<ModelName>,
    /// Forget which strategies have failed before, so that they are tried again.
    #[arg(long)]
    forget: bool,
}

/// Show the tasks that devices may ask of a node, and the fields that each takes.
#[derive(Debug, clap::Args)]
pub struct Tasks {}

/// Have a node look at itself and its machine, and show what is wrong and what to do about it.
///
/// What a node far away finds by itself; `promptd doctor` looks at this machine and asks the broker as well.
#[derive(Debug, clap::Args)]
pub struct Diagnose {}

/// Show the jobs that wait or run on a node.
#[derive(Debug, clap::Args)]
pub struct Jobs {
    /// Only of this client.
    client: Option<ClientName>,
}

/// Cancel jobs: one, all of a client, or all. Each ends with the error `cancelled`.
#[derive(Debug, clap::Args)]
pub struct Cancel {
    /// Whose.
    #[arg(required_unless_present = "all")]
    client: Option<ClientName>,
    /// The client's id of one job; all of the client's jobs without it.
    job: Option<RequestId>,
    /// Every job of every client.
    #[arg(long, conflicts_with = "client")]
    all: bool,
}

/// Publish answers of a client again that nobody has got.
#[derive(Debug, clap::Args)]
pub struct Fetch {
    /// Whose.
    client: ClientName,
    /// The client's id of one job, whether its answer was received or not.
    job: Option<RequestId>,
}

/// Forget what a node remembers of a client's conversations: all of its sessions, or one.
///
/// Answers that are kept for clients that ask again stay until `journal.keep` is over.
#[derive(Debug, clap::Args)]
pub struct Forget {
    /// Whose.
    client: ClientName,
    /// Only this session.
    session: Option<SessionName>,
}

/// Let a node take no new work; what it has accepted is finished.
#[derive(Debug, clap::Args)]
pub struct Drain {}

/// Let a node that was drained take work again.
#[derive(Debug, clap::Args)]
pub struct Resume {}

/// Load a model that was unloaded, perhaps with one strategy only.
#[derive(Debug, clap::Args)]
pub struct Load {
    /// Which.
    name: ModelName,
    /// Only so, such as `cpu:int8`; by default the best that fits.
    #[arg(long, value_name = "STRATEGY", value_parser = Strategy::parse)]
    strategy: Option<Strategy>,
}

/// Let a model go once its running jobs have ended; it stays away until it is loaded again.
#[derive(Debug, clap::Args)]
pub struct Unload {
    /// Which.
    name: ModelName,
}

/// Run a model with another strategy, or make it the default one.
///
/// What runs now serves until the new one has passed its golden prompt.
#[derive(Debug, clap::Args)]
pub struct Switch {
    /// Which.
    name: ModelName,
    /// Such as `gpu:f16`; without it the model becomes the default one as it is.
    #[arg(long, value_name = "STRATEGY", value_parser = Strategy::parse)]
    strategy: Option<Strategy>,
}

/// Read the configuration again and put it in force, without unloading a model that has not changed.
///
/// What is wrong with it is printed and leaves everything as it is. With the name of a model, the files of that model are
/// read again instead, and what they hold now is loaded.
#[derive(Debug, clap::Args)]
pub struct Reload {
    /// Read only the files of this model.
    name: Option<ModelName>,
}

impl NodeCommand for Status {
    fn answer(&self, reach: &Reach) -> Result<String, Failure> {
        reach.ask_and_show(&Question::of("status"), show::status)
    }
}

impl NodeCommand for Info {
    fn answer(&self, reach: &Reach) -> Result<String, Failure> {
        reach.ask_and_show(&Question::of("info"), show::fields)
    }
}

impl NodeCommand for Models {
    fn answer(&self, reach: &Reach) -> Result<String, Failure> {
        let Self { name, forget } = self;
        if *forget {
            let question = Question { model: name.as_ref(), ..Question::of("forget") };
            return reach.ask_and_show(&question, show::fields);
        }
        let answer = reach.ask(&Question::of("models"))?;
        Ok(reach.shown(&only(answer, name.as_ref())?, show::models))
    }
}

/// The document of one model, or all.
fn only(models: Value, name: Option<&ModelName>) -> Result<Value, Failure> {
    let (Some(name), Value::Array(all)) = (name, &models) else { return Ok(models) };
    if let Some(model) = all.iter().find(|model| model["name"] == name.as_str()) {
        return Ok(Value::Array(vec![model.clone()]));
    }
    let known: Vec<String> = all.iter().filter_map(|model| model["name"].as_str()).map(show::clean).collect();
    Err(Failure::new(Code::Failed, anyhow!("no model {name}; known are: {}", known.join(", "))))
}

impl NodeCommand for Tasks {
    fn answer(&self, reach: &Reach) -> Result<String, Failure> {
        reach.ask_and_show(&Question::of("tasks"), show::tasks)
    }
}

impl NodeCommand for Diagnose {
    fn answer(&self, reach: &Reach) -> Result<String, Failure> {
        reach.ask_and_show(&Question::of("diagnose"), show::findings)
    }
}

impl NodeCommand for Jobs {
    fn answer(&self, reach: &Reach) -> Result<String, Failure> {
        let question = Question { client: self.client.as_ref(), ..Question::of("jobs") };
        reach.ask_and_show(&question, show::jobs)
    }
}

impl NodeCommand for Cancel {
    fn answer(&self, reach: &Reach) -> Result<String, Failure> {
        let Self { client, job, all } = self;
        let (client, job, all) = (client.as_ref(), job.as_ref(), all.then_some(true));
        reach.ask_and_show(&Question { client, job, all, ..Question::of("cancel") }, show::fields)
    }
}

impl NodeCommand for Fetch {
    fn answer(&self, reach: &Reach) -> Result<String, Failure> {
        let question = Question { client: Some(&self.client), job: self.job.as_ref(), ..Question::of("fetch") };
        reach.ask_and_show(&question, show::fields)
    }
}

impl NodeCommand for Forget {
    fn answer(&self, reach: &Reach) -> Result<String, Failure> {
        let session = self.session.as_ref();
        let question = Question { client: Some(&self.client), session, ..Question::of("forget") };
        reach.ask_and_show(&question, show::fields)
    }
}

impl NodeCommand for Drain {
    fn answer(&self, reach: &Reach) -> Result<String, Failure> {
        reach.ask_and_show(&Question::of("drain"), show::status)
    }
}

impl NodeCommand for Resume {
    fn answer(&self, reach: &Reach) -> Result<String, Failure> {
        reach.ask_and_show(&Question::of("resume"), show::status)
    }
}

impl NodeCommand for Load {
    fn answer(&self, reach: &Reach) -> Result<String, Failure> {
        let question = Question { model: Some(&self.name), strategy: self.strategy, ..Question::of("load") };
        reach.ask_and_show(&question, show::models)
    }
}

impl NodeCommand for Unload {
    fn answer(&self, reach: &Reach) -> Result<String, Failure> {
        let question = Question { model: Some(&self.name), ..Question::of("unload") };
        reach.ask_and_show(&question, show::models)
    }
}

impl NodeCommand for Switch {
    fn answer(&self, reach: &Reach) -> Result<String, Failure> {
        let question = Question { model: Some(&self.name), strategy: self.strategy, ..Question::of("switch") };
        reach.ask_and_show(&question, show::models)
    }
}

impl NodeCommand for Reload {
    fn answer(&self, reach: &Reach) -> Result<String, Failure> {
        let question = Question { model: self.name.as_ref(), ..Question::of("reload") };
        reach.ask_and_show(&question, show::reload)
    }
}
