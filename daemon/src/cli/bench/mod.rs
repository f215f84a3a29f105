//! `promptd bench`.

mod busy;
mod engine;
mod node_tasks;
mod report;
mod runner;
mod tasks;
mod through_mqtt;

use std::path::PathBuf;

use promptd::engine::protocol::ThreadCount;
use promptd::health::profile;

use super::Failure;
use super::client::Target;

/// Measure a model on this machine.
///
/// With --model the engine is measured by itself; with --tasks besides, an encoder: its texts one by one, of many clients at
/// once, and many in a request. With --mqtt a running node is measured over its broker: what a round
/// trip takes beyond the engine's own time; with --tasks besides, every task that it can do, one by one and batched.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["model", "mqtt"]))]
pub struct Bench {
    /// The GGUF file to measure.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Numbers of answers to generate at once.
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_value = "1,2,4,8,16", value_parser = clap::value_parser!(u32).range(1..=64))]
    streams: Vec<u32>,
    /// Words of each prompt, about as many tokens; the chat template comes on top.
    #[arg(long, value_name = "N", default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    prompt_tokens: u32,
    /// Tokens of each answer.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    tokens: u32,
    /// How often each number is measured; medians are shown.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Answers that each stream generates, one after the other, in a round.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    answers: u32,
    /// Threads that compute, always so many; by default as the daemon does on this machine.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
    threads: Option<u32>,
    /// Measure one answer at a time beside so many programs that always compute: with each number of threads, and with the
    /// number that the engine finds by itself.
    #[arg(long, value_name = "N", requires = "model", conflicts_with_all = ["tasks", "mqtt"], value_parser = clap::value_parser!(u32).range(1..=64))]
    busy: Option<u32>,
    /// Measure tasks: that of an encoder, embed, classify or extract, or with --mqtt all that the node can do.
    #[arg(long)]
    tasks: bool,
    /// Texts of a round with --tasks; of tasks that generate text, a sixteenth.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    texts: u32,
    /// Measure a running node over its broker.
    #[arg(long)]
    mqtt: bool,
    /// One-token requests to send to the node.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    requests: u32,
    #[command(flatten)]
    target: Target,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
}

impl Bench {
    /// Measures and prints.
    pub fn execute(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::software)?;
        let report = runtime.block_on(async {
            let (mut engine, mut tasks, mut busy) = (None, None, None);
            match &self.model {
                Some(model) if self.busy.is_some() => {
                    let programs = self.busy.unwrap_or_default();
                    busy = Some(busy::measure(&self, model, programs).await.map_err(Failure::unavailable)?);
                }
                Some(model) if self.tasks => {
                    tasks = Some(tasks::measure(&self, model).await.map_err(Failure::unavailable)?);
                }
                Some(model) => engine = Some(engine::measure(&self, model).await.map_err(Failure::unavailable)?),
                None => {}
            }
            let (mut mqtt, mut node_tasks) = (None, None);
            if self.mqtt && self.tasks {
                node_tasks = Some(node_tasks::measure(&self).await?);
            } else if self.mqtt {
                mqtt = Some(through_mqtt::measure(&self).await?);
            }
            Ok::<_, Failure>(report::Report { engine, tasks, busy, mqtt, node_tasks })
        })?;
        report.print(self.json).map_err(Failure::software)
    }

    /// As the daemon would have it, if nothing is said.
    fn threads(&self) -> ThreadCount {
        self.threads.map_or_else(|| ThreadCount::UpTo(profile().threads), ThreadCount::Fixed)
    }
}
