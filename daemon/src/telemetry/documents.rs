//! The retained documents. Each stays under 4 KiB: brokers and small clients keep them all in memory.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::Serialize;

use super::{NodeState, timestamp};
use crate::job::{ModelName, NodeName};
use crate::plan::{Bytes, KvType, Tuning};

/// Longest retained document in bytes.
pub const DOCUMENT_MAX: usize = 4096;

/// Longest reason in bytes: a handful of them fit into a document.
pub(super) const REASON_MAX: usize = 400;

/// Most reasons in a document.
const REASONS_MAX: usize = 6;

/// Writes the documents of one run of the daemon.
#[derive(Debug, Clone)]
pub struct Documents {
    pub(super) node: NodeName,
    /// The kernel's id of this boot.
    boot: String,
    /// When this run of the daemon started, milliseconds since 1970: a reader tells an old document by it.
    epoch: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Status")]
pub(super) struct StatusDocument<'a> {
    state: NodeState,
    /// Why it is not better.
    reasons: Vec<&'a str>,
    /// Since when the node is in this state, RFC 3339 in UTC.
    since: String,
    /// The kernel's id of this boot.
    boot: &'a str,
    /// When this run of the daemon started, milliseconds since 1970: a reader tells an old document by it.
    epoch: u64,
    /// The longest silence of `telemetry` while the broker can be reached.
    heartbeat_s: u64,
    /// Whether the clock can be believed, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_synced: Option<bool>,
    /// Whether accepted jobs outlive the daemon.
    #[schemars(extend("enum" = ["full", "memory"]))]
    durability: &'a str,
}

/// What `status` tells.
#[derive(Debug, Clone, Copy)]
pub struct Status<'a> {
    /// The node's state.
    pub state: NodeState,
    /// Why it is not better.
    pub reasons: &'a [String],
    /// Since when the node is in this state.
    pub since: SystemTime,
    /// The longest silence of the `telemetry` topic while the broker can be reached.
    pub heartbeat: Duration,
    /// Whether the clock can be believed, if that is known.
    pub clock_synced: Option<bool>,
    /// Whether accepted jobs outlive the daemon: `full`, or `memory`.
    pub durability: &'static str,
}

/// Where a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelStage {
    /// Its file is hashed and read, or its engine starts again.
    Loading,
    /// It serves.
    Ready,
    /// It was let go: an operator wanted it, or nobody asked for it for long.
    Unloaded,
    /// It cannot serve; its reason says why.
    Unavailable,
}

impl ModelStage {
    /// The word in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Unloaded => "unloaded",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A better strategy than the one in use.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RejectedStrategy {
    /// Such as `cpu:int8`.
    pub strategy: String,
    /// Bytes that it needs at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub need: Option<Bytes>,
    /// Bytes that there were for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headroom: Option<Bytes>,
    /// What is against it.
    pub reason: String,
}

/// Memory of a model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct ModelMemory {
    /// Bytes that it was expected to take, without the margin.
    pub estimate: Bytes,
    /// Bytes that it took after its largest step, from the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real: Option<Bytes>,
    /// By which share of the real number the estimate is too large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
}

/// `model/<name>`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ModelDocument {
    /// The model's name.
    pub name: ModelName,
    /// Where it is.
    pub state: ModelStage,
    /// Share of the load that is done, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<f32>,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Precision and placement, such as `cpu:int4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Whether it is smaller than configured, for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub squeezed: Option<bool>,
    /// The better strategies, best first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<RejectedStrategy>,
    /// Files that can't be used, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unusable: Vec<String>,
    /// Name of the file.
    pub file: String,
    /// Its hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Its real precision, such as `Q4_1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    /// What llama.cpp calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Tokens of context for each sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<u32>,
    /// Jobs that run at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequences: Option<u32>,
    /// Element type of the KV cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_type: Option<KvType>,
    /// Threads that compute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Other settings that were measured to be best for it on this machine, if they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tuning: Option<Tuning>,
    /// Whether prompts go through the model's own chat template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<bool>,
    /// Devices that compute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<String>>,
    /// CPU features that the back end uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_features: Option<String>,
    /// Seconds from the start of the load to the passed golden prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_seconds: Option<f32>,
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ModelMemory>,
}

/// Longest text about a rejected strategy: nine of them fit into a document.
const REJECTED_MAX: usize = 160;

/// Longest text about a file that can't be used: as many as may be configured fit beside the rejected strategies.
const UNUSABLE_MAX: usize = 120;

impl Documents {
    /// Documents of the run that starts now.
    pub fn new(node: NodeName) -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let epoch = u64::try_from(epoch.as_millis()).unwrap_or(u64::MAX);
        Self { node, boot: boot.trim().to_owned(), epoch }
    }

    /// `status`.
    pub fn status(&self, status: Status<'_>) -> Vec<u8> {
        json(&StatusDocument {
            state: status.state,
            reasons: status.reasons.iter().take(REASONS_MAX).map(|reason| short(reason, REASON_MAX)).collect(),
            since: timestamp(status.since),
            boot: &self.boot,
            epoch: self.epoch,
            heartbeat_s: status.heartbeat.as_secs(),
            clock_synced: status.clock_synced,
            durability: status.durability,
        })
    }

    /// `model/<name>`.
    pub fn model(&self, model: &ModelDocument) -> Vec<u8> {
        let mut model = model.clone();
        model.reason = model.reason.map(|reason| short(&reason, REASON_MAX).to_owned());
        for rejected in &mut model.rejected {
            rejected.reason = short(&rejected.reason, REJECTED_MAX).to_owned();
        }
        for reason in &mut model.unusable {
            short(reason, UNUSABLE_MAX).to_owned().clone_into(reason);
        }
        json(&model)
    }
}

pub(super) fn short(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// JSON of a document.
pub fn json(document: &impl Serialize) -> Vec<u8> {
    // Only maps with keys that are no strings can fail, and there are none.
    serde_json::to_vec(document).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(reasons: &[String]) -> Status<'_> {
        let heartbeat = Duration::from_mins(1);
        let (since, clock_synced) = (SystemTime::now(), Some(true));
        Status { state: NodeState::Ready, reasons, since, heartbeat, clock_synced, durability: "full" }
    }

    fn documents() -> Documents {
        Documents::new(NodeName::new("gw1").unwrap())
    }

    #[test]
    fn status_has_its_fields_and_a_time_in_utc() {
        let since = UNIX_EPOCH + Duration::from_secs(1_750_000_000);
        let bytes = documents().status(Status { since, ..status(&["a".into()]) });
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["state"], "ready");
        assert_eq!(value["reasons"], serde_json::json!(["a"]));
        assert_eq!(value["since"], "2025-06-15T15:06:40Z");
        assert_eq!((&value["heartbeat_s"], &value["clock_synced"]), (&serde_json::json!(60), &serde_json::json!(true)));
        assert!(value["epoch"].as_u64().unwrap() > 1_700_000_000_000);
    }

    #[test]
    fn the_longest_status_stays_below_the_limit() {
        let reasons = vec!["ü".repeat(4000); 100];
        assert!(documents().status(status(&reasons)).len() < DOCUMENT_MAX);
    }
}
