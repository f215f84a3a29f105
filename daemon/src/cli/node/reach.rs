//! Which node a command asks: the one on this machine, over its control socket, or any other, over MQTT.

use std::path::PathBuf;

use anyhow::anyhow;
use promptd::config::Config;
use promptd::health;
use promptd::job::NodeName;
use serde_json::Value;

use super::socket::{Node, Question};
use super::{Bar, remote};
use crate::cli::Failure;
use crate::cli::client::Broker;
use crate::cli::exit::Code;

// No doc comment: it would be the help of every command that has none of its own.
#[derive(Debug, clap::Args)]
pub struct Reach {
    /// Ask this node over MQTT; the configuration's if only a broker is named. Without a node and a broker the daemon on this
    /// machine is asked.
    #[arg(long, value_name = "NAME")]
    node: Option<NodeName>,
    #[command(flatten)]
    broker: Broker,
    /// The control socket of the daemon on this machine; the configuration's by default.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["url", "node"])]
    socket: Option<PathBuf>,
    /// Print the answer as JSON.
    #[arg(long, help_heading = None::<&'static str>)]
    json: bool,
}

impl Reach {
    pub(super) fn ask(&self, question: &Question<'_>) -> Result<Value, Failure> {
        let bar = Bar::new();
        let progress = |step: &str, share| bar.show(step, share);
        if self.node.is_some() || self.broker.is_named() {
            return remote::ask(&self.broker, self.node.as_ref(), question, progress);
        }
        let (path, broken) = self.socket();
        Node::connect(&path).and_then(|mut node| node.ask(question, progress)).map_err(|failure| match broken {
            Some(broken) if failure.code == Code::Unavailable => {
                Failure::configuration(anyhow!("{}\n{}", broken.text(), failure.text()))
            }
            _ => failure,
        })
    }

    /// The configuration tells where the socket is. One that is broken is the daemon's trouble, not the operator's: if it can't
    /// be read at all, the socket is looked for where it is by default.
    fn socket(&self) -> (PathBuf, Option<Failure>) {
        if let Some(path) = &self.socket {
            return (path.clone(), None);
        }
        match self.broker.file().examine() {
            Ok((loaded, _)) => (loaded.config.service.control_socket, None),
            Err(broken) => (Config::defaults(&health::profile()).service.control_socket, Some(broken)),
        }
    }

    pub(super) fn shown(&self, answer: &Value, show: fn(&Value) -> String) -> String {
        if self.json { format!("{answer:#}\n") } else { show(answer) }
    }

    pub(super) fn ask_and_show(&self, question: &Question<'_>, show: fn(&Value) -> String) -> Result<String, Failure> {
        Ok(self.shown(&self.ask(question)?, show))
    }
}
