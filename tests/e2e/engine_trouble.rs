//! Engines that die or hang in the middle of their work.

use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Broker, Device, Node, Setup, signal_pid, until};

/// Starts eight long answers and waits until each has begun.
async fn eight_running(device: &mut Device) {
    for number in 0..8 {
        let request = json!({
            "id": format!("job{number}"), "prompt": "Count.", "max_tokens": 900, "ignore_eos": true, "stream": true
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

async fn all_fail_and_a_new_engine_answers(node: &Node, device: &mut Device, old: u32) {
    for number in 0..8 {
        let reply = device.outcome_of_any().await;
        assert_eq!((&reply["code"], &reply["retryable"]), (&json!("engine_failed"), &json!(true)), "{number}: {reply}");
    }
    let answer = device.answer("generate", json!({ "id": "after", "prompt": "Hi", "max_tokens": 2 })).await;
    assert_eq!(answer["event"], "result", "{answer}");
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
    all_fail_and_a_new_engine_answers(&node, &mut device, engine).await;
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
    all_fail_and_a_new_engine_answers(&node, &mut device, engine).await;
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

/// A zombie of a killed parent's child is as good as gone; who collects it is not ours to say.
fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'))
}
