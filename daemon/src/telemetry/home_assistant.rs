//! How Home Assistant shows this node: one retained message describes the device and its sensors ("device discovery",
//! Home Assistant 2024.11 and newer; <https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload>).
//!
//! The sensors read the topic `telemetry`; only those are announced whose numbers this machine has.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::job::NodeName;

/// What Home Assistant listens on, unless it is configured otherwise.
const PREFIX: &str = "homeassistant";

/// The topics that the sensors read.
#[derive(Debug, Clone, Copy)]
pub struct NodeTopics<'a> {
    /// `availability`.
    pub availability: &'a str,
    /// `status`.
    pub status: &'a str,
    /// `telemetry`.
    pub telemetry: &'a str,
    /// The longest time between two messages of `telemetry`.
    pub silence: Duration,
}

/// A sensor for one field of `telemetry`.
#[derive(Debug, Clone, Copy)]
struct Sensor {
    field: &'static str,
    name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// On for 1, with Home Assistant's class of binary sensors.
    Switch(&'static str),
    /// A number with its unit and, if there is one, Home Assistant's class of sensors.
    Measure(Option<&'static str>, &'static str),
    /// A share from 0 to 1, shown as percent.
    Share,
    /// A number that only grows.
    Total(Option<&'static str>, Option<&'static str>),
    /// A number without a unit.
    Count,
}

const fn sensor(field: &'static str, name: &'static str, kind: Kind) -> Sensor {
    Sensor { field, name, kind }
}

const SENSORS: [Sensor; 18] = [
    sensor("ready", "Ready", Kind::Switch("running")),
    sensor("jobs_waiting", "Jobs waiting", Kind::Count),
    sensor("jobs_running", "Jobs running", Kind::Count),
    sensor("jobs_completed", "Jobs answered", Kind::Total(None, None)),
    sensor("jobs_failed", "Jobs failed", Kind::Total(None, None)),
    sensor("generated_tokens", "Tokens generated", Kind::Total(None, Some("tokens"))),
    sensor("tokens_per_s", "Speed", Kind::Measure(None, "tokens/s")),
    sensor("temperature_max_celsius", "Temperature", Kind::Measure(Some("temperature"), "°C")),
    sensor("throttled", "Throttled", Kind::Switch("problem")),
    sensor("under_voltage", "Under-voltage", Kind::Switch("problem")),
    sensor("power_watts", "Power", Kind::Measure(Some("power"), "W")),
    sensor("energy_joules", "Energy", Kind::Total(Some("energy"), Some("J"))),
    sensor("memory_available_bytes", "Memory available", Kind::Measure(Some("data_size"), "B")),
    sensor("disk_free_bytes", "Disk free", Kind::Measure(Some("data_size"), "B")),
    sensor("cpu_load_ratio", "CPU load", Kind::Share),
    sensor("gpu_load_ratio", "GPU load", Kind::Share),
    sensor("cpu_clock_hz", "CPU clock", Kind::Measure(Some("frequency"), "Hz")),
    sensor("uptime_s", "Uptime", Kind::Measure(Some("duration"), "s")),
];

/// Topic and payload of the announcement, for a node whose `telemetry` has these fields.
pub fn home_assistant(node: &NodeName, topics: NodeTopics<'_>, fields: &Map<String, Value>) -> (String, Vec<u8>) {
    // Letters, digits, `_` and `-` only; names of nodes may have points.
    let id = format!("promptd_{}", node.as_str().replace('.', "_"));
    let known = SENSORS.iter().filter(|sensor| fields.contains_key(sensor.field));
    let mut components: Map<String, Value> =
        known.map(|sensor| (sensor.field.to_owned(), component(*sensor, &id, topics.silence))).collect();
    components.insert(
        "state".to_owned(),
        json!({
            "p": "sensor", "name": "State", "uniq_id": format!("{id}_state"), "stat_t": topics.status,
            "val_tpl": "{{ value_json.state }}",
        }),
    );
    let payload = json!({
        "dev": { "ids": id, "name": format!("promptd {node}"), "mf": "promptd", "mdl": "node", "sw": env!("CARGO_PKG_VERSION") },
        "o": { "name": "promptd", "sw": env!("CARGO_PKG_VERSION") },
        "avty_t": topics.availability,
        "stat_t": topics.telemetry,
        "cmps": components,
    });
    (format!("{PREFIX}/device/{id}/config"), super::json(&payload))
}

/// After three messages without it a value is unknown.
fn component(Sensor { field, name, kind }: Sensor, id: &str, silence: Duration) -> Value {
    let mut component = json!({
        "exp_aft": silence.as_secs().saturating_mul(3).max(1),
        "p": "sensor", "name": name, "uniq_id": format!("{id}_{field}"), "val_tpl": format!("{{{{ value_json.{field} }}}}"),
    });
    let mut set = |key: &str, value: Option<&str>| {
        if let Some(value) = value {
            component[key] = value.into();
        }
    };
    match kind {
        Kind::Switch(class) => {
            set("p", Some("binary_sensor"));
            set("dev_cla", Some(class));
            set("pl_on", Some("1"));
            set("pl_off", Some("0"));
        }
        Kind::Measure(class, unit) => {
            set("dev_cla", class);
            set("unit_of_meas", Some(unit));
            set("stat_cla", Some("measurement"));
        }
        Kind::Share => {
            set("unit_of_meas", Some("%"));
            set("stat_cla", Some("measurement"));
            set("val_tpl", Some(&format!("{{{{ (value_json.{field} * 100) | round(1) }}}}")));
        }
        Kind::Total(class, unit) => {
            set("dev_cla", class);
            set("unit_of_meas", unit);
            set("stat_cla", Some("total_increasing"));
        }
        Kind::Count => set("stat_cla", Some("measurement")),
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{DOCUMENT_MAX, JobTotals, example, telemetry_message};

    const TOPICS: NodeTopics<'_> = NodeTopics {
        availability: "promptd/gw.1/availability",
        status: "promptd/gw.1/status",
        telemetry: "promptd/gw.1/telemetry",
        silence: Duration::from_mins(1),
    };

    fn fields(snapshot: &crate::telemetry::Snapshot) -> Map<String, Value> {
        let message = telemetry_message(snapshot, &JobTotals::default(), std::time::SystemTime::now());
        serde_json::from_slice(&message).unwrap()
    }

    fn announced(snapshot: &crate::telemetry::Snapshot) -> (String, Value) {
        let (topic, payload) = home_assistant(&NodeName::new("gw.1").unwrap(), TOPICS, &fields(snapshot));
        (topic, serde_json::from_slice(&payload).unwrap())
    }

    /// The units that Home Assistant's documentation allows for each class of sensors.
    const UNITS: [(&str, &[&str]); 6] = [
        ("temperature", &["°C", "°F", "K"]),
        ("power", &["mW", "W", "kW", "MW", "GW", "TW"]),
        ("energy", &["J", "kJ", "MJ", "GJ", "mWh", "Wh", "kWh", "MWh", "GWh", "TWh", "cal", "kcal", "Mcal", "Gcal"]),
        ("data_size", &["bit", "B", "kB", "MB", "GB", "KiB", "MiB", "GiB"]),
        ("frequency", &["Hz", "kHz", "MHz", "GHz"]),
        ("duration", &["d", "h", "min", "s", "ms", "µs"]),
    ];

    #[test]
    fn is_what_home_assistant_s_documentation_asks_for() {
        let (topic, payload) = announced(&example::snapshot());
        assert_eq!(topic, "homeassistant/device/promptd_gw_1/config");
        for key in ["dev", "o", "cmps", "stat_t", "avty_t"] {
            assert!(!payload[key].is_null(), "{key}");
        }
        assert!(payload["dev"]["ids"].is_string() && payload["o"]["name"].is_string());
        let components = payload["cmps"].as_object().unwrap();
        assert_eq!(components.len(), SENSORS.len() + 1, "everything that this machine tells");
        let mut ids = std::collections::BTreeSet::new();
        for (name, component) in components {
            assert!(ids.insert(component["uniq_id"].as_str().unwrap()), "{name}");
            let platform = component["p"].as_str().unwrap();
            let class = component["dev_cla"].as_str();
            if platform == "binary_sensor" {
                assert!(matches!(class, Some("running" | "problem")), "{name}");
                assert!(component.get("stat_cla").is_none() && component.get("unit_of_meas").is_none(), "{name}");
                continue;
            }
            assert_eq!(platform, "sensor");
            let units =
                class.map(|class| UNITS.iter().find(|(known, _)| *known == class).expect("a class that exists").1);
            let unit = component["unit_of_meas"].as_str().unwrap_or_default();
            assert!(units.is_none_or(|units| units.contains(&unit)), "{name}: {unit}");
            let grows = component["stat_cla"] == "total_increasing";
            assert!(class != Some("energy") || grows, "{name}: energy is a total");
        }
    }

    #[test]
    fn what_the_machine_does_not_tell_is_not_announced() {
        let (_, payload) = announced(&example::bare());
        let components = payload["cmps"].as_object().unwrap();
        assert!(components.contains_key("ready") && components.contains_key("state"));
        assert!(!components.contains_key("power_watts") && !components.contains_key("throttled"), "{payload}");
    }

    #[test]
    fn stays_small_with_the_longest_name() {
        let (_, payload) =
            home_assistant(&NodeName::new("x".repeat(64)).unwrap(), TOPICS, &fields(&example::snapshot()));
        assert!(payload.len() < 2 * DOCUMENT_MAX, "{}", payload.len());
    }
}
