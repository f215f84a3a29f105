//! The numbers of a node that the table shows.

use std::time::Duration;

use serde_json::Value;

/// What a node's machine and queue are like. What the node does not know or tell is none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Numbers {
    /// Tokens that its engines choose in a second.
    pub tokens_per_s: Option<f64>,
    /// Jobs in engines.
    pub jobs_running: Option<u64>,
    /// Jobs in the queue.
    pub jobs_waiting: Option<u64>,
    /// Bytes that the tightest limit of memory has left.
    pub memory_available: Option<u64>,
    /// Bytes of that limit.
    pub memory_total: Option<u64>,
    /// The hottest zone, degrees Celsius.
    pub celsius: Option<f64>,
    /// Whether the hardware holds itself back.
    pub throttled: Option<bool>,
    /// How long the daemon has run.
    pub uptime: Option<Duration>,
}

impl Numbers {
    /// Those in a `telemetry` message.
    pub fn of_telemetry(message: &Value) -> Self {
        let count = |name: &str| message[name].as_u64();
        let measure = |name: &str| message[name].as_f64();
        Self {
            tokens_per_s: measure("tokens_per_s"),
            jobs_running: count("jobs_running"),
            jobs_waiting: count("jobs_waiting"),
            memory_available: count("memory_available_bytes"),
            memory_total: count("memory_total_bytes"),
            celsius: measure("temperature_max_celsius"),
            throttled: count("throttled").map(|truth| truth != 0),
            uptime: count("uptime_s").map(Duration::from_secs),
        }
    }

    /// Those in a `health` document, which knows nothing of jobs.
    pub fn of_health(document: &Value) -> Self {
        let limits = document["memory"]["limits"].as_array().into_iter().flatten();
        let tightest = limits.min_by_key(|limit| limit["available_bytes"].as_u64().unwrap_or(u64::MAX));
        let zones = document["temperatures"].as_array().into_iter().flatten();
        Self {
            memory_available: tightest.and_then(|limit| limit["available_bytes"].as_u64()),
            memory_total: tightest.and_then(|limit| limit["total_bytes"].as_u64()),
            celsius: zones.filter_map(|zone| zone["celsius"].as_f64()).max_by(f64::total_cmp),
            throttled: document["throttling"]["throttled"].as_bool(),
            uptime: document["uptime_s"].as_u64().map(Duration::from_secs),
            ..Self::default()
        }
    }

    /// The share of its memory that a node has left, 0 to 1.
    pub fn memory_share(&self) -> Option<f64> {
        let (available, total) = (self.memory_available?, self.memory_total.filter(|total| *total > 0)?);
        Some(available as f64 / total as f64)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_told_or_no_number_is_unknown() {
        assert_eq!(Numbers::of_telemetry(&json!({})), Numbers::default());
        assert_eq!(Numbers::of_telemetry(&json!(["odd"])), Numbers::default());
        let odd = json!({ "tokens_per_s": "fast", "jobs_running": -1, "throttled": 1, "uptime_s": 7 });
        let expected = Numbers { throttled: Some(true), uptime: Some(Duration::from_secs(7)), ..Numbers::default() };
        assert_eq!(Numbers::of_telemetry(&odd), expected);
        assert_eq!(Numbers::of_health(&json!({ "memory": 1, "temperatures": [null, {}] })), Numbers::default());
    }

    #[test]
    fn health_tells_the_tightest_limit_and_the_hottest_zone() {
        let document = json!({
            "memory": { "limits": [{ "total_bytes": 100, "available_bytes": 50 }, { "total_bytes": 40, "available_bytes": 10 }] },
            "temperatures": [{ "celsius": 40.5 }, { "celsius": 61.5 }],
            "throttling": { "throttled": false },
        });
        let numbers = Numbers::of_health(&document);
        assert_eq!((numbers.memory_share(), numbers.celsius, numbers.throttled), (Some(0.25), Some(61.5), Some(false)));
        assert_eq!(Numbers { memory_total: Some(0), memory_available: Some(0), ..numbers }.memory_share(), None);
    }
}
