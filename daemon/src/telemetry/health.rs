//! `health`: the machine's memory, heat, power and disks. What is not known is left out.

use serde_json::Value;

use super::documents::{DOCUMENT_MAX, json as bytes_of};
use super::machine::MachineState;
use super::snapshot::Snapshot;

/// Most sensors of a kind in the document. Fewer if it would get too long.
const LISTED_MAX: usize = 16;

/// The document, as short as a retained one has to be.
pub fn health_document(now: &Snapshot) -> Vec<u8> {
    let mut shorter = (1..=LISTED_MAX).rev().map(|listed| bytes_of(&document(now, listed)));
    shorter.find(|document| document.len() < DOCUMENT_MAX).unwrap_or_default()
}

/// The same, whatever its length.
pub fn health_value(now: &Snapshot) -> Value {
    document(now, LISTED_MAX)
}

fn document(now: &Snapshot, listed: usize) -> Value {
    // Only maps with keys that are no strings can fail, and there are none.
    known(serde_json::to_value(MachineState::of(now, listed)).unwrap_or_default())
}

/// The same without what is not known, and without what is empty for that reason.
fn known(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name, known(value)));
            Value::Object(fields.filter(|(_, value)| !is_nothing(value)).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(known).collect()),
        value => value,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::health::Temperature;
    use crate::plan::{Bytes, MemoryLimit};
    use crate::telemetry::example;

    #[test]
    fn tells_what_is_known_and_nothing_else() {
        let document: Value = serde_json::from_slice(&health_document(&example::snapshot())).unwrap();
        assert_eq!(document["memory"]["limits"][0]["name"], "host");
        assert_eq!(
            document["temperatures"][0],
            json!({ "zone": "tj-thermal", "celsius": 61.5, "passive": 95.0, "critical": 99.0 })
        );
        assert_eq!(document["throttling"]["throttled"], false);
        assert_eq!(document["power"]["watts"], 11.4);
        assert_eq!(document["governors"], json!({ "memory": "normal", "thermal": "normal" }));
        let bare: Value = serde_json::from_slice(&health_document(&example::bare())).unwrap();
        assert_eq!(bare, json!({ "uptime_s": 0 }), "nothing is known of this machine");
    }

    #[test]
    fn the_longest_stays_below_the_limit() {
        let mut now = example::snapshot();
        let name = |number: usize| format!("{number}{}", "ü".repeat(200));
        now.health.temperatures = (0..100)
            .map(|number| Temperature { zone: name(number), celsius: 1.234, passive: Some(95.5), critical: Some(99.5) })
            .collect();
        now.limits = (0..100)
            .map(|number| MemoryLimit { name: name(number), total: Bytes(u64::MAX), available: Bytes(u64::MAX) })
            .collect();
        now.health.throttling.cooling = (0..100).map(name).collect();
        let document = health_document(&now);
        assert!((2000..DOCUMENT_MAX).contains(&document.len()), "{} bytes", document.len());
        let document: Value = serde_json::from_slice(&document).unwrap();
        assert!(document["temperatures"].as_array().unwrap().len() > 4, "{document}");
    }
}
