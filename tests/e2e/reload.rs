//! The configuration is read again while the node runs.

use std::path::Path;
use std::process::Output;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Broker, Device, Fleet, Node, Operator, Setup, promptd, until};

fn setup(tables: &str) -> Setup {
    Setup { tables: tables.to_owned(), sequences: 1, ..Setup::default() }
}

fn request(id: &str, tokens: u32) -> Value {
    json!({ "id": id, "prompt": "Count.", "max_tokens": tokens, "ignore_eos": true })
}

/// A command that is told where the socket is, because no configuration says so.
fn at_socket(node: &Node, arguments: &[&str]) -> Output {
    let socket = node.folder().join("control.sock");
    promptd().args(arguments).arg("--config").arg(node.config()).arg("--socket").arg(socket).output().unwrap()
}

#[tokio::test]
async fn a_broken_one_changes_nothing_and_is_told_to_everybody() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, setup("")).await;
    let mut fleet = Fleet::watch(&broker).await;
    let mut operator = Operator::connect(&broker).await;
    let mut device = Device::connect(&broker, "dev").await;
    let engines = node.engines();

    node.spoil("contxt = 1\n[limits]\nmax_tokens_cap = 0\nmax_tokens = 1");
    let error = operator.fails("reload", json!({})).await;
    assert_eq!(error["code"], "invalid_request", "{error}");
    for part in
        ["promptd.toml:", "did you mean \"context\"", "limits.max_tokens_cap = 0: allowed are", "stays in force"]
    {
        assert!(error["message"].as_str().unwrap().contains(part), "{part:?} in {error}");
    }
    let event = fleet.event("misconfigured").await;
    assert!(event["model"].is_null() && event["reason"].to_string().contains("2 problems, the first at"), "{event}");
    fleet
        .status(|status| status["state"] == "misconfigured" && status["reasons"].to_string().contains("promptd.toml:"))
        .await;
    let output = node.operator(&["reload"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("contxt") && said.contains("max_tokens_cap"), "{said}");

    // So broken that the commands find no socket in it: they look where it is by default, or where they are told.
    node.spoil("[[[");
    let output = at_socket(&node, &["reload"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("unquoted keys"), "{said}");
    assert!(at_socket(&node, &["status"]).status.success());
    let output = node.operator(&["status"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(Path::new("/run/promptd/control.sock").exists() || output.status.code() == Some(78), "{said}");

    fleet.forget();
    node.signal(Signal::HUP);
    fleet.event("misconfigured").await;
    assert_eq!(device.answer("generate", request("still", 2)).await["event"], "result");

    node.configure(&broker, &setup(""));
    node.signal(Signal::HUP);
    let event = fleet.event("reloaded").await;
    assert_eq!(event["reason"], "nothing is new", "{event}");
    fleet.status(|status| status["state"] == "ready" && status["reasons"] == json!([])).await;
    assert_eq!(node.engines(), engines);
}

#[tokio::test]
async fn new_rules_are_in_force_at_once_and_the_engine_stays() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, setup("")).await;
    let mut fleet = Fleet::watch(&broker).await;
    let mut device = Device::connect(&broker, "dev").await;
    let engines = node.engines();
    assert!(!node.log().contains("DEBUG"));

    let rules = "[limits]\nmax_tokens = 4\nmax_tokens_cap = 300\nqueue_jobs = 1\nqueue_jobs_per_client = 1\n\
                 [memory]\nreserve = \"9%\"\n[service]\nlog_level = \"debug\"\n[engine]\ncrash_quarantine = 3";
    node.configure(&broker, &setup(rules));
    let output = node.operator(&["reload"]);
    let said = String::from_utf8(output.stdout).unwrap();
    let keys = [
        "limits.queue_jobs",
        "limits.queue_jobs_per_client",
        "limits.max_tokens",
        "limits.max_tokens_cap",
        "memory.reserve",
        "engine.crash_quarantine",
        "service.log_level",
    ];
    assert!(said.starts_with(&format!("changed  {}\n\nmodel  state", keys.join(", "))), "{said}");
    assert_eq!(fleet.event("reloaded").await["reason"], format!("changed: {}", keys.join(", ")));

    let refused = device.answer("generate", request("again", 400)).await;
    assert!(refused["code"] == "invalid_request" && refused.to_string().contains("300"), "{refused}");
    // One runs, one waits, and there is no place for a third.
    let mut running = request("runs", 300);
    running["stream"] = json!(true);
    device.ask("generate", &running).await;
    while device.next().await.json["event"] != "delta" {}
    let mut other = Device::connect(&broker, "other").await;
    other.ask("generate", &json!({ "id": "waits", "prompt": "Count.", "ignore_eos": true, "ack": true })).await;
    assert_eq!(other.next().await.json["event"], "accepted");
    let full = other.answer("generate", request("full", 2)).await;
    assert_eq!(full["code"], "queue_full", "{full}");
    assert_eq!(device.outcome("runs").await["event"], "result");
    let waited = other.outcome("waits").await;
    assert_eq!(waited["usage"]["generated_tokens"], 4, "the default is another one: {waited}");
    let info = node.operator_json(&["info"]);
    assert_eq!((&info["limits"]["max_tokens_cap"], &info["limits"]["queue_jobs"]), (&json!(300), &json!(1)), "{info}");
    until("more is logged", || node.log().contains("DEBUG").then_some(())).await;
    assert_eq!(node.engines(), engines);
}

#[tokio::test]
async fn what_needs_a_restart_is_named_until_the_files_take_it_back() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, setup("")).await;
    let mut fleet = Fleet::watch(&broker).await;
    let mut device = Device::connect(&broker, "dev").await;
    let text = std::fs::read_to_string(node.config()).unwrap();
    let other = text.replace("\"gw\"", "\"other\"").replace("[mqtt]", "[mqtt]\noutbox_max = 300");
    std::fs::write(node.config(), format!("[limits]\nmax_tokens_cap = 999\n{other}")).unwrap();
    let answer = node.operator_json(&["reload"]);
    let keys = json!(["node.name", "mqtt.client_id", "mqtt.outbox_max"]);
    assert_eq!((&answer["restart"], &answer["changed"]), (&keys, &json!(["limits.max_tokens_cap"])), "{answer}");
    let reason = "needs_restart: node.name, mqtt.client_id, mqtt.outbox_max";
    fleet.status(|status| status["state"] == "ready" && status["reasons"] == json!([reason])).await;
    assert!(node.log().contains(reason));
    // It is still there under its old name.
    assert_eq!(device.answer("generate", request("still", 2)).await["event"], "result");
    std::fs::write(node.config(), text).unwrap();
    assert_eq!(node.operator_json(&["reload"])["restart"], json!([]));
    fleet.status(|status| status["reasons"] == json!([])).await;
}
