//! Brokers that die, come late or refuse.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Broker, Device, Node, Setup, promptd, until};

/// Settings of a broker that keeps sessions when it is killed.
fn remembering(folder: &std::path::Path) -> String {
    format!(
        "allow_anonymous true\npersistence true\npersistence_location {}/\nautosave_interval 1\nautosave_on_changes true\n",
        folder.display()
    )
}

#[tokio::test]
async fn answers_survive_a_broker_that_dies_under_them() {
    let store = tempfile::tempdir().unwrap();
    let mut broker = Broker::with(&remembering(store.path())).await;
    let node = Node::ready(&broker, Setup::default()).await;
    let mut device = Device::connect(&broker, "dev").await;
    let mut missing = HashSet::new();
    for number in 0..8 {
        let id = format!("job{number}");
        let request =
            json!({ "id": id, "prompt": "Count.", "max_tokens": 60, "ignore_eos": true, "stream": number == 7 });
        device.ask("generate", &request).await;
        missing.insert(id);
    }
    // The last one was taken, and it runs.
    assert_eq!(device.next().await.json["event"], "delta");
    broker.kill();
    until("the node notices", || (node.warnings() > 0).then_some(())).await;
    broker.up().await;
    while !missing.is_empty() {
        let reply = device.outcome_of_any().await;
        assert_eq!(reply["event"], "result", "{reply}");
        missing.remove(reply["id"].as_str().unwrap());
    }
    let mut watcher = Device::connect(&broker, "watcher").await;
    watcher.subscribe("promptd/gw/availability").await;
    // The will of the lost connection may be there first.
    while watcher.next().await.payload != "online" {}
    let warnings = node.warnings();
    assert!(warnings <= 3, "said once, not at each attempt:\n{}", node.log());
}

