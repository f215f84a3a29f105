//! `promptd bench`.

mod busy;
mod chart;
mod contestant;
mod engine;
mod figures;
mod html;
mod machine;
mod node_tasks;
mod prefix;
mod print;
mod runner;
mod server;
mod tasks;
mod through_mqtt;

use std::path::PathBuf;

use anyhow::Context;
use promptd::engine::protocol::ThreadCount;
use promptd::health::profile;

use self::figures::{Report, Run};
use super::Failure;
use super::client::Target;
use super::exit::Code;

/// Measure a model on this machine: tokens per second, time to first token, what MQTT adds.
///
/// With --model the engine is measured by itself; with --tasks besides, an encoder: its texts one by one, of many clients at
/// once, and many in a request. With --mqtt a running node is measured over its broker: what a round
/// trip takes beyond the engine's own time; with --tasks besides, every task that it can do, one by one and batched.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["model", "mqtt"]))]
pub struct Bench {
    /// The GGUF file to measure; several are measured in turn, such as the precisions of a model.
    #[arg(long, value_name = "FILE")]
    model: Vec<PathBuf>,
    /// A server of chat completions, such as llama-server at `http://127.0.0.1:8080`: it gets the same load in turn with the models.
    #[arg(long, value_name = "URL", requires = "model", conflicts_with_all = ["tasks", "busy", "prefix"])]
    compare: Vec<reqwest::Url>,
    /// Numbers of answers to generate at once.
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_value = "1,2,4,8,16", value_parser = clap::value_parser!(u32).range(1..=64))]
    streams: Vec<u32>,
    /// Words of each prompt, about as many tokens; the chat template comes on top.
    #[arg(long, value_name = "N", default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    prompt_tokens: u32,
    /// Words of prompts that are sent one at a time, to measure how long a first token takes.
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_value = "50,500,2000", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    prompts: Vec<u32>,
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
    /// Measure an operator's instructions of so many words before a question: the first time, again, after a restart of the engine,
    /// and for eight clients at once.
    #[arg(long, value_name = "N", requires = "model", conflicts_with_all = ["busy", "tasks", "mqtt"], value_parser = clap::value_parser!(u32).range(8..=100_000))]
    prefix: Option<u32>,
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
    /// Write a page with plots and tables as well, which needs nothing but itself.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// A run that `--json` has printed before, to be shown beside this one in the page.
    #[arg(long, value_name = "FILE.json", requires = "report")]
    with: Vec<PathBuf>,
}

impl Bench {
    /// Measures and prints.
    pub fn execute(self) -> Result<(), Failure> {
        let earlier: Result<Vec<Run>, _> = self.with.iter().map(|path| Run::read(path)).collect();
        let earlier = earlier.map_err(|e| Failure::new(Code::Data, e))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::software)?;
        let run = Run::here(runtime.block_on(self.measure())?);
        run.print(self.json).map_err(Failure::software)?;
        if let Some(path) = &self.report {
            let runs: Vec<Run> = earlier.into_iter().chain([run]).collect();
            let written =
                std::fs::write(path, html::page(&runs)).with_context(|| format!("cannot write {}", path.display()));
            written.map_err(Failure::software)?;
        }
        Ok(())
    }

    async fn measure(&self) -> Result<Report, Failure> {
        let mut report = Report::default();
        if let Some(programs) = self.busy {
            for model in &self.model {
                report.busy.push(busy::measure(self, model, programs).await.map_err(Failure::unavailable)?);
            }
        } else if let Some(words) = self.prefix {
            for model in &self.model {
                report.prefix.push(prefix::measure(self, model, words).await.map_err(Failure::unavailable)?);
            }
        } else if self.tasks {
            for model in &self.model {
                report.tasks.push(tasks::measure(self, model).await.map_err(Failure::unavailable)?);
            }
        } else if !self.model.is_empty() {
            report.measured = engine::measure(self).await.map_err(Failure::unavailable)?;
        }
        if self.mqtt && self.tasks {
            report.node_tasks = Some(node_tasks::measure(self).await?);
        } else if self.mqtt {
            report.mqtt = Some(through_mqtt::measure(self).await?);
        }
        Ok(report)
    }

    /// As the daemon would have it, if nothing is said.
    fn threads(&self) -> ThreadCount {
        self.threads.map_or_else(|| ThreadCount::UpTo(profile().threads), ThreadCount::Fixed)
    }
}
