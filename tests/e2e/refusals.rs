//! Requests that are good and can't be served all the same.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::{Broker, CAPITAL, Device, Heat, Node, Send, Setup};

#[tokio::test]
async fn a_full_queue_and_deadlines() {
    let broker = Broker::start().await;
    let tables = "[limits]\nqueue_jobs = 2\nqueue_jobs_per_client = 1\nmax_tokens_cap = 100000";
    let setup = Setup { sequences: 1, context: 8192, tables: tables.into(), ..Setup::default() };
    let _node = Node::ready(&broker, setup).await;
    let mut first = Device::connect(&broker, "first").await;
    let mut second = Device::connect(&broker, "second").await;
    let long = |id: &str, deadline: u64| {
        json!({
            "id": id, "prompt": "Hi", "max_tokens": 8000, "ignore_eos": true, "stream": true, "deadline_ms": deadline
        })
    };
    first.ask("generate", &long("running", 600_000)).await;
    assert_eq!(first.next().await.json["event"], "delta", "it runs");

    // One may wait for each client, two together.
    first.ask("generate", &long("waiting1", 600_000)).await;
    let refused = first.answer("generate", json!({ "id": "w2", "prompt": "Hi" })).await;
    assert_eq!((&refused["code"], &refused["retryable"]), (&json!("queue_full"), &json!(true)), "{refused}");
    second.ask("generate", &json!({ "id": "waiting2", "prompt": "Hi", "ack": true })).await;
    assert_eq!(second.next().await.json["position"], 1, "behind the first one's");
    let mut third = Device::connect(&broker, "third").await;
    assert_eq!(third.answer("generate", json!({ "id": "x", "prompt": "Hi" })).await["code"], "queue_full");
    first.send(Send::new("promptd/gw/cancel/first", r#"{"id":"waiting1"}"#)).await;
    assert_eq!(first.outcome("waiting1").await["code"], "cancelled");
    let late = third.answer("generate", json!({ "id": "y", "prompt": "Hi", "deadline_ms": 100 })).await;
    assert_eq!(late["code"], "deadline_exceeded", "it never ran: {late}");
    first.send(Send::new("promptd/gw/cancel/first", r#"{"id":"running"}"#)).await;
    assert_eq!(first.outcome("running").await["code"], "cancelled");
    assert_eq!(second.outcome("waiting2").await["event"], "result");

    first.ask("generate", &long("late", 2_000)).await;
    assert_eq!(first.outcome("late").await["code"], "deadline_exceeded", "it was stopped while it ran");
}

#[tokio::test]
async fn a_message_that_expires_soon_has_a_short_deadline() {
    let broker = Broker::start().await;
    let tables = "[limits]\nmax_tokens_cap = 100000".to_owned();
    let _node = Node::ready(&broker, Setup { sequences: 1, context: 8192, tables, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let request = json!({ "id": "e", "prompt": "Hi", "max_tokens": 8000, "ignore_eos": true });
    let mut message = Send::new("promptd/gw/request/generate/dev", request.to_string());
    message.properties.message_expiry_interval = Some(1);
    device.send(message).await;
    assert_eq!(device.outcome("e").await["code"], "deadline_exceeded");
}

/// A time so many seconds from now, as requests have it.
fn from_now(seconds: i64) -> String {
    (Timestamp::now() + SignedDuration::from_secs(seconds)).to_string()
}

#[tokio::test]
async fn a_deadline_counts_from_when_the_request_was_sent_if_the_clock_is_set() {
    let broker = Broker::start().await;
    let machine = Heat::without_trips(40.0);
    let setup = machine.setup(Setup { sequences: 1, ..Setup::default() });
    let node = Node::ready(&broker, setup).await;
    let mut device = Device::connect(&broker, "dev").await;
    let sent = |id: &str, seconds: i64| json!({ "id": id, "prompt": "Hi", "max_tokens": 2, "deadline_ms": 60_000, "sent_at": from_now(seconds) });
    // Nobody knows whether this node's clock is right.
    assert_eq!(device.answer("generate", sent("unknown", -100)).await["event"], "result");
    assert_eq!(device.answer("generate", sent("future", 100)).await["event"], "result");

    machine.sets_the_clock();
    let late = device.answer("generate", sent("late", -61)).await;
    assert_eq!((&late["code"], &late["retryable"]), (&json!("deadline_exceeded"), &json!(false)), "{late}");
    assert!(late["message"].as_str().unwrap().contains("deadline_ms is 60000"), "{late}");
    let ahead = device.answer("generate", sent("ahead", 100)).await;
    assert_eq!(ahead["code"], "invalid_request", "{ahead}");
    assert!(ahead["message"].as_str().unwrap().contains("allowed are 10 s"), "{ahead}");
    let fresh = device.answer("generate", sent("fresh", -1)).await;
    assert_eq!(fresh["event"], "result", "{fresh}");
    // What was answered once is answered again, however late.
    assert_eq!(device.answer("generate", sent("fresh", -1000)).await, fresh);
    let without = json!({ "id": "none", "prompt": "Hi", "max_tokens": 1, "sent_at": from_now(-1000) });
    assert_eq!(device.answer("generate", without).await["event"], "result", "the node's own counts from receipt");
    assert_eq!(node.operator_json(&["jobs"])["total"], 0);
}

#[tokio::test]
async fn without_a_usable_model() {
    let broker = Broker::start().await;
    let node = Node::start(&broker, &Setup { with_model: false, ..Setup::default() });
    node.wait_for_state(&broker, "no_model").await;
    let mut device = Device::connect(&broker, "dev").await;
    let ask = |id: &str| json!({ "id": id, "prompt": "Hi" });
    assert_eq!(device.answer("generate", ask("1")).await["code"], "no_model");
    drop(node);

    let wrong_hash = format!(
        "[[model]]\nname = \"main\"\nfiles = [{{ path = {:?}, sha256 = \"{}\" }}]",
        crate::harness::model(),
        "0".repeat(64)
    );
    let node = Node::start(&broker, &Setup { with_model: false, tables: wrong_hash, ..Setup::default() });
    let status = node.wait_for_state(&broker, "degraded").await;
    assert!(status["reasons"][0].as_str().unwrap().contains("SHA-256"), "{status}");
    let reply = device.answer("generate", ask("2")).await;
    assert_eq!(reply["code"], "model_unavailable", "{reply}");
    let message = reply["message"].as_str().unwrap();
    assert!(message.contains("SHA-256") && !message.contains('/'), "the file's name, not where it lies: {reply}");
}

#[tokio::test]
async fn a_model_that_fails_its_golden_prompt_does_not_serve() {
    let broker = Broker::start().await;
    let model = format!("golden_prompt = {CAPITAL:?}\ngolden_expect = \"(?i)paris\"");
    let good = Node::ready(&broker, Setup { sequences: 1, model, ..Setup::default() }).await;
    drop(good);
    let model = format!("golden_prompt = {CAPITAL:?}\ngolden_expect = \"^Berlin$\"");
    let bad = Node::start(&broker, &Setup { sequences: 1, model, ..Setup::default() });
    let status = bad.wait_for_state(&broker, "degraded").await;
    assert!(status["reasons"][0].as_str().unwrap().contains("golden_expect"), "{status}");
    let mut device = Device::connect(&broker, "dev").await;
    let reply: Value = device.answer("generate", json!({ "id": "1", "prompt": "Hi" })).await;
    assert_eq!(reply["code"], "model_unavailable", "{reply}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_an_error() {
    let broker = Broker::start().await;
    let tables = "[limits]\nresult = \"1KiB\"".to_owned();
    let _node = Node::ready(&broker, Setup { sequences: 1, tables, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let long = json!({ "id": "1", "prompt": "Tell me a story.", "max_tokens": 600, "ignore_eos": true });
    let reply = device.answer("generate", long).await;
    assert_eq!(reply["code"], "result_too_large", "{reply}");
    assert!(reply["message"].as_str().unwrap().contains("1024"), "{reply}");
}

#[tokio::test]
async fn an_answer_that_the_broker_would_not_take_is_an_error() {
    let broker = Broker::with("allow_anonymous true\nmax_packet_size 1500\n").await;
    let _node = Node::start(&broker, &Setup { sequences: 1, ..Setup::default() });
    let mut device = Device::connect(&broker, "dev").await;
    let long = json!({ "id": "1", "prompt": "Tell me a story.", "max_tokens": 600, "ignore_eos": true });
    // Its request waits at the broker until the node has subscribed; the node's own documents are larger than this broker.
    let reply = loop {
        device.ask("generate", &long).await;
        if let Some(reply) = device.soon().await {
            break reply.json;
        }
    };
    assert_eq!(reply["code"], "result_too_large", "{reply}");
    assert!(reply["message"].as_str().unwrap().contains("1500"), "{reply}");
}
