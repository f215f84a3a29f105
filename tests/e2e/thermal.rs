//! A machine that gets hot: it computes less, then nothing, and goes on where it was.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use crate::harness::plot::{self, Panel};
use crate::harness::{
    Answer, Broker, Device, Heat, Load, Node, Send, Setup, Watch, processor_seconds, signal_pid, until,
};

/// Cool for every zone here.
const COOL: f32 = 40.0;

/// A zone whose limits are 65 and 80.
fn machine() -> Heat {
    Heat::new(COOL, 70.0, 85.0)
}

/// How much of the time the node says that its engines compute, in percent.
fn duty(node: &Node) -> f64 {
    (100.0 * node.operator_json(&["status"])["heat"]["duty"].as_f64().unwrap()).round()
}

async fn until_duty(node: &Node, expected: &str) {
    until(&format!("a duty of {expected} %"), || (duty(node).to_string() == expected).then_some(())).await;
}

async fn until_state(watch: &Watch, state: &str) -> Value {
    until(state, || watch.states().pop().filter(|status| status["state"] == state)).await
}

/// A request that keeps a sequence for long.
fn long(id: &str, tokens: u32) -> Value {
    json!({ "id": id, "prompt": "Count.", "max_tokens": tokens, "ignore_eos": true, "stream": true })
}

/// Waits for so many answers; gives the share of the time in which the engine computed meanwhile.
async fn share(node: &Node, load: &Load, answers: usize) -> f64 {
    let engine = node.engines()[0];
    let (start, before, first) = (Instant::now(), processor_seconds(engine), load.tally().results.len());
    until("answers", || (load.tally().results.len() >= first + answers).then_some(())).await;
    (processor_seconds(engine) - before) / start.elapsed().as_secs_f64()
}

/// Waits for the next delta of a request.
async fn delta(device: &mut Device, id: &str) {
    while {
        let reply = device.next().await.json;
        reply["event"] != "delta" || reply["id"] != id
    } {}
}

