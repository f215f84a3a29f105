//! What one node has told, as far as it has.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use promptd::job::ModelName;
use serde_json::Value;

use super::condition::Condition;
use super::health::Health;
use super::numbers::Numbers;
use super::text::word;
use promptd::telemetry::NodeState;

/// Most models of a node that are kept; a node has a few.
const MODELS_MAX: usize = 32;

/// Most reasons of a node, and most rejected strategies of a model, that are kept: a document has no room for more.
const LISTED_MAX: usize = 16;

/// How many of the last token rates are kept, for their curve.
const HISTORY_MAX: usize = 240;

/// How much later than promised a node's numbers may come: the way from it takes its time.
const ALLOWANCE: Duration = Duration::from_secs(5);

/// What is known of a node. Whatever it has not told is none or empty.
#[derive(Debug, Default)]
pub struct Node {
    /// Whether it is there, as its availability says.
    pub online: Option<bool>,
    /// Its state.
    pub status: Option<Status>,
    /// Its models by name.
    pub models: BTreeMap<ModelName, Kept<Model>>,
    /// Its last numbers, and when they came.
    pub numbers: Option<(Numbers, Instant)>,
    /// What its machine's sensors say, if that was asked for.
    pub health: Option<Health>,
    /// Token rates that it has told, oldest first.
    pub history: VecDeque<f64>,
}

/// Something, and in which round of the connection it was told last.
#[derive(Debug)]
pub struct Kept<T> {
    pub value: T,
    pub round: u64,
}

/// A node's `status`.
#[derive(Debug, Default, PartialEq)]
pub struct Status {
    /// The word for its state.
    pub state: Option<String>,
    /// Why it is not better.
    pub reasons: Vec<String>,
    /// Since when.
    pub since: Option<String>,
    /// Its numbers come at least this often.
    pub heartbeat: Option<Duration>,
}

/// A node's `model/<name>`.
#[derive(Debug, Default, PartialEq)]
pub struct Model {
    /// Where it is, such as `ready`.
    pub state: Option<String>,
    /// How it runs, such as `cpu:int8`.
    pub strategy: Option<String>,
    /// Why it is not ready.
    pub reason: Option<String>,
    /// The better strategies.
    pub rejected: Vec<Rejected>,
}

/// A better strategy than the one in use.
#[derive(Debug, Default, PartialEq)]
pub struct Rejected {
    /// Such as `gpu:f16`.
    pub strategy: Option<String>,
    /// Bytes that it needs.
    pub need: Option<u64>,
    /// Bytes that there were for it.
    pub headroom: Option<u64>,
    /// What is against it.
    pub reason: Option<String>,
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten().take(LISTED_MAX)
}

impl Status {
    fn of(document: &Value) -> Self {
        Self {
            state: word(&document["state"]),
            reasons: items(&document["reasons"]).filter_map(word).collect(),
            since: word(&document["since"]),
            heartbeat: document["heartbeat_s"].as_u64().map(Duration::from_secs),
        }
    }
}

impl Model {
    fn of(document: &Value) -> Self {
        let rejected = items(&document["rejected"]).map(|rejected| Rejected {
            strategy: word(&rejected["strategy"]),
            need: rejected["need"].as_u64(),
            headroom: rejected["headroom"].as_u64(),
            reason: word(&rejected["reason"]),
        });
        Self {
            state: word(&document["state"]),
            strategy: word(&document["strategy"]),
            reason: word(&document["reason"]),
            rejected: rejected.collect(),
        }
    }
}

impl Node {
    /// Takes its availability.
    pub fn take_availability(&mut self, payload: &[u8]) {
        self.online = match payload {
            b"online" => Some(true),
            b"offline" => Some(false),
            _ => None,
        };
    }

    /// Takes its `status`, none if that was removed.
    pub fn take_status(&mut self, document: Option<&Value>) {
        self.status = document.map(Status::of);
    }

    /// Takes the document of a model, none if that was removed.
    pub fn take_model(&mut self, name: ModelName, document: Option<&Value>, round: u64) {
        match document {
            None => _ = self.models.remove(&name),
            Some(document) if self.models.len() < MODELS_MAX || self.models.contains_key(&name) => {
                self.models.insert(name, Kept { value: Model::of(document), round });
            }
            Some(_) => {}
        }
    }

    /// Takes its `telemetry`.
    pub fn take_telemetry(&mut self, message: &Value, now: Instant) {
        let numbers = Numbers::of_telemetry(message);
        if let Some(rate) = numbers.tokens_per_s {
            if self.history.len() == HISTORY_MAX {
                self.history.pop_front();
            }
            self.history.push_back(rate);
        }
        self.numbers = Some((numbers, now));
    }

    /// Takes its `health`, none if that was removed.
    pub fn take_health(&mut self, document: Option<&Value>) {
        self.health = document.map(Health::of);
    }

    /// Whether nothing is known of it any more.
    pub fn is_empty(&self) -> bool {
        self.online.is_none() && self.status.is_none() && self.models.is_empty() && self.numbers.is_none()
    }

    /// How it is at a moment. It can only be silent if it could be heard, which is so since `hearing`.
    pub fn condition(&self, now: Instant, hearing: Option<Instant>) -> Condition {
        let told = self.status.as_ref().and_then(|status| status.state.as_deref());
        let stopped = told == Some(NodeState::Stopped.as_str());
        match (self.online, told) {
            (Some(false), _) if stopped => Condition::Told(NodeState::Stopped),
            (Some(false), _) | (_, Some("offline")) => Condition::Offline,
            (Some(true), _) if self.is_silent(now, hearing) && !stopped => Condition::Silent,
            (_, None) => Condition::Unknown,
            (_, Some(word)) => {
                NodeState::parse(word).map_or_else(|| Condition::Other(word.to_owned()), Condition::Told)
            }
        }
    }

    fn is_silent(&self, now: Instant, hearing: Option<Instant>) -> bool {
        let heartbeat = self.status.as_ref().and_then(|status| status.heartbeat);
        let (Some(heartbeat), Some(hearing)) = (heartbeat, hearing) else { return false };
        let last = self.numbers.as_ref().map_or(hearing, |(_, at)| hearing.max(*at));
        now.saturating_duration_since(last) > heartbeat.saturating_add(ALLOWANCE)
    }

    /// Its numbers, if they still stand for it; from its sensors as long as it has not told others.
    pub fn live_numbers(&self, condition: &Condition) -> Numbers {
        let told = self.numbers.as_ref().map(|(numbers, _)| *numbers);
        let sensed = self.health.as_ref().map(|health| health.numbers);
        let live = condition.is_live().then_some(told.or(sensed)).flatten();
        live.unwrap_or_default()
    }
}
