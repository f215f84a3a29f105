//! The topics `health`, `telemetry` and `jobs/…`, and what `status` says of both.

use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::http::{free_port, page, sum};
use crate::harness::{Broker, Device, Heat, Node, PATIENCE, Send, Setup, until};

fn setup() -> Setup {
    let tables =
        "[telemetry]\ninterval = \"2s\"\nhealth_min_interval = \"1s\"\nhealth_max_interval = \"2s\"\n".to_owned();
    Setup { sequences: 1, tables, ..Setup::default() }
}

async fn next_on(watcher: &mut Device, topic: &str) -> crate::harness::Reply {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let reply = watcher.next().await;
        if reply.topic == topic {
            return reply;
        }
    }
    panic!("nothing came on {topic}");
}

#[tokio::test]
async fn the_machine_tells_how_it_is() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, setup()).await;
    let mut watcher = Device::connect(&broker, "watcher").await;
    for topic in ["health", "telemetry", "status"] {
        watcher.subscribe(&format!("promptd/gw/{topic}")).await;
    }
    let health = next_on(&mut watcher, "promptd/gw/health").await;
    assert!(health.retain && health.payload.len() < 4096, "{health:?}");
    assert_eq!(health.json["memory"]["limits"][0]["name"], "host");
    assert!(health.json["memory"]["limits"][0]["available_bytes"].as_u64() > Some(0), "{}", health.json);
    assert_eq!(health.json["governors"]["memory"], "normal");
    let again = next_on(&mut watcher, "promptd/gw/health").await;
    assert!(again.json["uptime_s"].as_u64() > health.json["uptime_s"].as_u64(), "it is told anew from time to time");

    let first = next_on(&mut watcher, "promptd/gw/telemetry").await;
    assert_eq!((first.retain, first.qos), (false, 0));
    let numbers = first.json.as_object().unwrap();
    assert!(numbers.values().all(Value::is_number), "{}", first.json);
    assert_eq!((&first.json["ready"], &first.json["models_ready"]), (&json!(1), &json!(1)));
    let mut device = Device::connect(&broker, "cam").await;
    device.answer("generate", json!({ "id": "1", "prompt": "Count.", "max_tokens": 20, "ignore_eos": true })).await;
    let moved = loop {
        let message = next_on(&mut watcher, "promptd/gw/telemetry").await.json;
        if message["jobs_completed"] == 1 {
            break message;
        }
    };
    assert_eq!((&moved["generated_tokens"], &moved["requests_received"]), (&json!(20), &json!(1)), "{moved}");

    let status = node.operator_json(&["status"]);
    assert_eq!(status["heartbeat_s"], 2, "{status}");
    assert!(status["clock_synced"].is_boolean() || status["clock_synced"].is_null(), "{status}");
    // Only a clock that is known to be right may tell the time.
    assert_eq!(moved.get("time_s").is_some(), status["clock_synced"] == true, "{moved} {status}");
}

