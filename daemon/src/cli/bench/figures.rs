//! The figures.

use std::path::Path;

use anyhow::Context;
use promptd::health::Machine;
use serde::{Deserialize, Serialize};

/// A run: what was measured, when and where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// When it ended, RFC 3339, UTC.
    pub at: String,
    /// promptd's version.
    pub version: String,
    /// The machine.
    pub machine: Host,
    /// What was measured.
    #[serde(flatten)]
    pub report: Report,
}

/// A machine, as far as figures depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The board's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
    /// The processor's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Cores that this process may use.
    pub cores: usize,
    /// Bytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

impl Run {
    /// Of this machine, now.
    pub fn here(report: Report) -> Self {
        let Machine { board, cpu, cores, memory_bytes, .. } = Machine::this();
        let machine = Host { board, cpu, cores, memory_bytes };
        Self {
            at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            machine,
            report,
        }
    }

    /// Reads one that `promptd bench --json` has printed.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no run of `promptd bench --json`", path.display()))
    }
}

/// Everything that was measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Engines by themselves, and servers beside them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<Measured>,
    /// The tasks of encoders.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TasksReport>,
    /// Engines beside busy programs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub busy: Vec<BusyReport>,
    /// Instructions of an operator's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefix: Vec<PrefixReport>,
    /// A node over MQTT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt: Option<MqttReport>,
    /// The tasks of a node over MQTT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_tasks: Option<NodeTasksReport>,
}

/// An engine by itself, or a server.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Measured {
    /// The file, or where the server is.
    pub name: String,
    /// What llama.cpp calls the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Threads that computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// CPU features of the back end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_features: Option<String>,
    /// Seconds from the start of the process to the passed golden prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_seconds: Option<f64>,
    /// Largest resident memory of the engine process, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// The hottest zone while it computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hottest_celsius: Option<f64>,
    /// What the whole board used for each token of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joules_per_token: Option<f64>,
    /// One for each number of streams.
    pub streams: Vec<StreamsReport>,
    /// One for each length of prompts.
    pub prompts: Vec<PromptReport>,
}

impl Measured {
    /// Nothing but a name.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

/// Prompts of one length, one at a time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PromptReport {
    /// Words of each prompt.
    pub words: u32,
    /// Tokens of each, template included.
    pub prompt_tokens: u32,
    /// From the request to the first token; nothing of the prompt was known before.
    pub time_to_first_token_ms: Percentiles,
}

/// Medians over the rounds at one number of streams.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StreamsReport {
    /// Answers at once.
    pub streams: u32,
    /// Tokens of each prompt, template included.
    pub prompt_tokens: u32,
    /// Tokens a second of one answer, after its first token.
    pub decode_tokens_per_second: f64,
    /// Tokens a second of all answers together, prompts included in the time.
    pub total_tokens_per_second: f64,
    /// From the request to the first token.
    pub time_to_first_token_ms: Percentiles,
    /// From the request to the last token.
    pub latency_ms: Percentiles,
}

/// The engine beside busy programs, one answer at a time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BusyReport {
    /// The file.
    pub file: String,
    /// How many programs were busy.
    pub busy: u32,
    /// One for each number of threads, and the number that the engine finds.
    pub results: Vec<ThreadsReport>,
}

/// Medians over the rounds with one number of threads, prompts included.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ThreadsReport {
    /// How many.
    pub threads: String,
    /// While nothing else computed.
    pub alone_tokens_per_second: f64,
    /// Beside the busy programs.
    pub beside_tokens_per_second: f64,
}

/// Medians over the rounds of prompts that begin with an operator's instructions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PrefixReport {
    /// The file.
    pub file: String,
    /// Tokens of a prompt, instructions included.
    pub prompt_tokens: u32,
    /// From the request to the first token, when nobody has asked with these instructions.
    pub cold_ms: f64,
    /// The same, when somebody has.
    pub warm_ms: f64,
    /// The same for the first one after a restart of the engine.
    pub restarted_ms: f64,
    /// How many ask at once.
    pub clients: u32,
    /// Until all of them have their answers of 16 tokens, when nobody has asked before.
    pub clients_cold_seconds: f64,
    /// The same, when somebody has.
    pub clients_warm_seconds: f64,
}

/// The task of an encoder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TasksReport {
    /// What llama.cpp calls the model.
    pub model: String,
    /// The file.
    pub file: String,
    /// Threads that computed.
    pub threads: u32,
    /// CPU features of the back end.
    pub cpu_features: String,
    /// The task that was measured.
    pub task: String,
    /// Texts of a round.
    pub texts: u32,
    /// One for each length of texts.
    pub results: Vec<TextsReport>,
}

/// Medians over the rounds with texts of one length, in texts a second.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TextsReport {
    /// Words of a text.
    pub words: u32,
    /// Tokens of a text.
    pub tokens: u32,
    /// Each alone, when the one before it was answered.
    pub one_by_one_per_second: f64,
    /// Each a request, as many at once as the engine takes.
    pub together_per_second: f64,
    /// Many in a request.
    pub inputs_per_second: f64,
    /// By how much many in a request are faster than one by one.
    pub speed_up: f64,
}

/// What MQTT adds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MqttReport {
    /// Requests that were measured.
    pub requests: usize,
    /// From the request's publication to its answer.
    pub round_trip_ms: Percentiles,
    /// The node's own account of the same requests.
    pub node_total_ms: Percentiles,
    /// The difference, request by request.
    pub added_ms: Percentiles,
}

/// The tasks of a node over MQTT.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NodeTasksReport {
    /// Those that were measured.
    pub tasks: Vec<TaskReport>,
    /// Those that the node refused, and why.
    pub refused: Vec<(String, String)>,
}

/// One task of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskReport {
    /// Which.
    pub task: String,
    /// Texts of a round.
    pub texts: usize,
    /// From a request's publication to its answer, one by one.
    pub latency_ms: Percentiles,
    /// Texts a second, each alone, when the one before it was answered.
    pub one_by_one_per_second: f64,
    /// Texts a second, each a request, 32 at once.
    pub together_per_second: f64,
    /// Texts a second, 64 in a request; none if the task takes one only.
    pub inputs_per_second: Option<f64>,
    /// By how much the faster of the two is faster than one by one.
    pub speed_up: f64,
}

/// Of a set of samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// The 95th.
    pub p95: f64,
    /// The 99th.
    #[serde(default)]
    pub p99: f64,
}

impl Percentiles {
    /// By nearest rank; of no samples, zero.
    pub fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (samples.len() * percent).div_ceil(100).max(1) - 1;
            samples.get(rank).copied().unwrap_or(0.0)
        };
        Self { p50: at(50), p95: at(95), p99: at(99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(Percentiles::of(samples), Percentiles { p50: 50.0, p95: 95.0, p99: 99.0 });
        assert_eq!(Percentiles::of(vec![3.0]), Percentiles { p50: 3.0, p95: 3.0, p99: 3.0 });
        assert_eq!(Percentiles::of(Vec::new()), Percentiles::default());
    }
}
