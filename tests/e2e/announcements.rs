//! What others are told of this node under their own topics, and that it can be taken back.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Broker, Device, Node, Setup, until};

const TOPICS: [&str; 3] = [
    "homeassistant/device/promptd_gw/config",
    "te/device/main/service/promptd",
    "te/device/main/service/promptd/status/health",
];

fn setup(on: bool, state_dir: &std::path::Path) -> Setup {
    let tables = format!("[telemetry]\nhome_assistant = {on}\nthin_edge = {on}\n");
    Setup { with_model: false, state_dir: Some(state_dir.to_owned()), tables, ..Setup::default() }
}

/// The retained messages under these topics, empty ones left out, as soon as they are so.
async fn retained(broker: &Broker, what: &str, is_so: impl Fn(&[(String, Value)]) -> bool) {
    until(what, || {
        let output = broker.client("mosquitto_sub", &["-t", "homeassistant/#", "-t", "te/#", "-v", "-W", "1"]);
        let text = String::from_utf8(output.stdout).unwrap();
        let messages = text.lines().filter_map(|line| {
            let (topic, payload) = line.split_once(' ')?;
            Some((topic.to_owned(), serde_json::from_str(payload).ok()?))
        });
        is_so(&messages.collect::<Vec<_>>()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn others_learn_of_the_node_and_forget_it_when_they_shall() {
    let broker = Broker::start().await;
    let kept = tempfile::tempdir().unwrap();
    let mut node = Node::start(&broker, &setup(true, kept.path()));
    let mut listener = Device::connect(&broker, "listener").await;
    for topic in TOPICS {
        listener.subscribe(topic).await;
        let message = listener.next().await;
        assert_eq!(message.topic, topic);
        match topic {
            topic if topic.starts_with("homeassistant") => {
                assert_eq!(message.json["stat_t"], "promptd/gw/telemetry");
                assert!(message.json["cmps"]["memory_available_bytes"].is_object(), "{}", message.json);
                assert!(
                    message.json["cmps"]["power_watts"].is_null() || message.json["cmps"]["power_watts"].is_object()
                );
            }
            topic if topic.ends_with("health") => assert_eq!(message.json["status"], "up"),
            _ => assert_eq!(message.json["@type"], "service"),
        }
    }
    node.signal(Signal::TERM);
    assert_eq!(node.ended().await, Some(0));
    retained(&broker, "it is down", |messages| {
        messages.iter().any(|(topic, payload)| topic == TOPICS[2] && payload["status"] == json!("down"))
    })
    .await;

    // Another run, which shall not be known any more.
    let mut node = Node::start(&broker, &setup(false, kept.path()));
    retained(&broker, "everything is taken back", <[_]>::is_empty).await;
    node.signal(Signal::TERM);
    assert_eq!(node.ended().await, Some(0));
    let remembered = std::fs::read_to_string(kept.path().join("announced.json")).unwrap();
    assert_eq!(remembered, "[]", "nothing is left to be taken back");
}
