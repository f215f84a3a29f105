//! Engines that die or hang while they load, and one that crashes all the time: steps down the ladder, never the end of the
//! daemon.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Broker, Device, Fleet, Node, Setup, files, signal_pid, until};

fn setup(tables: &str) -> Setup {
    Setup {
        files: vec![files::f16(), files::int8()],
        model: "ladder = [\"cpu:f16\", \"cpu:int8\"]".to_owned(),
        sequences: 2,
        context: 512,
        tables: tables.to_owned(),
        ..Setup::default()
    }
}

fn request(id: &str, tokens: u32) -> Value {
    json!({ "id": id, "prompt": "Count.", "max_tokens": tokens, "ignore_eos": true })
}

/// What a signal to the engine that loads the first strategy leads to.
async fn steps_down(signal: Signal, reason: &str) {
    let broker = Broker::start().await;
    let mut fleet = Fleet::watch(&broker).await;
    let mut node = Node::start(&broker, &setup("[engine]\nheartbeat_timeout = \"2s\""));
    let engine = node.loading("cpu:f16").await;
    signal_pid(engine, signal);
    let model = fleet.model("main", |model| model["state"] == "ready").await;
    assert_eq!(model["strategy"], "cpu:int8", "{model}");
    let rejected = &model["rejected"][0];
    assert_eq!(rejected["strategy"], "cpu:f16", "{model}");
    assert!(rejected["reason"].as_str().unwrap().contains(reason), "{model}");
    let event = fleet.event("failed").await;
    assert_eq!(event["from"], "cpu:f16", "{event}");
    let status = fleet.status(|status| status["state"] == "degraded").await;
    assert!(status["reasons"].to_string().contains(reason), "{status}");
    let mut device = Device::connect(&broker, "dev").await;
    let answer = device.answer("generate", request("a", 2)).await;
    assert_eq!((&answer["event"], &answer["strategy"]), (&json!("result"), &json!("cpu:int8")), "{answer}");
    assert_eq!(node.engines().len(), 1, "the one that failed is gone");
    node.signal(Signal::TERM);
    assert_eq!(node.ended().await, Some(0), "the daemon was well all the time");
}

#[tokio::test]
async fn an_engine_that_aborts_while_it_loads() {
    steps_down(Signal::ABORT, "the engine process ended").await;
}

/// Kills the engine that loads a strategy for the so-manieth time, while it loads.
async fn kill_load(node: &Node, strategy: &str, time: usize) {
    let line = format!("loading {strategy}");
    until("it is loaded again", || (node.log().matches(&line).count() >= time).then_some(())).await;
    signal_pid(node.loading(strategy).await, Signal::KILL);
}

#[tokio::test]
async fn an_engine_that_somebody_kills_while_it_loads_is_loaded_again_and_jobs_wait() {
    let broker = Broker::start().await;
    let node = Node::start(&broker, &Setup { sequences: 1, ..Setup::default() });
    let mut device = Device::connect(&broker, "dev").await;
    kill_load(&node, "cpu:int4", 1).await;
    device.ask("generate", &json!({ "id": "a", "prompt": "Count.", "max_tokens": 2, "ack": true })).await;
    while device.next().await.json["event"] != "accepted" {}
    // More often than a strategy with an alternative would be tried.
    for time in 2..=4 {
        kill_load(&node, "cpu:int4", time).await;
    }
    let answer = device.outcome("a").await;
    assert_eq!(answer["event"], "result", "{answer}");
    node.wait_for_state(&broker, "ready").await;
}

#[tokio::test]
async fn the_next_strategy_serves_when_a_load_is_killed_three_times() {
    let broker = Broker::start().await;
    let mut fleet = Fleet::watch(&broker).await;
    let node = Node::start(&broker, &setup(""));
    for time in 1..=3 {
        kill_load(&node, "cpu:f16", time).await;
    }
    let model = fleet.model("main", |model| model["state"] == "ready").await;
    assert_eq!(model["strategy"], "cpu:int8", "{model}");
    assert!(model["rejected"][0]["reason"].as_str().unwrap().contains("the engine process was killed"), "{model}");
}

#[tokio::test]
async fn dry_runs_that_somebody_kills_or_stops_are_made_again() {
    let broker = Broker::start().await;
    for (signal, log) in [(Signal::KILL, "a dry run is made again"), (Signal::STOP, "it is tried again in")] {
        let tables = "[engine]\nheartbeat_timeout = \"1s\"".to_owned();
        let model = "ladder = [\"cpu:int4\"]".to_owned();
        let node = Node::start(&broker, &Setup { sequences: 1, model, tables, ..Setup::default() });
        // The first child makes one: no GPU is looked for.
        let child = until("a dry run", || node.engines().first().copied()).await;
        signal_pid(child, signal);
        node.wait_for_state(&broker, "ready").await;
        assert!(node.log().contains(log), "{}", node.log());
    }
}

#[tokio::test]
async fn an_engine_that_stalls_while_it_loads() {
    steps_down(Signal::STOP, "made no progress for").await;
}

#[tokio::test]
async fn three_crashes_make_the_next_strategy_serve_and_no_job_is_lost() {
    let broker = Broker::start().await;
    let mut fleet = Fleet::watch(&broker).await;
    let node = Node::ready(&broker, setup("[engine]\ncrash_quarantine = 10")).await;
    let mut device = Device::connect(&broker, "dev").await;
    let ids = ["run1", "run2", "wait1", "wait2"];
    for id in ids {
        device.ask("generate", &request(id, 100)).await;
    }
    // Those that wait are there when the first crash comes.
    device.ask("generate", &json!({ "id": "last", "prompt": "Hi", "max_tokens": 1, "ack": true })).await;
    while device.next().await.json["event"] != "accepted" {}
    for crash in 1..=3 {
        until("the strategy serves again", || {
            (node.log().matches("the model is ready").count() == crash).then_some(())
        })
        .await;
        signal_pid(node.engines()[0], Signal::KILL);
    }
    let model = fleet.model("main", |model| model["strategy"] == "cpu:int8" && model["state"] == "ready").await;
    assert_eq!(model["rejected"][0]["strategy"], "cpu:f16", "{model}");
    let down = fleet.event("stepped_down").await;
    assert_eq!((&down["from"], &down["to"]), (&json!("cpu:f16"), &json!("cpu:int8")), "{down}");
    assert!(down["took_ms"].is_u64(), "{down}");
    fleet.status(|status| status["state"] == "degraded" && status["reasons"].to_string().contains("killed")).await;
    let mut answered = Vec::new();
    for _ in 0..=ids.len() {
        let answer = device.outcome_of_any().await;
        assert_eq!((&answer["event"], &answer["strategy"]), (&json!("result"), &json!("cpu:int8")), "{answer}");
        answered.push(answer["id"].as_str().unwrap().to_owned());
    }
    answered.sort();
    assert_eq!(answered, ["last", "run1", "run2", "wait1", "wait2"]);
}