#[tokio::test]
async fn a_stop_waits_for_a_broker_that_owes_an_acknowledgement() {
    let store = tempfile::tempdir().unwrap();
    let mut broker = Broker::with(&remembering(store.path())).await;
    let mut node = Node::ready(&broker, Setup { sequences: 1, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    device
        .ask(
            "generate",
            &json!({ "id": "1", "prompt": "Count.", "max_tokens": 300, "ignore_eos": true, "stream": true }),
        )
        .await;
    assert_eq!(device.next().await.json["event"], "delta");
    broker.kill();
    until("the node notices", || (node.warnings() > 0).then_some(())).await;
    node.signal(Signal::TERM);
    until("the node drains", || node.log().contains("draining").then_some(())).await;
    broker.up().await;
    assert_eq!(device.outcome("1").await["event"], "result");
    assert_eq!(node.ended().await, Some(0), "{}", node.log());
}

#[tokio::test]
async fn a_broker_may_come_later_than_the_node() {
    let mut broker = Broker::absent("allow_anonymous true\n");
    let node = Node::start(&broker, &Setup { sequences: 1, ..Setup::default() });
    // The model is loaded without a broker.
    until("the model is ready", || node.log().contains("ready").then_some(())).await;
    let warnings = node.warnings();
    assert_eq!(warnings, 1, "the absent broker is named once:\n{}", node.log());
    broker.up().await;
    node.wait_for_state(&broker, "ready").await;
    let mut device = Device::connect(&broker, "dev").await;
    let reply = device.answer("generate", json!({ "id": "1", "prompt": "Hi", "max_tokens": 1 })).await;
    assert_eq!(reply["event"], "result", "{reply}");
}

#[tokio::test]
async fn a_wrong_password_is_named_once_and_a_right_one_is_taken_up() {
    let mut broker = Broker::absent("");
    let passwords = broker.password_file("gw", "tango-7");
    broker.settings(&format!("allow_anonymous true\npassword_file {}\n", passwords.display()));
    broker.up().await;
    let secret = broker.folder().join("secret");
    std::fs::write(&secret, "rumba-9\n").unwrap();
    let mqtt = format!("username = \"gw\"\npassword_credential = {secret:?}");
    let node = Node::start(&broker, &Setup { sequences: 1, mqtt, ..Setup::default() });
    until("the refusal is logged", || node.log().contains("refuses the connection").then_some(())).await;
    until("the model is ready", || node.log().contains("ready").then_some(())).await;
    assert_eq!(node.log().matches("refuses the connection").count(), 1, "{}", node.log());
    assert!(!node.log().contains("tango-7") && !node.log().contains("rumba-9"), "no password in the log");
    std::fs::write(&secret, "tango-7\n").unwrap();
    node.wait_for_state(&broker, "ready").await;
}

#[tokio::test]
async fn a_clean_stop_says_so_and_a_crash_leaves_the_will() {
    let broker = Broker::start().await;
    let mut watcher = Device::connect(&broker, "watcher").await;
    watcher.subscribe("promptd/gw/availability").await;
    let tables = "[service]\ndrain_timeout = \"10m\"\n[journal]\ndurability = \"memory\"".to_owned();
    let mut node = Node::ready(&broker, Setup { sequences: 1, tables, ..Setup::default() }).await;
    assert_eq!(watcher.next().await.payload, "online");
    let mut device = Device::connect(&broker, "dev").await;
    let request = json!({ "id": "1", "prompt": "Count.", "max_tokens": 300, "ignore_eos": true, "stream": true });
    device.ask("generate", &request).await;
    assert_eq!(device.next().await.json["event"], "delta");
    device.ask("generate", &json!({ "id": "2", "prompt": "Hi" })).await;
    device.ask("generate", &json!({ "id": "3", "prompt": "Hi", "ack": true })).await;
    while device.next().await.json["event"] != "accepted" {}
    node.signal(Signal::TERM);
    // What runs is finished, what waits is told: nothing outlives this daemon.
    let mut outcomes = HashSet::new();
    for _ in 0..3 {
        let reply = device.outcome_of_any().await;
        outcomes.insert((reply["id"].to_string(), reply["event"].to_string(), reply["code"].to_string()));
    }
    for (id, event, code) in [("1", "result", "null"), ("2", "error", "draining"), ("3", "error", "draining")] {
        let quoted = |text: &str| if text == "null" { text.to_owned() } else { format!("{text:?}") };
        assert!(outcomes.contains(&(quoted(id), quoted(event), quoted(code))), "{outcomes:?}");
    }
    assert_eq!(node.ended().await, Some(0), "{}", node.log());
    assert_eq!(watcher.next().await.payload, "offline");
    watcher.subscribe("promptd/gw/status").await;
    assert_eq!(watcher.next().await.json["state"], "stopped");

    let node = Node::ready(&broker, Setup { sequences: 1, ..Setup::default() }).await;
    while watcher.next().await.payload != "online" {}
    node.signal(Signal::KILL);
    while watcher.next().await.payload != "offline" {}
}

/// Answers each CONNECT as MQTT 3.1.1 has it, for as long as the test runs: another version than its own is refused.
fn old_broker() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Whoever only looks whether somebody is there sends nothing.
            let mut connect = [0; 256];
            let length = stream.read(&mut connect).unwrap_or_default();
            let Some(name) = connect[..length].windows(4).position(|bytes| bytes == b"MQTT") else { continue };
            let refused = u8::from(connect[name + 4] != 4);
            stream.write_all(&[0x20, 2, 0, refused]).unwrap_or_default();
        }
    });
    port
}

#[tokio::test]
async fn a_broker_that_speaks_only_the_version_before_is_named() {
    let port = old_broker();
    let broker = Broker::absent("");
    let url = Some(format!("mqtt://127.0.0.1:{port}"));
    let setup = Setup { with_model: false, url, ..Setup::default() };
    let node = Node::start(&broker, &setup);
    let reason = "the broker speaks MQTT 3.1.1 only; promptd needs MQTT 5";
    until("the log says so", || node.log().contains(reason).then_some(())).await;
    let status = node.operator_json(&["status"]);
    let expected = json!([format!("old_broker: {reason}")]);
    assert_eq!((&status["state"], &status["reasons"]), (&json!("misconfigured"), &expected), "{status}");
    let examined = node.operator(&["doctor"]);
    let told = String::from_utf8(examined.stdout).unwrap();
    assert!(told.matches(reason).count() == 2 && told.contains("use a broker that speaks MQTT 5"), "{told}");
    let asked = promptd().args(["ask", "--config"]).arg(node.config()).arg("Hi").output().unwrap();
    assert!(String::from_utf8_lossy(&asked.stderr).contains(reason), "{asked:?}");

    // Another one takes its place: it is found by who asks for a reload.
    let broker = Broker::start().await;
    node.configure(&broker, &Setup { with_model: false, ..Setup::default() });
    assert!(node.operator(&["reload"]).status.success());
    node.wait_for_state(&broker, "no_model").await;
}
