//! Urgent jobs take the sequences of those that can wait, which go on afterwards.

use std::collections::HashMap;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Broker, Device, Node, Send, Setup, http, signal_pid, until, words};

/// A job that can wait, and streams.
fn low(id: &str, prompt: &str, tokens: u32) -> Value {
    json!({
        "id": id, "prompt": prompt, "max_tokens": tokens, "ignore_eos": true, "stream": true, "priority": "low",
        "repeat_penalty": 1.1, "temperature": 0.7, "seed": 7,
    })
}

/// A job that cannot.
fn high(id: &str, tokens: u32) -> Value {
    json!({ "id": id, "prompt": "Count.", "max_tokens": tokens, "ignore_eos": true, "priority": "high", "stream": true })
}

/// A node and the port of its metrics.
async fn node(broker: &Broker, sequences: u32, engine: &str) -> (Node, u16) {
    let port = http::free_port();
    let tables = format!(
        "[engine]\n{engine}\n[telemetry]\nhttp = \"127.0.0.1:{port}\"\n[limits]\nmax_tokens = 4000\nmax_tokens_cap = 4000"
    );
    let setup = Setup { sequences, context: 4096 / sequences, tables, ..Setup::default() };
    (Node::ready(broker, setup).await, port)
}

fn preemptions(port: u16) -> String {
    let count = http::sum(&http::page(port, "/metrics").body, "promptd_preemptions_total", "").unwrap();
    count.to_string()
}

/// Asks, and waits until some of the answer is there.
async fn runs(device: &mut Device, request: &Value) -> String {
    device.ask("generate", request).await;
    loop {
        let message = device.next().await.json;
        if message["event"] == "delta" && message["id"] == request["id"] {
            return message["text"].as_str().unwrap().to_owned();
        }
    }
}

/// The same answer comes of a job that made room once and of one that nobody disturbed.
async fn goes_on(prompt: &str, tokens: u32) {
    let broker = Broker::start().await;
    let (node, port) = node(&broker, 1, "reproducible = true").await;
    let mut batch = Device::connect(&broker, "batch").await;
    let mut alarm = Device::connect(&broker, "alarm").await;
    batch.ask("generate", &low("alone", prompt, tokens)).await;
    let alone = batch.outcome("alone").await;

    let mut text = runs(&mut batch, &low("parked", prompt, tokens)).await;
    alarm.ask("generate", &high("urgent", 8)).await;
    let urgent = alarm.outcome("urgent").await;
    assert_eq!(urgent["event"], "result", "{urgent}");
    let document = node.operator_json(&["jobs"]);
    assert_eq!(document["total"], 1, "the urgent one was first: {document}");
    let parked = loop {
        let message = batch.next().await.json;
        match message["event"].as_str() {
            Some("delta") => text.push_str(message["text"].as_str().unwrap()),
            _ => break message,
        }
    };
    assert_eq!(parked["output"], alone["output"]);
    assert_eq!((&parked["usage"], &parked["finish"]), (&alone["usage"], &alone["finish"]));
    assert_eq!(parked["output"], text, "no delta is lost, and none comes twice");
    assert_eq!(preemptions(port), "1");
}

#[tokio::test]
async fn a_job_that_made_room_goes_on_from_where_it_was() {
    goes_on("Tell a long story about a lighthouse.", 300).await;
}

/// The memory of such a context is more than is kept.
#[tokio::test]
async fn what_is_not_kept_of_a_job_that_made_room_is_computed_once_more() {
    goes_on(&words(1700, 5), 30).await;
}

#[tokio::test]
async fn a_job_that_has_made_room_can_be_cancelled_and_outlives_its_engine() {
    let broker = Broker::start().await;
    let (node, port) = node(&broker, 1, "").await;
    let mut batch = Device::connect(&broker, "batch").await;
    let mut alarm = Device::connect(&broker, "alarm").await;
    let mut watcher = Device::connect(&broker, "watcher").await;
    watcher.subscribe("promptd/gw/jobs/batch/#").await;

    runs(&mut batch, &low("cancelled", "Count.", 3000)).await;
    runs(&mut alarm, &high("first", 3000)).await;
    until("the job is parked", || {
        (node.operator_json(&["jobs", "batch"])["jobs"][0]["state"] == "parked").then_some(())
    })
    .await;
    assert_eq!(node.operator_json(&["cancel", "batch", "cancelled"])["cancelled"], 1);
    assert_eq!(batch.outcome("cancelled").await["code"], "cancelled");

    // Behind the urgent one it waits; then it is cut off in its deadline.
    let mut late = low("late", "Count.", 3000);
    late["deadline_ms"] = json!(1500);
    assert_eq!(node.operator_json(&["cancel", "alarm"])["cancelled"], 1);
    assert_eq!(alarm.outcome("first").await["code"], "cancelled");
    runs(&mut batch, &late).await;
    runs(&mut alarm, &high("second", 3000)).await;
    assert_eq!(batch.outcome("late").await["code"], "deadline_exceeded");
    assert_eq!(node.operator_json(&["cancel", "alarm"])["cancelled"], 1);
    assert_eq!(alarm.outcome("second").await["code"], "cancelled");

    runs(&mut batch, &low("outlives", "Count.", 200)).await;
    runs(&mut alarm, &high("third", 500)).await;
    signal_pid(node.engines()[0], Signal::KILL);
    assert_eq!(alarm.outcome("third").await["event"], "result");
    let outlives = batch.outcome("outlives").await;
    assert_eq!(
        (&outlives["event"], &outlives["usage"]["generated_tokens"]),
        (&json!("result"), &json!(200)),
        "{outlives}"
    );
    assert_eq!(preemptions(port), "3");

    let mut states = Vec::new();
    while states.last().is_none_or(|state| state != "ended outlives") {
        let message = watcher.next().await;
        let id = message.topic.rsplit('/').next().unwrap().to_owned();
        states.push(format!("{} {id}", message.json["state"].as_str().unwrap()));
    }
    let of = |id: &str| {
        states.iter().filter_map(|state| state.strip_suffix(id)).map(str::trim).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of("cancelled"), "waiting running parked ended");
    assert_eq!(of("late"), "waiting running parked ended");
    assert_eq!(of("outlives"), "waiting running parked waiting running ended");
}

