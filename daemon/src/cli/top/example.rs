//! A small fleet for tests.

use std::time::Instant;

use promptd::job::{ModelName, NodeName};
use promptd::mqtt::NodeTopic;
use serde_json::{Value, json};

use super::fleet::{Fleet, Message};

/// Tells the fleet something.
pub fn tell(fleet: &mut Fleet, node: &str, topic: NodeTopic, payload: &str, now: Instant) {
    fleet.take(Message { node: NodeName::new(node).unwrap(), topic, payload: payload.as_bytes() }, now);
}

/// The topic of a model.
pub fn model(name: &str) -> NodeTopic {
    NodeTopic::Model(ModelName::new(name).unwrap())
}

/// A node that is there and tells everything.
pub fn tell_all(fleet: &mut Fleet, node: &str, status: &Value, numbers: &Value, now: Instant) {
    tell(fleet, node, NodeTopic::Availability, "online", now);
    tell(fleet, node, NodeTopic::Status, &status.to_string(), now);
    let document = json!({"name": "main", "state": "ready", "strategy": "gpu:int4", "rejected": [
        {"strategy": "gpu:f16", "need": 9_000_000_000_u64, "headroom": 5_000_000_000_u64, "reason": "too large"}]});
    tell(fleet, node, model("main"), &document.to_string(), now);
    tell(fleet, node, NodeTopic::Telemetry, &numbers.to_string(), now);
}

/// Four nodes in four states: `ready` computes, `hot` is hot, `dead` is offline, and `mute` has told nothing but a number.
pub fn fleet(now: Instant) -> Fleet {
    let mut fleet = Fleet::new(now);
    let numbers = json!({"tokens_per_s": 31.25, "jobs_running": 3, "jobs_waiting": 2, "memory_available_bytes": 2_u64 << 30,
        "memory_total_bytes": 8_u64 << 30, "temperature_max_celsius": 61.5, "throttled": 0, "uptime_s": 90_000});
    tell_all(&mut fleet, "ready", &json!({"state": "ready", "since": "2025-06-15T15:06:40Z"}), &numbers, now);
    let status = json!({"state": "throttled", "reasons": ["cpu-thermal is at 91.0 °C, above its limit"]});
    let numbers = json!({"tokens_per_s": 4.0, "temperature_max_celsius": 91.0, "throttled": 1, "memory_available_bytes":
        4_u64 << 30, "memory_total_bytes": 8_u64 << 30});
    tell_all(&mut fleet, "hot", &status, &numbers, now);
    tell_all(&mut fleet, "dead", &json!({"state": "ready"}), &json!({"tokens_per_s": 9.0}), now);
    tell(&mut fleet, "dead", NodeTopic::Availability, "offline", now);
    tell(&mut fleet, "mute", NodeTopic::Telemetry, r#"{"uptime_s":7}"#, now);
    fleet
}
