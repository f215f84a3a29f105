//! What thin-edge.io learns of this service: that it exists, and whether it runs
//! (<https://thin-edge.github.io/thin-edge.io/references/mqtt-api/>). It shows both in its cloud.
//!
//! A connection has one will only, and that is of the topic `availability`: of a daemon that was killed thin-edge.io goes on
//! saying that it is up, until the service manager has started it again.

use serde_json::json;

/// The service of the device that the broker belongs to.
const SERVICE: &str = "te/device/main/service/promptd";

/// Whether the daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceHealth {
    /// It does.
    Up,
    /// It ends.
    Down,
}

/// Topics and payloads, all of them retained.
pub fn thin_edge(health: ServiceHealth) -> [(String, Vec<u8>); 2] {
    let registration = json!({ "@type": "service", "name": "promptd", "type": "service" });
    let status = match health {
        ServiceHealth::Up => "up",
        ServiceHealth::Down => "down",
    };
    let health = json!({ "pid": std::process::id(), "status": status });
    [(SERVICE.to_owned(), super::json(&registration)), (format!("{SERVICE}/status/health"), super::json(&health))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_registered_and_says_how_it_is() {
        let [registration, health] = thin_edge(ServiceHealth::Up);
        let value = |(_, payload): &(String, Vec<u8>)| serde_json::from_slice::<serde_json::Value>(payload).unwrap();
        // A topic of an entity has four levels under the root.
        assert_eq!(registration.0.strip_prefix("te/").unwrap().split('/').count(), 4);
        assert_eq!(value(&registration), json!({ "@type": "service", "name": "promptd", "type": "service" }));
        assert_eq!(health.0, format!("{}/status/health", registration.0));
        assert_eq!(value(&health), json!({ "pid": std::process::id(), "status": "up" }));
        assert_eq!(value(&thin_edge(ServiceHealth::Down)[1])["status"], "down");
    }
}