/// Jobs that come and go in several sequences, so that they go on in others than those that they left, after others have
/// been there, and from wherever they were.
#[tokio::test]
async fn whatever_makes_room_whenever_each_answer_is_the_one_that_it_would_have_been() {
    let broker = Broker::start().await;
    let (_node, port) = node(&broker, 3, "reproducible = true").await;
    let mut batch = Device::connect(&broker, "batch").await;
    let alarm = Device::connect(&broker, "alarm").await;
    let prompts: Vec<String> = (0..6).map(|number| words(10 + 60 * number, 40 + number as u64)).collect();
    let mut alone = Vec::new();
    for (number, prompt) in prompts.iter().enumerate() {
        batch.ask("generate", &low(&format!("alone{number}"), prompt, 60)).await;
        alone.push(batch.outcome(&format!("alone{number}")).await["output"].clone());
    }
    for (number, prompt) in prompts.iter().enumerate() {
        batch.ask("generate", &low(&number.to_string(), prompt, 60)).await;
    }
    let mut answers = HashMap::new();
    let mut urgent = 0;
    while answers.len() < prompts.len() {
        // Now and then three at once, now and then one that is cancelled.
        let message = batch.next().await.json;
        match message["event"].as_str() {
            Some("result") => _ = answers.insert(message["id"].as_str().unwrap().to_owned(), message["output"].clone()),
            Some("delta") if message["seq"].as_u64().unwrap() % 7 == 3 => {
                for _ in 0..=urgent % 3 {
                    alarm.ask("generate", &high(&format!("urgent{urgent}"), 3 + urgent % 5)).await;
                    urgent += 1;
                }
                let id = format!("{{\"id\":\"urgent{}\"}}", urgent - 1);
                alarm.send(Send::new("promptd/gw/cancel/alarm", id)).await;
            }
            Some("delta") => {}
            _ => panic!("{message}"),
        }
    }
    for (number, alone) in alone.iter().enumerate() {
        assert_eq!(&answers[&number.to_string()], alone, "{number} after {urgent} urgent ones");
    }
    let count: f64 = preemptions(port).parse().unwrap();
    assert!(count >= 3.0, "{count} preemptions");
}

#[tokio::test]
async fn a_job_makes_room_three_times_and_then_no_more() {
    let broker = Broker::start().await;
    let (_node, port) = node(&broker, 1, "").await;
    let mut batch = Device::connect(&broker, "batch").await;
    let mut alarm = Device::connect(&broker, "alarm").await;
    runs(&mut batch, &low("low", "Count.", 400)).await;
    for turn in 1..=3 {
        let id = format!("urgent{turn}");
        alarm.ask("generate", &high(&id, 4)).await;
        assert_eq!(alarm.outcome(&id).await["event"], "result");
        assert_eq!(preemptions(port), turn.to_string());
        while batch.next().await.json["event"] != "delta" {}
    }
    alarm.ask("generate", &high("last", 4)).await;
    assert_eq!(alarm.outcome("last").await["event"], "result");
    assert_eq!(preemptions(port), "3");
    let mut now = None;
    while let Some(message) = batch.now() {
        now = Some(message.json);
    }
    assert_eq!(now.unwrap()["event"], "result", "the low one was first");
}

#[tokio::test]
async fn jobs_of_the_usual_class_make_room_for_nobody() {
    let broker = Broker::start().await;
    let (node, port) = node(&broker, 1, "").await;
    let mut usual = Device::connect(&broker, "usual").await;
    let mut alarm = Device::connect(&broker, "alarm").await;
    let mut request = low("usual", "Count.", 200);
    request["priority"] = json!("normal");
    runs(&mut usual, &request).await;
    alarm.ask("generate", &high("urgent", 8)).await;
    assert_eq!(usual.outcome("usual").await["event"], "result");
    assert_eq!(alarm.outcome("urgent").await["event"], "result");
    assert_eq!(preemptions(port), "0");
    drop(node);
}
