//! Nodes that share work: the broker deals it out among those that are well.

use std::collections::{BTreeMap, BTreeSet};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::http::{free_port, page, sum};
use crate::harness::{Broker, Device, Node, Operator, Send, Setup, until};

fn member(node: &'static str) -> Setup {
    Setup { node, node_lines: "groups = [\"line\"]", sequences: 2, ..Setup::default() }
}

async fn members(broker: &Broker, names: &[&'static str]) -> Vec<Node> {
    let mut nodes = Vec::new();
    for name in names {
        let node = Node::ready(broker, member(name)).await;
        until("it takes part", || node.log().contains("work for groups is taken").then_some(())).await;
        nodes.push(node);
    }
    nodes
}

async fn ask(device: &Device, id: &str) {
    let request = json!({ "id": id, "prompt": "Count.", "max_tokens": 16, "ignore_eos": true });
    device.send(Send::new("promptd/group/line/request/generate/dev", request.to_string())).await;
}

/// Who has answered which job; asks again for what is not answered within a few seconds, as a device would.
async fn answers(device: &mut Device, jobs: usize) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    while all.len() < jobs {
        let Some(reply) = device.soon().await else {
            for job in 0..jobs {
                if !all.contains_key(&job.to_string()) {
                    ask(device, &job.to_string()).await;
                }
            }
            continue;
        };
        let text = |name: &str| reply.json[name].as_str().unwrap_or_default().to_owned();
        if text("event") == "result" {
            all.entry(text("id")).or_default().insert(text("node"));
        }
    }
    all
}

fn nodes_of(answers: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<&str> {
    answers.values().flatten().map(String::as_str).collect()
}

#[tokio::test]
async fn three_nodes_share_the_work_and_one_that_is_killed_leaves_it_to_the_others() {
    let broker = Broker::start().await;
    let nodes = members(&broker, &["n1", "n2", "n3"]).await;
    let mut device = Device::connect(&broker, "dev").await;
    device.subscribe("promptd/+/response/dev/#").await;
    for job in 0..30 {
        ask(&device, &job.to_string()).await;
    }
    // Under load: it has answered something, and most is to come.
    while device.next().await.json["node"] != "n1" {}
    nodes[0].signal(Signal::KILL);
    let answers = answers(&mut device, 30).await;
    assert!(nodes_of(&answers).is_superset(&["n2", "n3"].into()), "{answers:?}");
}

#[tokio::test]
async fn metrics_tell_of_both_connections() {
    let broker = Broker::start().await;
    let port = free_port();
    let tables = format!("[telemetry]\nhttp = \"127.0.0.1:{port}\"\n");
    let node = Node::ready(&broker, Setup { tables, ..member("gw") }).await;
    until("it takes part", || node.log().contains("work for groups is taken").then_some(())).await;
    let mut device = Device::connect(&broker, "dev").await;
    ask(&device, "0").await;
    answers(&mut device, 1).await;
    let count = |metrics: &str, link: &str| sum(metrics, "promptd_mqtt_messages_received_total", link);
    let metrics = until("the request is counted", || {
        let metrics = page(port, "/metrics").body;
        (count(&metrics, "link=\"groups\"") >= Some(1.0)).then_some(metrics)
    })
    .await;
    assert_eq!(count(&metrics, "link=\"node\""), Some(0.0), "it came on the other");
    assert_eq!(sum(&metrics, "promptd_mqtt_connected", ""), Some(2.0));
}

#[tokio::test]
async fn who_drains_takes_no_more_and_operators_reach_everybody() {
    let broker = Broker::start().await;
    let nodes = members(&broker, &["gw", "n2"]).await;
    let mut device = Device::connect(&broker, "dev").await;
    device.subscribe("promptd/+/response/dev/#").await;
    let mut operator = Operator::connect(&broker).await;
    assert_eq!(operator.does("info", json!({})).await["groups"], json!(["line"]));
    operator.does("drain", json!({})).await;
    until("it leaves", || nodes[0].log().contains("left to other nodes").then_some(())).await;
    for job in 0..6 {
        ask(&device, &job.to_string()).await;
    }
    let all = answers(&mut device, 6).await;
    assert_eq!(nodes_of(&all), ["n2"].into(), "{all:?}");
    // Both members hear what is said to the group.
    let mut watcher = Device::connect(&broker, "watcher").await;
    watcher.subscribe("promptd/+/response/control/#").await;
    watcher.send(Send::new("promptd/group/line/control/resume", r#"{"id":"all"}"#)).await;
    let mut heard = BTreeSet::new();
    while heard.len() < 2 {
        let reply: Value = watcher.next().await.json;
        assert_eq!((&reply["id"], &reply["event"]), (&json!("all"), &json!("result")), "{reply}");
        heard.insert(reply["node"].as_str().unwrap().to_owned());
    }
    until("it is back", || (nodes[0].log().matches("work for groups is taken").count() == 2).then_some(())).await;
}
