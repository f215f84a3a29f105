//! Engines that die or hang in the middle of their work.

use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Broker, Device, Node, Setup, alive, signal_pid, until};

/// Starts eight long answers and waits until each has begun.
async fn eight_running(device: &mut Device) {
    for number in 0..8 {
        let request = json!({
            "id": format!("job{number}"), "prompt": "Count.", "max_tokens": 400, "ignore_eos": true, "stream": true
        });
        device.ask("generate", &request).await;
    }
    let mut begun = std::collections::HashSet::new();
    while begun.len() < 8 {
        let reply = device.next().await.json;
        assert_eq!(reply["event"], "delta", "{reply}");
        begun.insert(reply["id"].as_str().unwrap().to_owned());
    }
}

/// Every job that ran begins anew in the next engine; its client sees one result, and no delta twice.
async fn all_are_answered_by_a_new_engine(node: &Node, device: &mut Device, old: u32) {
    for number in 0..8 {
        let reply = device.outcome_of_any().await;
        assert_eq!(
            (&reply["event"], &reply["usage"]["generated_tokens"]),
            (&json!("result"), &json!(400)),
            "{number}: {reply}"
        );
    }
    let engines = node.engines();
    assert!(engines.len() == 1 && engines[0] != old, "{engines:?} after {old}");
    assert!(!Path::new(&format!("/proc/{old}")).exists(), "the old engine is gone");
}

#[tokio::test]
async fn a_killed_engine_comes_back_and_no_job_hangs() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup::default()).await;
    let mut device = Device::connect(&broker, "dev").await;
    eight_running(&mut device).await;
    let engine = node.engines()[0];
    signal_pid(engine, Signal::KILL);
    all_are_answered_by_a_new_engine(&node, &mut device, engine).await;
}

#[tokio::test]
async fn a_job_that_was_in_two_crashes_is_quarantined_and_no_other() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 2, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let request = |id: &str, tokens: u32| json!({ "id": id, "prompt": "Count.", "max_tokens": tokens, "ignore_eos": true, "stream": true });
    for id in ["run1", "run2"] {
        device.ask("generate", &request(id, 900)).await;
        while device.next().await.json["id"] != id {}
    }
    for id in ["wait1", "wait2", "wait3"] {
        device.ask("generate", &request(id, 4)).await;
    }
    // Requests of one device arrive in order: after this one all are in the queue.
    device.ask("generate", &json!({ "id": "last", "prompt": "Hi", "max_tokens": 1, "ack": true })).await;
    while device.next().await.json["event"] != "accepted" {}
    let first = node.engines()[0];
    // What llama.cpp does when it finds a mistake.
    signal_pid(first, Signal::ABORT);
    // The same two begin anew: those that waited behind them still do.
    let second = until("a new engine computes", || {
        let engine = *node.engines().first().filter(|engine| **engine != first)?;
        (node.log().matches("the model is ready").count() == 2).then_some(engine)
    })
    .await;
    signal_pid(second, Signal::ABORT);
    let mut ends = std::collections::BTreeMap::new();
    for _ in 0..6 {
        let reply = device.outcome_of_any().await;
        let end = if reply["event"] == "result" { json!("result") } else { reply["code"].clone() };
        ends.insert(reply["id"].as_str().unwrap().to_owned(), end);
    }
    for (id, end) in &ends {
        let expected = if id.starts_with("run") { "quarantined" } else { "result" };
        assert_eq!(end, expected, "{id} of {ends:?}");
    }
    assert_eq!(ends.len(), 6, "{ends:?}");
    let log = node.log();
    for id in ["run1", "run2"] {
        let line = log.lines().find(|line| line.contains(&format!("job_id=dev/{id} "))).unwrap_or_default();
        assert!(line.contains("WARN") && line.contains("model=main code=quarantined"), "{log}");
    }
}

#[tokio::test]
async fn a_job_larger_than_the_socket_does_not_hang_on_a_stopped_engine() {
    let broker = Broker::start().await;
    let tables = "[engine]\nheartbeat_timeout = \"3s\"\n[limits]\nrequest = \"2MiB\"".to_owned();
    let mqtt = "packet_max = \"4MiB\"".to_owned();
    let node = Node::ready(&broker, Setup { sequences: 1, tables, mqtt, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    signal_pid(node.engines()[0], Signal::STOP);
    let reply = device.answer("generate", json!({ "id": "big", "prompt": "x ".repeat(900_000) })).await;
    // The next engine gets it, and it is too long for its context.
    assert_eq!(reply["code"], "context_overflow", "{reply}");
}

#[tokio::test]
async fn a_stopped_engine_is_replaced() {
    let broker = Broker::start().await;
    let tables = "[engine]\nheartbeat_timeout = \"3s\"".to_owned();
    let node = Node::ready(&broker, Setup { tables, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    eight_running(&mut device).await;
    let engine = node.engines()[0];
    signal_pid(engine, Signal::STOP);
    all_are_answered_by_a_new_engine(&node, &mut device, engine).await;
}

#[tokio::test]
async fn no_engine_outlives_its_daemon() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup::default()).await;
    let mut device = Device::connect(&broker, "dev").await;
    eight_running(&mut device).await;
    let engine = node.engines()[0];
    node.signal(Signal::KILL);
    until("the engine ends with its daemon", || (!alive(engine)).then_some(())).await;

    // Also one that can't notice anything by itself.
    let node = Node::ready(&broker, Setup::default()).await;
    let engine = node.engines()[0];
    signal_pid(engine, Signal::STOP);
    node.signal(Signal::KILL);
    until("a stopped engine ends with its daemon", || (!alive(engine)).then_some(())).await;
}