#[tokio::test]
async fn what_the_sensors_say_is_told_and_energy_is_shared_out() {
    let machine = Heat::new(41.5, 95.0, 99.0);
    machine.draws(10.0);
    let port = free_port();
    let setup = setup();
    let tables = format!("{}http = \"127.0.0.1:{port}\"\n", setup.tables);
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, machine.setup(Setup { tables, ..setup })).await;
    let metrics = until("the sensors were read", || {
        let text = page(port, "/metrics").body;
        sum(&text, "promptd_board_power_watts", "").is_some().then_some(text)
    })
    .await;
    for (name, label, expected) in [
        ("promptd_board_power_watts", "", 10.0),
        ("promptd_power_watts", "rail=\"VDD_IN\"", 10.0),
        ("promptd_temperature_celsius", "zone=\"cpu-thermal\"", 41.5),
        ("promptd_temperature_passive_celsius", "zone=\"cpu-thermal\"", 95.0),
        ("promptd_temperature_critical_celsius", "zone=\"cpu-thermal\"", 99.0),
        ("promptd_engine_duty_ratio", "", 1.0),
    ] {
        assert_eq!(sum(&metrics, name, label), Some(expected), "{name}");
    }
    let mut device = Device::connect(&broker, "cam").await;
    let request = json!({ "id": "1", "prompt": "Count.", "max_tokens": 100, "ignore_eos": true });
    let answer = device.answer("generate", request).await;
    let joules = answer["usage"]["energy_joules"].as_f64().unwrap_or_else(|| panic!("no energy: {answer}"));
    let times = ["prefill_ms", "decode_ms"].map(|part| answer["timings"][part].as_f64().unwrap() / 1000.0);
    let expected = 10.0 * times.iter().sum::<f64>();
    // The engine's own times leave out the way there and back.
    assert!(joules >= expected && joules < 1.5 * expected + 1.0, "{joules} J instead of {expected} J: {answer}");
    until("the sum of all has grown", || {
        let text = page(port, "/metrics").body;
        let [all, jobs] =
            ["promptd_energy_joules_total", "promptd_job_energy_joules_total"].map(|name| sum(&text, name, ""));
        (all? >= jobs? && jobs? >= joules - 0.1).then_some(())
    })
    .await;
    let mut watcher = Device::connect(&broker, "watcher").await;
    watcher.subscribe("promptd/gw/health").await;
    let health = next_on(&mut watcher, "promptd/gw/health").await.json;
    assert_eq!(health["power"]["watts"], 10.0, "{health}");
    assert_eq!(
        (&health["temperatures"][0]["zone"], &health["governors"]["thermal"]),
        (&json!("cpu-thermal"), &json!("normal"))
    );
}

#[tokio::test]
async fn each_job_tells_where_it_is() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, setup()).await;
    let mut watcher = Device::connect(&broker, "watcher").await;
    watcher.subscribe("promptd/gw/jobs/#").await;
    let mut device = Device::connect(&broker, "cam").await;
    let long = json!({ "id": "long", "prompt": "Count.", "max_tokens": 900, "ignore_eos": true, "stream": true });
    device.ask("generate", &long).await;
    while device.next().await.json["event"] != "delta" {}
    device.ask("generate", &json!({ "id": "next", "prompt": "Count.", "max_tokens": 2 })).await;
    device.send(Send::new("promptd/gw/cancel/cam", json!({ "id": "long" }).to_string())).await;
    device.outcome("next").await;

    let mut states = Vec::new();
    while states.len() < 6 {
        let reply = watcher.next().await;
        assert_eq!((reply.retain, reply.qos), (false, 0));
        assert_eq!((&reply.json["task"], &reply.json["model"]), (&json!("generate"), &json!("main")));
        let id = reply.topic.strip_prefix("promptd/gw/jobs/cam/").unwrap().to_owned();
        states.push((id, reply.json));
    }
    let of = |id: &str| states.iter().filter(|(name, _)| name == id).map(|(_, state)| state).collect::<Vec<_>>();
    let words = |id: &str| of(id).iter().map(|state| state["state"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(words("long"), ["waiting", "running", "ended"]);
    assert_eq!(words("next"), ["waiting", "running", "ended"]);
    assert_eq!((&of("long")[0]["position"], &of("long")[2]["code"]), (&json!(0), &json!("cancelled")));
    assert_eq!((&of("next")[2]["finish"], of("next")[2].get("code")), (&json!("length"), None));
}

#[tokio::test]
async fn a_broker_that_forgot_everything_is_told_again() {
    let mut broker = Broker::start().await;
    let node = Node::start(&broker, &Setup { with_model: false, ..setup() });
    node.wait_for_state(&broker, "no_model").await;
    broker.kill();
    broker.up().await;
    let mut watcher = Device::connect(&broker, "watcher").await;
    for topic in ["availability", "status", "info", "health"] {
        watcher.subscribe(&format!("promptd/gw/{topic}")).await;
        next_on(&mut watcher, &format!("promptd/gw/{topic}")).await;
    }
}
