//! `health`: the machine's memory, heat, power and disks. What is not known is left out.

use serde_json::{Map, Value, json};

use super::documents::{DOCUMENT_MAX, json as bytes_of};
use super::snapshot::Snapshot;
use crate::health::{HealthReading, Room};

/// Most sensors of a kind in the document. Fewer if it would get too long.
const LISTED_MAX: usize = 16;

/// Longest name of a sensor in bytes.
const NAME_MAX: usize = 48;

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
    let HealthReading { throttling, rails, fans, cpu, gpu, swap, disk, .. } = &now.health;
    let mut hottest: Vec<_> = now.health.temperatures.iter().collect();
    hottest.sort_by(|a, b| b.celsius.total_cmp(&a.celsius));
    let limits = now.limits.iter().take(listed).map(
        |limit| json!({ "name": short(&limit.name), "total_bytes": limit.total, "available_bytes": limit.available }),
    );
    let zones = hottest.into_iter().take(listed).map(|zone| {
        json!({
            "zone": short(&zone.zone), "celsius": tenths(zone.celsius),
            "passive": zone.passive.map(tenths), "critical": zone.critical.map(tenths),
        })
    });
    let rails = rails.iter().take(listed);
    let rails = rails.map(|rail| json!({ "rail": short(&rail.name), "watts": tenths(rail.watts) }));
    let fans = fans.iter().take(listed);
    let fans = fans.map(|fan| json!({ "fan": short(&fan.name), "rpm": fan.rpm, "power": fan.power.map(hundredths) }));
    let governors = now.governors.iter().map(|governor| (governor.name.to_owned(), Value::from(governor.word)));
    let gpu = gpu.as_ref().map(|gpu| {
        json!({
            "name": gpu.name.as_deref().map(short), "load": gpu.load.map(hundredths), "clock_hz": gpu.clock_hz,
            "clock_max_hz": gpu.clock_max_hz, "memory": gpu.memory.map(room),
        })
    });
    known(json!({
        "uptime_s": now.uptime.as_secs(),
        "memory": {
            "limits": list(limits),
            "reserve_left": now.slack.map(|slack| hundredths(slack.permille() as f32 / 1000.0)),
            "pressure": now.psi.map(|psi| hundredths(psi.some_avg10 / 100.0)),
            "swap": swap.map(room),
        },
        "temperatures": list(zones),
        "throttling": {
            "throttled": now.health.throttled(),
            "cooling": list(throttling.cooling.iter().take(listed).map(|device| Value::from(short(device)))),
            "under_voltage": throttling.under_voltage, "capped": throttling.capped,
            "over_current_events": throttling.over_current,
        },
        "power": { "watts": now.health.watts().map(tenths), "rails": list(rails) },
        "fans": list(fans),
        "cpu": { "load": cpu.load.map(hundredths), "clock_hz": cpu.clock_hz, "clock_max_hz": cpu.clock_max_hz },
        "gpu": gpu,
        "disk": disk.map(room),
        "governors": governors.collect::<Map<_, _>>(),
    }))
}

fn list(items: impl Iterator<Item = Value>) -> Value {
    Value::Array(items.collect())
}

fn room(room: Room) -> Value {
    json!({ "total_bytes": room.total, "free_bytes": room.free })
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(NAME_MAX)]
}

fn tenths(number: f32) -> f64 {
    (f64::from(number) * 10.0).round() / 10.0
}

fn hundredths(number: f32) -> f64 {
    (f64::from(number) * 100.0).round() / 100.0
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
