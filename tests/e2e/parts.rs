//! Answers that the broker does not take as one message.

use serde_json::{Value, json};

use crate::harness::contract::Contract;
use crate::harness::{Broker, Device, Heat, Node, Reply, Setup, promptd};

/// Larger than the node's own documents.
const PACKET_MAX: usize = 5000;

const OPEN: &str = "allow_anonymous true\npersistence false\n";

/// With alternatives to each token an answer of a few tokens is large.
fn large(id: &str) -> Value {
    json!({ "id": id, "prompt": "Count.", "max_tokens": 40, "ignore_eos": true, "logprobs": 5, "ref": "r", "x_a": "\"ä\"" })
}

fn large_in_parts(id: &str) -> Value {
    let mut request = large(id);
    request["parts"] = json!(true);
    request
}

/// The next parts, from the first to the last, and the text that they make.
async fn parts(device: &mut Device, id: &str) -> (Vec<Reply>, String) {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut contract = Contract::committed();
    loop {
        let part = device.next().await;
        let Reply { json, qos, payload, .. } = &part;
        assert_eq!((&json["event"], &json["id"], *qos), (&json!("part"), &json!(id), 1), "{json}");
        assert_eq!((&json["ref"], &json["x_a"], &json["node"]), (&json!("r"), &json!("\"ä\""), &json!("gw")), "{json}");
        assert_eq!(json["seq"], parts.len(), "in order");
        assert!(payload.len() < PACKET_MAX, "{}", payload.len());
        contract.check(&part);
        text.push_str(json["text"].as_str().unwrap());
        let of = json["of"].as_u64().unwrap();
        parts.push(part);
        if parts.len() as u64 == of {
            return (parts, text);
        }
    }
}

fn limited(packet_max: usize) -> String {
    format!("{OPEN}max_packet_size {packet_max}\n")
}

#[tokio::test]
async fn who_asks_for_parts_gets_what_the_broker_does_not_take_whole() {
    let mut broker = Broker::with(&limited(PACKET_MAX)).await;
    // With few sensors, so that `health` is small everywhere.
    let machine = Heat::without_trips(40.0);
    let setup = || machine.setup(Setup { sequences: 1, ..Setup::default() });
    let mut node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;

    let refused = device.answer("generate", large("whole")).await;
    assert_eq!(refused["code"], "result_too_large", "{refused}");
    device.ask("generate", &large_in_parts("1")).await;
    let (first, text) = parts(&mut device, "1").await;
    assert!(first.len() > 1 && text.len() > PACKET_MAX, "{}", text.len());
    let result: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&result["event"], &result["id"], &result["ref"]),
        (&json!("result"), &json!("1"), &json!("r")),
        "{text}"
    );
    assert_eq!(result["logprobs"].as_array().unwrap().len(), 40);
    // What fits comes as one message all the same.
    let small = json!({ "id": "small", "prompt": "Hi", "max_tokens": 2, "parts": true });
    assert_eq!(device.answer("generate", small).await["event"], "result");

    // Who asks again gets the same, from this run, from an operator, and from the next run.
    device.ask("generate", &large_in_parts("1")).await;
    assert_eq!(parts(&mut device, "1").await.1, text);
    assert_eq!(node.operator_json(&["fetch", "dev", "1"])["fetched"], 1);
    assert_eq!(parts(&mut device, "1").await.1, text);
    node.restart(&setup());
    node.wait_for_state(&broker, "ready").await;
    device.ask("generate", &large_in_parts("1")).await;
    assert_eq!(parts(&mut device, "1").await.1, text, "after a crash");

    // A broker that takes less gets smaller ones, and one that takes more the message itself.
    broker.kill();
    broker.settings(&limited(PACKET_MAX / 2));
    broker.up().await;
    // It is subscribed again.
    node.wait_for_state(&broker, "ready").await;
    let mut device = Device::connect(&broker, "dev").await;
    device.ask("generate", &large_in_parts("1")).await;
    let (again, same) = parts(&mut device, "1").await;
    assert!(again.len() > first.len() && same == text, "{} parts", again.len());
    // Who asks again before all of it is there gets all of it each time, one after the other.
    for _ in 0..3 {
        device.ask("generate", &large_in_parts("1")).await;
    }
    for _ in 0..3 {
        assert_eq!(parts(&mut device, "1").await.1, text);
    }
    // An error has no parts, and goes without what would make it too large.
    let id = "i".repeat(64);
    let bad = json!({ "id": id, "ref": "r".repeat(256), "x_a": "x".repeat(2000) });
    let refused = device.answer("generate", bad).await;
    assert_eq!((&refused["code"], refused["ref"].as_str().unwrap().len()), (&json!("invalid_request"), 256));
    assert!(refused.get("x_a").is_none(), "{refused}");
    broker.kill();
    broker.settings(OPEN);
    broker.up().await;
    // It is subscribed again.
    node.wait_for_state(&broker, "ready").await;
    let mut device = Device::connect(&broker, "dev").await;
    assert_eq!(device.answer("generate", large_in_parts("1")).await, result);
}

#[tokio::test]
async fn ask_puts_parts_together() {
    let broker = Broker::with(&limited(PACKET_MAX)).await;
    let node = Node::ready(&broker, Setup { sequences: 1, ..Setup::default() }).await;
    let mut command = promptd();
    command.args(["ask", "--json", "--task", "generate", "--set", "logprobs=5", "--set", "ignore_eos=true"]);
    command.args(["--max-tokens", "40", "--config"]).arg(node.config()).arg("Count.");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.stdout.len() > PACKET_MAX, "{}", output.stdout.len());
    assert_eq!((&result["event"], result["logprobs"].as_array().unwrap().len()), (&json!("result"), 40), "{result}");
}
