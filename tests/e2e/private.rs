//! What clients ask and get answered stays between them and the node.

use rustix::process::Signal;
use serde_json::json;

use crate::harness::http::{free_port, page};
use crate::harness::{Broker, Device, Node, Send, Setup, signal_pid};

/// A word that no model, program or log knows.
const MARKER: &str = "zqxjkvbpyw";

fn ask(id: &str, tokens: u32) -> serde_json::Value {
    json!({
        "id": id, "prompt": format!("Repeat exactly: {MARKER} {MARKER}"), "max_tokens": tokens, "ignore_eos": true,
        "stream": true,
    })
}

/// Jobs that end in every way; what was asked and answered has the marker in it.
async fn jobs_of_all_kinds(broker: &Broker, node: &Node, device: &mut Device) {
    let done = device.answer("generate", ask("done", 40)).await;
    assert!(done["output"].as_str().unwrap().contains(&MARKER[..6]), "the answer has the marker: {done}");
    let mut refused = ask("refused", 10);
    refused["model"] = json!("none");
    assert_eq!(device.answer("generate", refused).await["code"], "unknown_model");
    let mut invalid = ask("invalid", 10);
    invalid["temperature"] = json!(MARKER);
    assert_eq!(device.answer("generate", invalid).await["code"], "invalid_request");
    device.send(Send::new("promptd/gw/request/generate/cam", format!("{{\"prompt\": \"{MARKER}\", oops"))).await;
    assert_eq!(device.outcome_of_any().await["code"], "invalid_request");
    let long = json!({ "id": "long", "prompt": format!("{MARKER} ").repeat(2000) });
    assert_eq!(device.answer("generate", long).await["code"], "context_overflow");
    let mut late = ask("late", 900);
    late["deadline_ms"] = json!(700);
    assert_eq!(device.answer("generate", late).await["code"], "deadline_exceeded");

    device.ask("generate", &ask("cancelled", 900)).await;
    while device.next().await.json["event"] != "delta" {}
    device.send(Send::new("promptd/gw/cancel/cam", json!({ "id": "cancelled" }).to_string())).await;
    assert_eq!(device.outcome("cancelled").await["code"], "cancelled");

    // Engines that crash under it.
    let mut states = Device::connect(broker, "states").await;
    states.subscribe("promptd/gw/jobs/cam/crashes").await;
    device.ask("generate", &ask("crashes", 900)).await;
    loop {
        let state = states.next().await.json["state"].clone();
        if state == "running" {
            signal_pid(node.engines()[0], Signal::ABORT);
        } else if state == "ended" {
            break;
        }
    }
    assert_eq!(device.outcome("crashes").await["code"], "quarantined");
}

#[tokio::test]
async fn what_clients_write_is_nowhere_but_in_their_answers() {
    let port = free_port();
    let broker = Broker::start().await;
    let folder = tempfile::tempdir().unwrap();
    let textfile = folder.path().join("promptd.prom");
    let tables = format!(
        "[telemetry]\ninterval = \"1s\"\nhealth_min_interval = \"1s\"\nhealth_max_interval = \"1s\"\nhttp = \"127.0.0.1:{port}\"\n\
         textfile = \"{}\"\nhome_assistant = true\nthin_edge = true\n[service]\nlog_level = \"trace\"\n",
        textfile.display()
    );
    let mut node = Node::ready(&broker, Setup { sequences: 2, tables, ..Setup::default() }).await;
    let mut listener = Device::connect(&broker, "listener").await;
    for filter in ["promptd/gw/+", "promptd/gw/model/#", "promptd/gw/jobs/#", "homeassistant/#", "te/#"] {
        listener.subscribe(filter).await;
    }
    let mut device = Device::connect(&broker, "cam").await;
    jobs_of_all_kinds(&broker, &node, &mut device).await;

    // Everything that is told from time to time is told once more.
    let mut heard = Vec::new();
    while let Some(message) = listener.now() {
        heard.push((message.topic, String::from_utf8_lossy(&message.payload).into_owned()));
    }
    let (mut numbers, mut health) = (0, 0);
    while numbers < 2 || health < 2 {
        let message = listener.next().await;
        numbers += usize::from(message.topic.ends_with("/telemetry"));
        health += usize::from(message.topic.ends_with("/health"));
        heard.push((message.topic, String::from_utf8_lossy(&message.payload).into_owned()));
    }
    let kinds = ["status", "info", "health", "telemetry", "event", "model/main", "jobs/cam/crashes"];
    for kind in kinds {
        assert!(heard.iter().any(|(topic, _)| topic == &format!("promptd/gw/{kind}")), "nothing came on {kind}");
    }
    for path in ["/", "/metrics", "/status.json", "/readyz"] {
        heard.push((path.to_owned(), page(port, path).body));
    }
    heard.push(("textfile".to_owned(), std::fs::read_to_string(&textfile).unwrap()));
    node.signal(Signal::TERM);
    node.ended().await;
    heard.push(("the log".to_owned(), node.log()));
    for (place, text) in heard {
        assert!(!text.contains(&MARKER[..6]), "{place} quotes a client: {text}");
    }
}
