//! The way to the broker changes while the node runs.

use std::fs;

use serde_json::json;

use crate::harness::{Broker, Device, Node, Reply, Setup, until};

fn setup() -> Setup {
    Setup { sequences: 1, ..Setup::default() }
}

fn connects(node: &Node) -> usize {
    node.log().matches("connected to the broker").count()
}

#[tokio::test]
async fn a_node_moves_to_another_broker_with_all_that_it_has_accepted() {
    let (old, new) = (Broker::start().await, Broker::start().await);
    let node = Node::ready(&old, setup()).await;
    let mut left = Device::connect(&old, "left").await;
    left.subscribe("promptd/gw/availability").await;
    let mut device = Device::connect(&old, "dev").await;
    let mut ahead = Device::connect(&new, "dev").await;
    let engines = node.engines();
    for number in 0..5 {
        let id = format!("job{number}");
        let request = json!({ "id": id, "prompt": "Count.", "max_tokens": 40, "ignore_eos": true, "ack": true });
        device.ask("generate", &request).await;
    }
    // What has ended before the move is answered where it was asked.
    let mut ids: Vec<String> = Vec::new();
    let mut accepted = 0;
    while accepted < 5 {
        let reply = device.next().await.json;
        match reply["event"].as_str() {
            Some("accepted") => accepted += 1,
            _ => ids.push(reply["id"].as_str().unwrap().to_owned()),
        }
    }
    node.configure(&new, &setup());
    let answer = node.operator_json(&["reload"]);
    assert_eq!(answer["changed"], json!(["mqtt.url"]), "{answer}");
    while let Some(reply) = device.now() {
        ids.push(reply.json["id"].as_str().unwrap().to_owned());
    }
    while ids.len() < 5 {
        let end = ahead.outcome_of_any().await;
        assert_eq!(end["event"], "result", "{end}");
        ids.extend(end["id"].as_str().filter(|id| !ids.iter().any(|known| known == id)).map(str::to_owned));
    }
    ids.sort();
    assert_eq!(ids, ["job0", "job1", "job2", "job3", "job4"]);
    while left.next().await.payload.as_ref() != b"offline" {}
    node.wait_for_state(&new, "ready").await;
    let answer = ahead.answer("generate", json!({ "id": "here", "prompt": "Hi", "max_tokens": 2 })).await;
    assert_eq!(answer["event"], "result", "{answer}");
    assert_eq!(node.engines(), engines);
}

#[tokio::test]
async fn a_new_password_is_taken_and_an_old_one_disturbs_nobody() {
    let mut broker = Broker::absent("");
    let passwords = broker.password_file("node", "first");
    broker.settings(&format!("password_file {}\nallow_anonymous true\n", passwords.display()));
    broker.up().await;
    let credential = broker.folder().join("credential");
    fs::write(&credential, "first").unwrap();
    let mqtt = format!("username = \"node\"\npassword_credential = {:?}", credential.display().to_string());
    let node = Node::ready(&broker, Setup { mqtt, ..setup() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    device.subscribe("promptd/gw/availability").await;
    assert_eq!(device.next().await.payload.as_ref(), b"online");
    node.operator_json(&["reload"]);
    assert_eq!(connects(&node), 1, "nothing is new");

    broker.password_file("node", "second");
    broker.reload();
    fs::write(&credential, "second").unwrap();
    let answer = node.operator_json(&["reload"]);
    assert_eq!(answer["changed"], json!([]), "{answer}");
    until("it connects with the new one", || (connects(&node) == 2).then_some(())).await;
    let answer = device.answer("generate", json!({ "id": "a", "prompt": "Hi", "max_tokens": 2 })).await;
    assert_eq!(answer["event"], "result", "{answer}");
    let gone = |reply: &Reply| reply.topic == "promptd/gw/availability" && reply.payload != "online";
    assert!(!std::iter::from_fn(|| device.now()).any(|reply| gone(&reply)), "nobody has seen it go");
    assert!(!node.log().contains("second"));
}
