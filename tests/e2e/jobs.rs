//! Jobs that wait and run: what operators see of them and do with them, and whose turn it is.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use crate::harness::{Broker, Device, Node, Operator, Setup};

fn request(id: &str, tokens: u32) -> Value {
    json!({ "id": id, "prompt": "Count.", "max_tokens": tokens, "ignore_eos": true, "ack": true })
}

fn milliseconds(reply: &Value) -> f64 {
    reply["timings"]["total_ms"].as_f64().unwrap()
}

/// Asks, and waits until the node has taken it in.
async fn accepted(device: &mut Device, id: &str, tokens: u32) {
    device.ask("generate", &request(id, tokens)).await;
    while device.next().await.json["event"] != "accepted" {}
}

#[tokio::test]
async fn operators_see_jobs_and_cancel_one_or_those_of_a_client_or_all() {
    let broker = Broker::start().await;
    let tables = "[limits]\nmax_tokens_cap = 100000".to_owned();
    let node = Node::ready(&broker, Setup { sequences: 1, context: 4096, tables, ..Setup::default() }).await;
    let mut first = Device::connect(&broker, "first").await;
    let mut second = Device::connect(&broker, "second").await;
    for id in ["runs", "waits", "waits2"] {
        accepted(&mut first, id, 4000).await;
    }
    accepted(&mut second, "other", 4000).await;

    let document = node.operator_json(&["jobs"]);
    assert_eq!(document["total"], 4, "{document}");
    let jobs = document["jobs"].as_array().unwrap();
    let shown: Vec<(&Value, &Value, &Value)> =
        jobs.iter().map(|job| (&job["client"], &job["id"], &job["state"])).collect();
    let expected = [("first", "runs", "running"), ("first", "waits", "waiting"), ("first", "waits2", "waiting")];
    for (shown, (client, id, state)) in shown.iter().zip(expected) {
        assert_eq!(*shown, (&json!(client), &json!(id), &json!(state)), "{document}");
    }
    assert!(!document.to_string().contains("Count"), "no prompts: {document}");
    assert_eq!(node.operator_json(&["jobs", "second"])["total"], 1);
    let table = String::from_utf8(node.operator(&["jobs"]).stdout).unwrap();
    assert!(table.contains("waits2") && table.contains("running") && table.lines().count() == 5, "{table}");

    assert_eq!(node.operator_json(&["cancel", "first", "waits"])["cancelled"], 1);
    assert_eq!(first.outcome("waits").await["code"], "cancelled");
    let gone = node.operator(&["cancel", "first", "waits"]);
    let text = String::from_utf8(gone.stderr).unwrap();
    assert!(gone.status.code() == Some(1) && text.contains("no open job waits of the client first"), "{text}");

    assert_eq!(node.operator_json(&["cancel", "first"])["cancelled"], 2);
    // The one that runs ends last.
    for id in ["waits2", "runs"] {
        assert_eq!(first.outcome(id).await["code"], "cancelled", "{id}");
    }
    let mut operator = Operator::connect(&broker).await;
    assert_eq!(operator.does("cancel", json!({ "all": true })).await["cancelled"], 1);
    let reply = second.outcome("other").await;
    let message = reply["message"].as_str().unwrap();
    assert!(reply["code"] == "cancelled" && message.contains("an operator cancelled it"), "{reply}");
    assert_eq!(operator.does("jobs", json!({})).await, json!({ "total": 0, "jobs": [] }));
    assert_eq!(first.answer("generate", request("after", 4)).await["event"], "result");
}

#[tokio::test]
async fn a_client_that_floods_the_node_does_not_keep_it_from_others() {
    let broker = Broker::start().await;
    let tables = "[limits]\nqueue_jobs = 1100\nqueue_jobs_per_client = 1000".to_owned();
    let mqtt = "outbox_max = 2048".to_owned();
    let _node = Node::ready(&broker, Setup { sequences: 1, tables, mqtt, ..Setup::default() }).await;
    let flood = Device::connect(&broker, "flood").await;
    let mut other = Device::connect(&broker, "other").await;
    let mut alone = Vec::new();
    for turn in 0..10 {
        alone.push(milliseconds(&other.answer("generate", request(&format!("alone{turn}"), 4)).await));
    }
    // Sees all that is answered, in the order of the answers.
    let mut watcher = Device::connect(&broker, "watcher").await;
    watcher.subscribe("promptd/gw/response/#").await;
    for number in 0..1000 {
        flood.ask("generate", &json!({ "id": number.to_string(), "prompt": "Count.", "max_tokens": 4 })).await;
    }
    watcher.outcome_of_any().await;
    let mut beside = Vec::new();
    for turn in 0..10 {
        other.ask("generate", &request(&turn.to_string(), 4)).await;
        let (mut accepted, mut before) = (false, 0);
        let reply = loop {
            let reply = watcher.next().await;
            if reply.topic == format!("promptd/gw/response/other/{turn}") {
                match reply.json["event"].as_str() {
                    Some("accepted") => accepted = true,
                    _ => break reply.json,
                }
            } else if accepted {
                before += 1;
            }
        };
        assert_eq!(reply["event"], "result", "{reply}");
        // The one that ran when it came, and one whose turn it was.
        assert!(before <= 2, "{before} of the flood were before it in turn {turn}");
        beside.push(milliseconds(&reply));
    }
    for (how, times) in [("alone", &mut alone), ("beside 1000 jobs of another client", &mut beside)] {
        times.sort_by(f64::total_cmp);
        eprintln!("{how}: from receipt to answer {:.0} ms in the middle, {:.0} ms at most", times[5], times[9]);
    }
}

/// From receipt to answer, of so many jobs of which one comes each second: the 95th of a hundred, in milliseconds.
async fn one_a_second(device: &mut Device, name: &str, jobs: usize) -> f64 {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut times = Vec::new();
    for turn in 0..jobs {
        second.tick().await;
        let reply = device.answer("generate", request(&format!("{name}{turn}"), 32)).await;
        assert_eq!(reply["event"], "result", "{reply}");
        times.push(milliseconds(&reply));
    }
    times.sort_by(f64::total_cmp);
    eprintln!("{name}: {:.0} ms in the middle, {:.0} ms at most", times[jobs / 2], times[jobs - 1]);
    times[(jobs * 95).div_ceil(100) - 1]
}

#[tokio::test]
async fn one_job_a_second_waits_little_longer_beside_a_flood() {
    let broker = Broker::start().await;
    let tables = "[limits]\nqueue_jobs = 1100\nqueue_jobs_per_client = 1000".to_owned();
    let mqtt = "outbox_max = 2048".to_owned();
    let node = Node::ready(&broker, Setup { sequences: 1, tables, mqtt, ..Setup::default() }).await;
    let mut flood = Device::connect(&broker, "flood").await;
    let mut other = Device::connect(&broker, "other").await;
    let alone = one_a_second(&mut other, "alone", 8).await;
    for number in 0..1000 {
        flood.ask("generate", &request(&number.to_string(), 16)).await;
    }
    while flood.next().await.json["event"] != "result" {}
    let beside = one_a_second(&mut other, "beside", 15).await;
    let waiting = node.operator_json(&["jobs", "flood"])["total"].as_u64().unwrap();
    eprintln!("p95 alone {alone:.0} ms, beside a flood {beside:.0} ms; {waiting} of the flood still wait");
    assert!(waiting > 0, "the flood was there all the time");
    assert!(beside <= 3.0 * alone, "{beside} ms, alone {alone} ms");
}