#[tokio::test]
async fn a_ramp_paces_pauses_and_comes_back() {
    let heat = machine();
    let broker = Broker::start().await;
    let watch = Watch::start(&broker).await;
    // A pause is longer than that: it must not look like a stall.
    let tables = "[engine]\nheartbeat_timeout = \"5s\"".to_owned();
    let node = Node::ready(&broker, heat.setup(Setup { tables, ..Setup::default() })).await;
    let engine = node.engines();
    let load = Load::start(&broker, 4, 24).await;
    let start = Instant::now();
    let samples = Arc::<Mutex<Vec<Sample>>>::default();
    let mut marks = Vec::new();
    let mut mark = |name: &str| marks.push((start.elapsed().as_secs_f64(), name.to_owned()));

    let recorder = async {
        let mut turn = tokio::time::interval(Duration::from_millis(500));
        turn.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut before = (Instant::now(), processor_seconds(engine[0]));
        loop {
            turn.tick().await;
            let now = (Instant::now(), processor_seconds(engine[0]));
            let share = (now.1 - before.1) / (now.0 - before.0).as_secs_f64().max(0.001);
            before = now;
            samples.lock().unwrap().push(Sample { at: now.0, celsius: heat.celsius(), duty: duty(&node), share });
        }
    };
    let story = async {
        let cool = share(&node, &load, 8).await;
        until_duty(&node, "100").await;
        heat.set(72.5);
        let status = until_state(&watch, "throttled").await;
        mark("throttled");
        let expected = "heat: cpu-thermal is at 72.5 °C, its limit is 65.0 °C; jobs run slower";
        assert_eq!(status["reasons"], json!([expected]));
        until_duty(&node, "55").await;
        let half = share(&node, &load, 8).await;
        heat.set(79.0);
        until_duty(&node, "15").await;
        mark("nearly too hot");
        let little = share(&node, &load, 4).await;
        eprintln!("computes {cool:.2} of the time when cool, {half:.2} at a duty of 55 %, {little:.2} at 15 %");
        // What else runs on this machine makes the shares smaller, never larger.
        assert!(half < 0.65 && little < 0.25, "{half} and {little}");

        let mut device = Device::connect(&broker, "dev").await;
        for (id, deadline) in [("kept", 300_000), ("late", 8_000), ("cancelled", 300_000)] {
            let mut request = long(id, if id == "kept" { 100 } else { 900 });
            request["deadline_ms"] = json!(deadline);
            device.ask("generate", &request).await;
            delta(&mut device, id).await;
        }
        heat.set(82.0);
        let status = until_state(&watch, "paused").await;
        mark("paused");
        let reason = "heat: cpu-thermal is at 82.0 °C, its limit is 80.0 °C; jobs are paused, new work is refused";
        assert_eq!(status["reasons"], json!([reason]));
        let reply = device.answer("generate", json!({ "id": "refused", "prompt": "Count." })).await;
        assert_eq!((&reply["code"], &reply["retryable"]), (&json!("thermal"), &json!(true)), "{reply}");
        assert!((1_000..=300_000).contains(&reply["retry_after_ms"].as_u64().unwrap()), "{reply}");
        let (paused, before) = (Instant::now(), processor_seconds(engine[0]));
        device.send(Send::new("promptd/gw/cancel/dev", r#"{"id":"cancelled"}"#)).await;
        // Deadlines go on, and neither waits for the end of the pause.
        let mut ended =
            [device.outcome_of_any().await, device.outcome_of_any().await].map(|reply| reply["code"].clone());
        ended.sort_by_key(ToString::to_string);
        assert_eq!(ended, ["cancelled", "deadline_exceeded"]);
        assert_eq!(watch.states().last().unwrap()["state"], "paused");
        heat.set(70.0);
        until_state(&watch, "throttled").await;
        mark("goes on");
        let computed = processor_seconds(engine[0]) - before;
        eprintln!("computed {computed:.2} s in a pause of {:?}", paused.elapsed());
        assert!(computed < paused.elapsed().as_secs_f64() / 10.0, "{computed} s");
        heat.set(COOL);
        let kept = device.outcome("kept").await;
        assert_eq!((&kept["event"], &kept["usage"]["generated_tokens"]), (&json!("result"), &json!(100)), "{kept}");
        until_state(&watch, "ready").await;
        mark("ready");
        share(&node, &load, 8).await;
    };
    tokio::select! {
        () = story => {}
        () = recorder => {}
    }
    let tally = load.finish().await;
    let panels = panels(&samples.lock().unwrap(), start, &tally.results);
    let path = plot::write("a_machine_gets_hot", &panels, &marks);
    eprintln!("{} answers, {} refusals; see {}", tally.results.len(), tally.refused.len(), path.display());
    assert!(tally.others.is_empty(), "{:?}", tally.others);
    assert_eq!(node.engines(), engine, "it is the same engine still");
    let changes: Vec<String> =
        watch.node_events("thermal").iter().map(|e| format!("{}-{}", e["from"], e["to"])).collect();
    let expected = ["normal-soft", "soft-hard", "hard-soft", "soft-normal"];
    assert_eq!(changes.iter().map(|change| change.replace('"', "")).collect::<Vec<_>>(), expected);
}

struct Sample {
    at: Instant,
    celsius: f64,
    duty: f64,
    share: f64,
}

/// The samples as curves; tokens are spread over the four seconds before their answer.
fn panels(samples: &[Sample], start: Instant, answers: &[Answer]) -> Vec<Panel> {
    let points = |value: &dyn Fn(&Sample) -> f64| {
        samples.iter().map(|sample| ((sample.at - start).as_secs_f64(), value(sample))).collect()
    };
    let tokens = |sample: &Sample| {
        let lately =
            |answer: &&Answer| answer.at <= sample.at && sample.at.duration_since(answer.at) < Duration::from_secs(4);
        let tokens: u64 = answers.iter().filter(lately).map(|answer| answer.tokens).sum();
        tokens as f64 / 4.0
    };
    let panel = |title, points| Panel { title, points, names: Vec::new() };
    vec![
        panel("temperature (°C)", points(&|sample| sample.celsius)),
        panel("duty (%)", points(&|sample| sample.duty)),
        panel("time that the engine computes (%)", points(&|sample| 100.0 * sample.share)),
        panel("tokens per second", points(&tokens)),
    ]
}

#[tokio::test]
async fn what_needs_an_engine_waits_until_it_is_cool() {
    let heat = machine();
    let broker = Broker::start().await;
    let watch = Watch::start(&broker).await;
    let node = Node::ready(&broker, heat.setup(Setup { sequences: 1, ..Setup::default() })).await;
    let mut device = Device::connect(&broker, "dev").await;
    device.ask("generate", &long("running", 400)).await;
    delta(&mut device, "running").await;
    device.ask("generate", &json!({ "id": "waiting", "prompt": "Count.", "max_tokens": 4 })).await;
    heat.set(95.0);
    until_state(&watch, "paused").await;
    signal_pid(node.engines()[0], Signal::KILL);
    let waits = |document: &Value| document["reason"] == "it is loaded when the machine has cooled down";
    let document = watch.until_model("main", waits).await;
    assert_eq!(document["state"], "unavailable");
    assert_eq!(node.engines(), [0; 0]);
    let output = node.operator(&["load", "main"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("thermal: the machine is too hot: cpu-thermal"), "{output:?}");
    heat.set(COOL);
    for (id, tokens) in [("running", 400), ("waiting", 4)] {
        let reply = device.outcome(id).await;
        assert_eq!(
            (&reply["event"], &reply["usage"]["generated_tokens"]),
            (&json!("result"), &json!(tokens)),
            "{reply}"
        );
    }
    until_state(&watch, "ready").await;
    assert_eq!(watch.node_events("thermal").len(), 3, "{:?}", watch.node_events("thermal"));
}

#[tokio::test]
async fn limits_of_the_configuration_hold_at_once() {
    let heat = Heat::without_trips(70.0);
    let broker = Broker::start().await;
    let watch = Watch::start(&broker).await;
    let limits = |soft: u8, hard: u8| {
        let tables = format!("[thermal]\nsoft_celsius = {soft}\nhard_celsius = {hard}");
        heat.setup(Setup { tables, ..Setup::default() })
    };
    let node = Node::ready(&broker, heat.setup(Setup::default())).await;
    until("the log", || node.log().contains("no temperature with a limit is known here").then_some(())).await;
    node.configure(&broker, &limits(50, 60));
    assert_eq!(node.operator_json(&["reload"])["changed"], json!(["thermal.soft_celsius", "thermal.hard_celsius"]));
    until_state(&watch, "paused").await;
    assert_eq!(node.operator_json(&["status"])["heat"]["hard_celsius"], 60.0);
    node.configure(&broker, &limits(80, 90));
    node.operator_json(&["reload"]);
    until_state(&watch, "ready").await;
    let mut device = Device::connect(&broker, "dev").await;
    let reply = device.answer("generate", json!({ "id": "1", "prompt": "Count.", "max_tokens": 4 })).await;
    assert_eq!(reply["event"], "result", "{reply}");
}
