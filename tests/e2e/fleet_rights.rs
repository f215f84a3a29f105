//! A node, devices, a monitor and an operator do their work at a broker that lets each do no more than that.

use serde_json::{Value, json};

use crate::harness::{Broker, CAPITAL, Device, Fleet, Node, Operator, Send, Setup};

#[tokio::test]
async fn everybody_can_do_the_work_of_his_role_and_nobody_anothers() {
    let users = ["node gw", "device dev", "device spy", "monitor watcher", "monitor fleet", "operator alice"];
    let broker = Broker::of_fleet(&users).await;
    let password = broker.password_of("gw");
    let mqtt = format!("username = \"gw\"\npassword_credential = {password:?}\n");
    let node = Node::ready(&broker, Setup { mqtt, ..Setup::default() }).await;
    let mut fleet = Fleet::watch(&broker).await;
    fleet.model("main", |model| model["state"] == "ready").await;

    let mut spy = Device::connect(&broker, "spy").await;
    // Accepted; the broker drops what it may not read.
    for filter in ["promptd/gw/response/dev/#", "promptd/+/request/+/+", "#"] {
        spy.subscribe(filter).await;
    }
    let mut device = Device::connect(&broker, "dev").await;
    let answer = device.answer("generate", json!({ "id": "1", "prompt": CAPITAL, "max_tokens": 24 })).await;
    assert!(answer["output"].as_str().unwrap().contains("Paris"), "{answer}");
    let mut streamed = json!({ "id": "2", "prompt": "Count to three.", "max_tokens": 8, "ignore_eos": true });
    streamed["stream"] = json!(true);
    device.ask("generate", &streamed).await;
    assert_eq!(device.next().await.json["event"], "delta");
    assert_eq!(device.outcome("2").await["event"], "result");

    // What the broker drops: orders of a device, and its requests in another's name.
    spy.send(Send::new("promptd/gw/control/drain", "{}")).await;
    spy.send(Send::new("promptd/gw/request/generate/dev", "{\"id\":\"forged\",\"prompt\":\"Hi\"}")).await;
    spy.send(Send::new("promptd/gw/cancel/dev", "{\"id\":\"1\"}")).await;
    spy.ask("generate", &json!({ "id": "own", "prompt": "Hi", "max_tokens": 1 })).await;
    // Its own answer, and how it came about.
    let may_read = ["promptd/gw/response/spy/own", "promptd/gw/jobs/spy/own"];
    loop {
        let read = spy.next().await;
        assert!(may_read.contains(&read.topic.as_str()), "a device read what is another's: {}", read.topic);
        if read.json["event"] == "result" {
            break;
        }
    }

    // With the node's own user, as the client `doctor`.
    let examined = node.operator(&["doctor", "--json"]);
    let examined: Value = serde_json::from_slice(&examined.stdout).unwrap();
    let of_topics = examined["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == "topics");
    let levels: Vec<&Value> = of_topics.map(|finding| &finding["level"]).collect();
    assert!(levels.len() >= 5 && levels.iter().all(|level| *level == "pass"), "{examined}");

    let mut operator = Operator::connect_as(&broker, "alice").await;
    assert_eq!(operator.does("drain", json!({})).await["state"], "draining");
    fleet.status(|status| status["state"] == "draining").await;
    let refused = device.answer("generate", json!({ "id": "3", "prompt": "Hi", "max_tokens": 1 })).await;
    assert_eq!(refused["code"], "draining", "{refused}");
    assert_eq!(operator.does("resume", json!({})).await["state"], "ready");
    assert_eq!(operator.does("unload", json!({ "model": "main" })).await["state"], "unloaded");
    assert_eq!(fleet.event("unloaded").await["model"], "main");

    assert_eq!(device.now().map(|reply| reply.topic), None, "the forged request was answered");
    while let Some(reply) = spy.now() {
        assert!(may_read.contains(&reply.topic.as_str()), "a device read what is another's: {}", reply.topic);
    }
    assert!(!node.log().contains("authorized"), "the broker denied the node something:\n{}", node.log());
}
