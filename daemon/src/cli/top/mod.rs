//! `promptd top`: a fleet, or one node of it, live.
//!
//! ```text
//! broker ──▶ feed ──▶ fleet ──▶ draw ──▶ grid ──▶ terminal
//!                       │         ▲
//!                       ▼         └── view ◀── keys
//!                     once ──▶ standard output
//! ```
//! What is known (`fleet`, `node`) and what of it is looked at (`view`) are pure, and so is the drawing; `feed` and `screen` talk
//! to the broker and to the terminal.

mod columns;
mod condition;
mod draw;
#[cfg(test)]
mod example;
mod feed;
mod fleet;
#[cfg(test)]
mod fleet_tests;
mod grid;
mod health;
mod node;
mod numbers;
mod once;
mod screen;
mod text;
mod view;
#[cfg(test)]
mod view_tests;

use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use promptd::job::NodeName;
use promptd::mqtt::{FleetTopics, LinkConfig};

use self::feed::{Feed, Scope};
use self::view::View;
use super::Failure;
use super::client::Broker;
use super::exit::Code;

/// Largest packet that the broker may send, in bytes: the longest document, with room for its topic. What is larger is
/// nothing of promptd's, and the broker drops it.
const PACKET_MAX: u32 = 32 * 1024;

/// Watch a fleet, or one node of it, live: states, models, tokens per second, queues, memory, heat.
///
/// Shows what nodes tell on their topics `availability`, `status`, `model/<name>` and `telemetry`, the worst first; and of the
/// node that is opened with Enter, what its sensors say (`health`). It only reads; the role `monitor` of the packaged rights is
/// enough. A node that does not send its numbers as often as it has promised is `silent`. Press ? for the keys.
#[derive(Debug, clap::Args)]
pub struct Top {
    #[command(flatten)]
    broker: Broker,
    /// Only this node; all nodes below `mqtt.root` by default.
    #[arg(long, value_name = "NAME")]
    node: Option<NodeName>,
    /// Print a table once and end, as where standard output is no terminal.
    ///
    /// Nodes send their token rates and queues from time to time only: see --wait.
    #[arg(long)]
    once: bool,
    /// Print once as JSON; what is not known is null.
    #[arg(long)]
    json: bool,
    /// When printing once: wait so long for the nodes' token rates and queues; not longer than until all have come.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=3600))]
    wait: u64,
}

impl Top {
    /// Watches.
    pub fn execute(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::software)?;
        runtime.block_on(self.watch())
    }

    async fn watch(self) -> Result<(), Failure> {
        let config = self.broker.load()?;
        let topics = FleetTopics::new(&config.mqtt.root).map_err(Failure::configuration)?;
        let link = self.broker.link_config(&config.mqtt).map_err(Failure::unavailable)?;
        let address = format!("the broker {}:{}", link.host, link.port);
        let once = self.once || self.json || !stdout().is_terminal();
        let scope = Scope { topics, node: self.node.clone(), health: once };
        let feed = Feed::start(LinkConfig { packet_max: PACKET_MAX, ..link }, scope).await;
        let feed = feed.with_context(|| address.clone()).map_err(Failure::unavailable)?;
        if once {
            self.print(feed, &address).await
        } else {
            screen::run(feed, self.node).await.context("the terminal").map_err(Failure::software)
        }
    }

    async fn print(&self, mut feed: Feed, address: &str) -> Result<(), Failure> {
        let fleet = once::gather(&mut feed, Duration::from_secs(self.wait)).await;
        let fleet = fleet.with_context(|| address.to_owned()).map_err(Failure::unavailable)?;
        let rows = View::new(None).arrange(fleet.rows(Instant::now()));
        if let (Some(node), true) = (&self.node, rows.is_empty()) {
            let unknown = anyhow!("{node} has told nothing at {address}; may this user read its topics?");
            return Err(Failure::new(Code::Failed, unknown));
        }
        let text = if self.json { format!("{:#}\n", once::json(&rows)) } else { once::text(&rows) };
        stdout().lock().write_all(text.as_bytes()).map_err(Failure::software)?;
        if rows.is_empty() {
            let none =
                writeln!(stderr(), "promptd: no node has told anything at {address}; may this user read its topics?");
            return none.map_err(Failure::software);
        }
        if fleet.has_more() {
            let more = writeln!(stderr(), "promptd: only the first {} nodes are shown", fleet::NODES_MAX);
            return more.map_err(Failure::software);
        }
        Ok(())
    }
}
