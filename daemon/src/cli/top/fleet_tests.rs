//! What messages make of the fleet.

use std::time::{Duration, Instant};

use promptd::job::{ModelName, NodeName};
use promptd::mqtt::NodeTopic;
use promptd::telemetry::NodeState;
use serde_json::json;

use super::condition::{Condition, Level};
use super::example::{model, tell};
use super::fleet::{Fleet, NODES_MAX, PAYLOAD_MAX, summary};
use super::numbers::Numbers;

fn name(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn condition(fleet: &Fleet, node: &str, now: Instant) -> Condition {
    fleet.row(&name(node), now).expect("the node is known").condition
}

const READY: &str = r#"{"state":"ready","reasons":[],"heartbeat_s":60}"#;

#[test]
fn a_node_is_known_field_by_field() {
    let now = Instant::now();
    let mut fleet = Fleet::new(now);
    tell(&mut fleet, "gw", NodeTopic::Telemetry, r#"{"tokens_per_s":12.5}"#, now);
    assert_eq!(condition(&fleet, "gw", now), Condition::Unknown);
    tell(&mut fleet, "gw", NodeTopic::Status, r#"{"state":"degraded","reasons":["main: a GPU is expected"]}"#, now);
    tell(
        &mut fleet,
        "gw",
        model("main"),
        r#"{"state":"ready","strategy":"cpu:int8","rejected":[{"reason":"no GPU"}]}"#,
        now,
    );
    let row = fleet.row(&name("gw"), now).unwrap();
    assert_eq!(row.condition, Condition::Told(NodeState::Degraded));
    assert_eq!(row.numbers, Numbers { tokens_per_s: Some(12.5), ..Numbers::default() });
    let model = &row.node.models.values().next().unwrap().value;
    assert_eq!((model.strategy.as_deref(), model.rejected[0].reason.as_deref()), (Some("cpu:int8"), Some("no GPU")));
    tell(&mut fleet, "gw", NodeTopic::Status, r#"{"state":"updating"}"#, now);
    assert_eq!(condition(&fleet, "gw", now), Condition::Other("updating".to_owned()));
}

#[test]
fn a_node_that_is_gone_has_no_numbers() {
    let now = Instant::now();
    let mut fleet = Fleet::new(now);
    for topic in [NodeTopic::Availability, NodeTopic::Status, NodeTopic::Telemetry] {
        let payload = match topic {
            NodeTopic::Availability => "online",
            NodeTopic::Status => READY,
            _ => r#"{"tokens_per_s":5,"jobs_running":1,"jobs_waiting":2}"#,
        };
        tell(&mut fleet, "gw", topic, payload, now);
    }
    let together = summary(&fleet.rows(now));
    assert_eq!((together.online, together.tokens_per_s, together.jobs_waiting), (1, 5.0, 2));
    tell(&mut fleet, "gw", NodeTopic::Availability, "offline", now);
    assert_eq!(condition(&fleet, "gw", now), Condition::Offline);
    let together = summary(&fleet.rows(now));
    assert_eq!((together.online, together.tokens_per_s, together.jobs_waiting), (0, 0.0, 0));
    assert_eq!(together.conditions, [("offline".to_owned(), Level::Bad, 1)]);
    // It said good-bye before.
    tell(&mut fleet, "gw", NodeTopic::Status, r#"{"state":"stopped"}"#, now);
    assert_eq!(condition(&fleet, "gw", now), Condition::Told(NodeState::Stopped));
}

#[test]
fn a_node_is_silent_when_it_breaks_its_promise_and_could_be_heard() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut fleet = Fleet::new(start);
    tell(&mut fleet, "gw", NodeTopic::Availability, "online", start);
    tell(&mut fleet, "gw", NodeTopic::Status, READY, start);
    assert_eq!(condition(&fleet, "gw", after(64)), Condition::Told(NodeState::Ready), "it may still be on its way");
    assert_eq!(condition(&fleet, "gw", after(66)), Condition::Silent);
    tell(&mut fleet, "gw", NodeTopic::Telemetry, "{}", after(100));
    assert_eq!(condition(&fleet, "gw", after(160)), Condition::Told(NodeState::Ready));
    fleet.disconnected("the broker closed the connection".to_owned());
    assert_eq!(condition(&fleet, "gw", after(1000)), Condition::Told(NodeState::Ready), "nobody can know");
    fleet.connected(after(1000));
    assert_eq!(condition(&fleet, "gw", after(1060)), Condition::Told(NodeState::Ready));
    assert_eq!(condition(&fleet, "gw", after(1066)), Condition::Silent);
    // A node of an older version promises nothing.
    tell(&mut fleet, "gw", NodeTopic::Status, r#"{"state":"ready"}"#, start);
    assert_eq!(condition(&fleet, "gw", after(9999)), Condition::Told(NodeState::Ready));
}

#[test]
fn what_is_removed_is_gone_at_once_or_after_a_new_connection() {
    let now = Instant::now();
    let mut fleet = Fleet::new(now);
    let all = |fleet: &Fleet| fleet.rows(now).iter().map(|row| row.name.to_string()).collect::<Vec<_>>();
    for node in ["a", "b", "c"] {
        tell(&mut fleet, node, NodeTopic::Availability, "online", now);
        tell(&mut fleet, node, NodeTopic::Status, READY, now);
        tell(&mut fleet, node, model("main"), "{}", now);
        tell(&mut fleet, node, model("old"), "{}", now);
    }
    for topic in [NodeTopic::Status, NodeTopic::Availability] {
        tell(&mut fleet, "b", topic, "", now);
    }
    assert_eq!(all(&fleet), ["a", "c"]);
    fleet.disconnected("gone".to_owned());
    fleet.connected(now);
    tell(&mut fleet, "c", NodeTopic::Status, READY, now);
    tell(&mut fleet, "c", model("main"), "{}", now);
    assert_eq!(all(&fleet), ["a", "c"], "perhaps a is still on its way");
    fleet.complete();
    assert_eq!(all(&fleet), ["c"]);
    let row = fleet.row(&name("c"), now).unwrap();
    assert_eq!(row.node.models.keys().map(ModelName::as_str).collect::<Vec<_>>(), ["main"]);
}

#[test]
fn a_hostile_broker_cannot_fill_the_memory() {
    let now = Instant::now();
    let mut fleet = Fleet::new(now);
    for number in 0..NODES_MAX + 10 {
        tell(&mut fleet, &format!("n{number}"), NodeTopic::Availability, "online", now);
    }
    assert_eq!(fleet.rows(now).len(), NODES_MAX);
    assert!(fleet.has_more());
    let mut fleet = Fleet::new(now);
    tell(&mut fleet, "big", NodeTopic::Status, &json!({ "state": "x".repeat(PAYLOAD_MAX) }).to_string(), now);
    assert!(fleet.rows(now).is_empty(), "longer than any document may be");
    for number in 0..1000 {
        tell(&mut fleet, "gw", model(&format!("m{number}")), "{}", now);
        tell(&mut fleet, "gw", NodeTopic::Telemetry, r#"{"tokens_per_s":1}"#, now);
    }
    let reasons = vec!["r"; 1000];
    tell(&mut fleet, "gw", NodeTopic::Status, &json!({ "state": "\u{1b}[2J", "reasons": reasons }).to_string(), now);
    let row = fleet.row(&name("gw"), now).unwrap();
    assert!(row.node.models.len() <= 32 && row.node.history.len() <= 240);
    assert_eq!(row.condition.as_str(), "\u{fffd}[2J");
    assert!(row.node.status.as_ref().unwrap().reasons.len() <= 16);
}

#[test]
fn odd_payloads_are_unknown_and_not_fatal() {
    let now = Instant::now();
    let mut fleet = Fleet::new(now);
    for payload in
        ["null", "7", "[]", "{", "\"text\"", "\u{0}", "{\"state\":{\"a\":1},\"reasons\":7,\"heartbeat_s\":-1}"]
    {
        for topic in [NodeTopic::Availability, NodeTopic::Status, model("m"), NodeTopic::Health, NodeTopic::Telemetry] {
            tell(&mut fleet, "gw", topic, payload, now);
        }
    }
    assert_eq!(condition(&fleet, "gw", now), Condition::Unknown);
}
