//! The contract of the interface: every example of it is answered as it says, and every message of a node is as it says.

use serde_json::{Value, json};

use crate::harness::contract::{Contract, Example};
use crate::harness::{Broker, Device, Node, PATIENCE, Reply, Send, Setup, files};

/// What takes a broker that refuses large packets: the tests of parts check them.
const SEEN_ELSEWHERE: [&str; 1] = ["part"];

/// A node with the models that the examples name. It tells its numbers often.
fn setup() -> Setup {
    let file = files::embedder();
    let file = file.display();
    let tables = format!(
        "[telemetry]\ninterval = \"1s\"\n[[model]]\nname = \"minilm\"\nfiles = [{{ path = \"{file}\" }}]\nthreads = 1\n"
    );
    Setup { sequences: 2, model: "default = true".to_owned(), tables, ..Setup::default() }
}

/// Where an example goes, and where its answer comes.
fn topics(example: &Example) -> (String, String) {
    let id = example.payload["id"].as_str().expect("each example has an id");
    match example.message.split_once('-') {
        Some(("request", task)) => (format!("promptd/gw/request/{task}/cam"), format!("promptd/gw/response/cam/{id}")),
        Some(("control", verb)) => (format!("promptd/gw/control/{verb}"), format!("promptd/gw/response/control/{id}")),
        _ => ("promptd/gw/cancel/cam".to_owned(), format!("promptd/gw/response/cam/{id}")),
    }
}

/// The message that ends a request; a bare text does, too.
async fn answer(device: &mut Device, topic: &str) -> Reply {
    loop {
        let reply = device.next().await;
        let event = reply.json["event"].as_str().unwrap_or_default();
        if reply.topic == topic && !["accepted", "delta", "progress"].contains(&event) {
            return reply;
        }
    }
}

fn what_it_is(reply: &Reply) -> String {
    match reply.json["event"].as_str() {
        Some("error") => reply.json["code"].as_str().unwrap().to_owned(),
        Some(event) => event.to_owned(),
        None => "text".to_owned(),
    }
}

/// One that is to be cancelled is cancelled once it is accepted.
async fn cancel(device: &mut Device, topic: &str, id: &Value) {
    loop {
        let reply = device.next().await;
        if reply.topic == topic && reply.json["event"] == "accepted" {
            break;
        }
    }
    device.send(Send::new("promptd/gw/cancel/cam", json!({ "id": id }).to_string())).await;
}

#[tokio::test]
async fn every_example_is_answered_as_it_says_and_every_message_is_as_it_says() {
    let mut contract = Contract::committed();
    let broker = Broker::start().await;
    let mut watcher = Device::connect(&broker, "watcher").await;
    watcher.subscribe("promptd/#").await;
    let _node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "cam").await;
    device.subscribe("promptd/gw/response/control/#").await;

    for example in Contract::examples() {
        let (topic, response) = topics(&example);
        contract.check_value(&example.message, &example.payload);
        device.send(Send::new(&topic, example.payload.to_string())).await;
        if example.answer == "cancelled" {
            cancel(&mut device, &response, &example.payload["id"]).await;
        }
        let reply = answer(&mut device, &response).await;
        let Example { message, name, answer, .. } = &example;
        assert_eq!(what_it_is(&reply), *answer, "{message}, {name}: {}", reply.json);
    }
    // A request that is the text alone, whose id is the node's.
    device.send(Send::new("promptd/gw/request/generate/cam", "What is the capital of France?")).await;
    let result = device.outcome_of_any().await;
    assert_eq!(result["event"], "result", "{result}");
    // A model that is there already loads without a word about how far it is.
    for (verb, id) in [("unload", "n1"), ("load", "n2")] {
        let request = json!({ "id": id, "model": "main" });
        device.send(Send::new(&format!("promptd/gw/control/{verb}"), request.to_string())).await;
        let reply = answer(&mut device, &format!("promptd/gw/response/control/{id}")).await;
        assert_eq!(what_it_is(&reply), "result", "{}", reply.json);
    }

    let start = std::time::Instant::now();
    while contract.unseen() != SEEN_ELSEWHERE {
        let patience = start.elapsed() < PATIENCE;
        let message = if patience { watcher.try_next().await } else { None };
        let message = message.unwrap_or_else(|| panic!("never seen: {:?}", contract.unseen()));
        contract.check(&message);
    }
    while let Some(message) = watcher.now() {
        contract.check(&message);
    }
}

#[test]
fn a_field_that_the_contract_does_not_name_is_found_at_any_depth() {
    let found = |kind: &'static str, value: Value| {
        std::panic::catch_unwind(|| Contract::committed().check_value(kind, &value)).is_err()
    };
    let delta = |more: Value| {
        let mut delta =
            json!({ "event": "delta", "id": "1", "node": "gw", "seq": 0, "index": 0, "text": "a", "x_mine": 1 });
        delta.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        delta
    };
    assert!(!found("delta", delta(json!({}))));
    assert!(found("delta", delta(json!({ "more": 1 }))) && found("delta", delta(json!({ "seq": "0" }))));
    let health = |more: Value| json!({ "uptime_s": 1, "memory": { "swap": more } });
    assert!(!found("health", health(json!({ "total_bytes": 2, "free_bytes": 1 }))));
    assert!(found("health", health(json!({ "total_bytes": 2, "free_byte": 1 }))));
    let output = |label: &str| json!([{ label: "fault", "score": 0.5 }]);
    let result = |output: Value| {
        json!({
            "event": "result", "id": "1", "node": "gw", "task": "classify", "output": output, "finish": "stop", "model": "main",
            "strategy": "cpu:int4", "usage": { "prompt_tokens": 1, "cached_tokens": 0, "generated_tokens": 0 },
            "timings": { "queue_ms": 0, "prefill_ms": 0.5, "decode_ms": 0, "total_ms": 1 }, "deltas": 0,
        })
    };
    assert!(!found("result", result(output("label"))) && found("result", result(output("lable"))));
}
