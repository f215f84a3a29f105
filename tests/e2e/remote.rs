//! An operator's commands over MQTT, for nodes that are somewhere else.

use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{Broker, Device, Fleet, Node, Setup, promptd};

/// Runs a command for a node at a broker.
fn remote(broker: &Broker, node: &str, arguments: &[&str]) -> Output {
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    promptd().args(arguments).args(["--broker", &url, "--node", node]).output().unwrap()
}

/// The answer of one that must succeed.
fn answer(broker: &Broker, arguments: &[&str]) -> Value {
    let output = remote(broker, "gw", &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The exit code of one that must fail, and what it says.
fn failure(output: &Output) -> (Option<i32>, String) {
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap())
}

#[tokio::test]
async fn every_verb_works_from_afar_as_it_does_on_the_machine() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 1, ..Setup::default() }).await;
    for verb in ["info", "models", "tasks"] {
        assert_eq!(answer(&broker, &[verb]), node.operator_json(&[verb]), "{verb}");
        let output = remote(&broker, "gw", &[verb]);
        assert_eq!(output.stdout, node.operator(&[verb]).stdout, "{verb} for people");
    }
    assert_eq!(answer(&broker, &["status"])["state"], "ready");
    assert!(answer(&broker, &["diagnose"]).as_array().unwrap().iter().any(|finding| finding["check"] == "models"));

    let mut device = Device::connect(&broker, "dev").await;
    let request = json!({ "id": "long", "prompt": "Count.", "max_tokens": 900, "ignore_eos": true, "ack": true });
    device.ask("generate", &request).await;
    while device.next().await.json["event"] != "accepted" {}
    let jobs = answer(&broker, &["jobs", "dev"]);
    assert_eq!((&jobs["total"], &jobs["jobs"][0]["id"]), (&json!(1), &json!("long")), "{jobs}");
    assert_eq!(answer(&broker, &["cancel", "dev", "long"]), json!({ "cancelled": 1 }));
    assert_eq!(device.outcome("long").await["code"], "cancelled");
    assert_eq!(answer(&broker, &["fetch", "dev", "long"]), json!({ "fetched": 1 }));
    assert_eq!(device.outcome("long").await["code"], "cancelled", "once more");
    assert!(answer(&broker, &["forget", "dev"]).is_object());
    assert_eq!(answer(&broker, &["models", "--forget"]), json!({ "forgotten": 0 }));

    assert_eq!(answer(&broker, &["drain"])["state"], "draining");
    assert_eq!(answer(&broker, &["resume"])["state"], "ready");
    assert_eq!(answer(&broker, &["unload", "main"])["state"], "unloaded");
    assert_eq!(answer(&broker, &["load", "main", "--strategy", "cpu:int4"])["state"], "ready");
    assert_eq!(answer(&broker, &["switch", "main"])["state"], "ready");
    assert!(answer(&broker, &["reload"]).is_object());
    assert_eq!(answer(&broker, &["reload", "main"])["state"], "ready");

    // The node's own words, with the exit code for them.
    let (code, said) = failure(&remote(&broker, "gw", &["load", "other"]));
    assert!(code == Some(1) && said.contains("unknown_model: no model other; known are: main"), "{said}");
    // The broker of the configuration, too.
    let output = promptd().args(["status", "--node", "gw", "--config"]).arg(node.config()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn a_node_that_is_away_is_told_and_finds_no_orders_when_it_is_back() {
    let broker = Broker::start().await;
    let setup = Setup { sequences: 1, with_model: false, ..Setup::default() };
    let mut node = Node::start(&broker, &setup);
    node.wait_for_state(&broker, "no_model").await;
    let (code, said) = failure(&remote(&broker, "nobody", &["status"]));
    assert!(code == Some(69) && said.contains("knows of no node nobody"), "{said}");

    let mut fleet = Fleet::watch(&broker).await;
    node.signal(rustix::process::Signal::TERM);
    node.ended().await;
    fleet.status(|status| status["state"] == "stopped" || status["state"] == "offline").await;
    let (code, said) = failure(&remote(&broker, "gw", &["drain"]));
    assert!(code == Some(69) && said.contains("the node gw is offline"), "{said}");
    node.restart(&setup);
    node.wait_for_state(&broker, "no_model").await;

    let url = "mqtt://127.0.0.1:1";
    let output = promptd().args(["status", "--broker", url, "--node", "gw"]).output().unwrap();
    assert_eq!(failure(&output).0, Some(69), "nobody listens there");
    let output = promptd().args(["status", "--broker", url, "--socket", "x"]).output().unwrap();
    assert_eq!(failure(&output).0, Some(2), "either one or the other");
}

#[tokio::test]
async fn what_the_broker_does_not_allow_is_told() {
    let users = ["node gw", "device dev", "monitor watcher", "operator alice"];
    let broker = Broker::of_fleet(&users).await;
    let password = broker.password_of("gw");
    let mqtt = format!("username = \"gw\"\npassword_credential = {password:?}\n");
    let node = Node::start(&broker, &Setup { with_model: false, mqtt, ..Setup::default() });
    node.wait_for_state(&broker, "no_model").await;
    let as_user = |user: &str| {
        let password = broker.password_of(user);
        remote(&broker, "gw", &["status", "--username", user, "--password-file", password.to_str().unwrap()])
    };
    assert!(as_user("alice").status.success(), "{:?}", as_user("alice"));
    let (code, said) = failure(&as_user("watcher"));
    assert!(code == Some(69) && said.contains("promptd/gw/control/status"), "{said}");
    let (code, said) = failure(&as_user("dev"));
    assert!(code == Some(69) && said.contains("may this user read promptd/gw/availability?"), "{said}");
}
