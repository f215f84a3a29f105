//! The retained documents. Each stays under 4 KiB: brokers and small clients keep them all in memory.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde::Serialize;

use super::{NodeState, timestamp};
use crate::job::{ModelName, NodeName};
use crate::plan::{Bytes, KvType};

/// Longest retained document in bytes.
pub const DOCUMENT_MAX: usize = 4096;

/// Longest reason in bytes: a handful of them fit into a document.
const REASON_MAX: usize = 400;

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

#[derive(Serialize)]
struct Status<'a> {
    state: NodeState,
    reasons: Vec<&'a str>,
    since: String,
    boot: &'a str,
    epoch: u64,
}

#[derive(Serialize)]
struct Event<'a, What> {
    node: &'a str,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a ModelName>,
    #[serde(flatten)]
    what: &'a What,
}

/// Where a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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

/// A better strategy than the one in use.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
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
#[derive(Debug, Clone, Serialize)]
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

/// Something that happened to a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelEvent {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<u64>,
}

/// Something that happened to the node as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NodeEvent {
    /// What: `reloaded`, `misconfigured`, `thermal`.
    pub event: &'static str,
    /// The level before, of what has levels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<&'static str>,
    /// The level after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<&'static str>,
    /// Why, or what is new.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl ModelEvent {
    /// What happened, such as `loaded`, `stepped_down`, `stepped_up`, `switched`, `unloaded`, `failed`, `derived`.
    pub fn of(event: &'static str) -> Self {
        Self { event, from: None, to: None, reason: None, took_ms: None }
    }

    /// The strategy before.
    #[must_use]
    pub fn from(self, strategy: impl Into<String>) -> Self {
        Self { from: Some(strategy.into()), ..self }
    }

    /// The strategy after.
    #[must_use]
    pub fn to(self, strategy: impl Into<String>) -> Self {
        Self { to: Some(strategy.into()), ..self }
    }

    /// Why.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// The time from the decision until it was carried out.
    #[must_use]
    pub fn took(self, time: Duration) -> Self {
        Self { took_ms: u64::try_from(time.as_millis()).ok(), ..self }
    }
}

impl Documents {
    /// Documents of the run that starts now.
    pub fn new(node: NodeName) -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let epoch = u64::try_from(epoch.as_millis()).unwrap_or(u64::MAX);
        Self { node, boot: boot.trim().to_owned(), epoch }
    }

    /// `status`.
    pub fn status(&self, state: NodeState, reasons: &[String], since: SystemTime) -> Vec<u8> {
        json(&Status {
            state,
            reasons: reasons.iter().take(REASONS_MAX).map(|reason| short(reason, REASON_MAX)).collect(),
            since: timestamp(since),
            boot: &self.boot,
            epoch: self.epoch,
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

    /// `event`, about a model.
    pub fn event(&self, model: &ModelName, event: &ModelEvent) -> Vec<u8> {
        self.written(Some(model), event)
    }

    /// `event`, about the node.
    pub fn node_event(&self, event: &NodeEvent) -> Vec<u8> {
        let reason = short(&event.reason, REASON_MAX).to_owned();
        self.written(None, &NodeEvent { reason, ..*event })
    }

    fn written(&self, model: Option<&ModelName>, what: &impl Serialize) -> Vec<u8> {
        json(&Event { node: self.node.as_str(), at: format!("{:.3}", Timestamp::now()), model, what })
    }
}

fn short(text: &str, max: usize) -> &str {
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

    fn documents() -> Documents {
        Documents::new(NodeName::new("gw1").unwrap())
    }

    #[test]
    fn status_has_its_fields_and_a_time_in_utc() {
        let since = UNIX_EPOCH + Duration::from_secs(1_750_000_000);
        let bytes = documents().status(NodeState::Ready, &["a".into()], since);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["state"], "ready");
        assert_eq!(value["reasons"], serde_json::json!(["a"]));
        assert_eq!(value["since"], "2025-06-15T15:06:40Z");
        assert!(value["epoch"].as_u64().unwrap() > 1_700_000_000_000);
    }

    #[test]
    fn the_longest_status_stays_below_the_limit() {
        let reasons = vec!["ü".repeat(4000); 100];
        assert!(documents().status(NodeState::Degraded, &reasons, SystemTime::now()).len() < DOCUMENT_MAX);
    }
}
