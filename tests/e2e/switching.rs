//! From one strategy, file or model to another while clients ask on.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Broker, Device, Fleet, Node, Operator, Setup, files, model, signal_pid, until};

fn setup(ladder: &str) -> Setup {
    Setup {
        files: vec![files::f16(), files::int8()],
        model: format!("ladder = {ladder}"),
        sequences: 2,
        ..Setup::default()
    }
}

async fn ask(device: &mut Device, id: &str) -> Value {
    device.answer("generate", json!({ "id": id, "prompt": "Hi", "max_tokens": 2, "ignore_eos": true })).await
}

/// Starts a long answer and waits until it has begun.
async fn begin(device: &mut Device, id: &str) {
    let long = json!({ "id": id, "prompt": "Count.", "max_tokens": LONG, "ignore_eos": true, "stream": true });
    device.ask("generate", &long).await;
    while device.next().await.json["event"] != "delta" {}
}

const LONG: u32 = 500;

#[tokio::test]
async fn the_old_strategy_ends_its_answer_while_the_new_one_serves() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, setup("[\"cpu:f16\", \"cpu:int8\"]")).await;
    let mut fleet = Fleet::watch(&broker).await;
    let mut operator = Operator::connect(&broker).await;
    let (mut device, mut other) = (Device::connect(&broker, "dev").await, Device::connect(&broker, "other").await);
    begin(&mut device, "long").await;
    let old = node.engines()[0];
    let output = operator.does("switch", json!({ "model": "main", "strategy": "cpu:int8" })).await;
    assert_eq!((&output["state"], &output["strategy"]), (&json!("ready"), &json!("cpu:int8")), "{output}");
    let progress = operator.progress.last().expect("a load takes time");
    assert_eq!((&progress["verb"], &progress["step"]), (&json!("switch"), &json!("loading")), "{progress}");
    assert!(progress["progress"].as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)), "{progress}");
    let switched = fleet.event("switched").await;
    assert_eq!((&switched["from"], &switched["to"]), (&json!("cpu:f16"), &json!("cpu:int8")), "{switched}");

    assert_eq!(node.engines().len(), 2, "the old one is not done");
    assert_eq!(ask(&mut other, "new").await["strategy"], "cpu:int8");
    let mut next = 1;
    let result = loop {
        let reply = device.next().await.json;
        if reply["event"] != "delta" {
            break reply;
        }
        assert_eq!(reply["seq"], next, "no delta is lost or comes twice: {reply}");
        next += 1;
    };
    assert_eq!((&result["event"], &result["strategy"]), (&json!("result"), &json!("cpu:f16")), "{result}");
    assert_eq!(result["usage"]["generated_tokens"], LONG, "{result}");
    until("the old engine ends with its last job", || (!node.engines().contains(&old)).then_some(())).await;
    // What the operator chose is as it should be, and stays.
    fleet.status(|status| status["state"] == "ready" && status["reasons"] == json!([])).await;
    assert_eq!(ask(&mut other, "later").await["strategy"], "cpu:int8");
}

#[tokio::test]
async fn a_job_of_an_old_engine_that_dies_goes_on_in_the_new_one() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, setup("[\"cpu:f16\", \"cpu:int8\"]")).await;
    let mut operator = Operator::connect(&broker).await;
    let mut device = Device::connect(&broker, "dev").await;
    begin(&mut device, "long").await;
    let old = node.engines()[0];
    operator.does("switch", json!({ "model": "main", "strategy": "cpu:int8" })).await;
    signal_pid(old, Signal::KILL);
    let result = device.outcome("long").await;
    assert_eq!((&result["event"], &result["strategy"]), (&json!("result"), &json!("cpu:int8")), "{result}");
    assert_eq!(node.operator_json(&["status"])["state"], "ready");
}

#[tokio::test]
async fn a_switch_to_what_does_not_work_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let damaged = folder.path().join("damaged.gguf");
    fs::copy(files::f16(), &damaged).unwrap();
    let size = fs::metadata(&damaged).unwrap().len();
    let file = OpenOptions::new().write(true).open(&damaged).unwrap();
    file.write_all_at(&vec![0xff; 32 << 20], size / 4).unwrap();
    let broker = Broker::start().await;
    let setup = Setup { files: vec![damaged, files::int8()], ..setup("[\"cpu:int8\", \"cpu:f16\"]") };
    let node = Node::ready(&broker, setup).await;
    let mut operator = Operator::connect(&broker).await;
    let mut device = Device::connect(&broker, "dev").await;
    begin(&mut device, "long").await;
    let engines = node.engines();
    let error = operator.fails("switch", json!({ "model": "main", "strategy": "cpu:f16" })).await;
    assert_eq!(error["code"], "model_unavailable", "{error}");
    let text = error["message"].as_str().unwrap();
    assert!(text.contains("cpu:f16") && text.contains("golden prompt failed"), "{error}");
    assert_eq!(ask(&mut device, "still").await["strategy"], "cpu:int8");
    let result = device.outcome("long").await;
    assert_eq!((&result["event"], &result["usage"]["generated_tokens"]), (&json!("result"), &json!(LONG)), "{result}");
    until("only the old engine is left", || (node.engines() == engines).then_some(())).await;
    assert_eq!(node.operator_json(&["status"])["state"], "ready");
}

#[tokio::test]
async fn a_switch_needs_room_for_both_and_says_how_much_is_missing() {
    let broker = Broker::start().await;
    let tables = "[memory]\nbudget = \"450MiB\"".to_owned();
    let setup = Setup { tables, context: 512, sequences: 1, ..setup("[\"cpu:int8\", \"cpu:f16\"]") };
    let node = Node::ready(&broker, setup).await;
    let mut operator = Operator::connect(&broker).await;
    let mut device = Device::connect(&broker, "dev").await;
    let error = operator.fails("switch", json!({ "model": "main", "strategy": "cpu:f16" })).await;
    assert_eq!(error["code"], "memory_headroom", "{error}");
    let text = error["message"].as_str().unwrap();
    assert!(text.contains("memory.budget") && text.matches(" MiB").count() == 2, "{error}");
    assert_eq!(ask(&mut device, "still").await["strategy"], "cpu:int8");
    // As the message says.
    operator.does("unload", json!({ "model": "main" })).await;
    let loaded = operator.does("load", json!({ "model": "main", "strategy": "cpu:f16" })).await;
    assert_eq!(loaded["strategy"], "cpu:f16", "{loaded}");
    assert_eq!(node.operator_json(&["status"])["state"], "ready");
}

#[tokio::test]
async fn a_switch_to_another_model_makes_it_the_default() {
    let broker = Broker::start().await;
    let other = format!(
        "[[model]]\nname = \"other\"\nfiles = [{{ path = {:?} }}]\ncontext = 512\nsequences = 1\nthreads = 1\n",
        files::int8()
    );
    let setup = Setup { tables: other, model: "default = true".to_owned(), sequences: 1, ..Setup::default() };
    let node = Node::ready(&broker, setup).await;
    let mut operator = Operator::connect(&broker).await;
    let mut device = Device::connect(&broker, "dev").await;
    assert_eq!(ask(&mut device, "before").await["model"], "main");
    assert_eq!(operator.does("switch", json!({ "model": "other" })).await["name"], "other");
    assert_eq!(ask(&mut device, "after").await["model"], "other");
    let named = json!({ "id": "named", "model": "main", "prompt": "Hi", "max_tokens": 1 });
    assert_eq!(device.answer("generate", named).await["model"], "main", "the other one is still there");
    // One that is not loaded comes up for it.
    operator.does("unload", json!({ "model": "main" })).await;
    assert_eq!(operator.does("switch", json!({ "model": "main" })).await["state"], "ready");
    assert_eq!(ask(&mut device, "back").await["model"], "main");
    assert_eq!(node.engines().len(), 2);
}

#[tokio::test]
async fn a_reload_takes_the_new_file_and_loses_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    symlink(model(), &path).unwrap();
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, Setup { files: vec![path.clone()], sequences: 2, ..Setup::default() }).await;
    let mut fleet = Fleet::watch(&broker).await;
    let before = fleet.model("main", |model| model["state"] == "ready").await;
    let mut operator = Operator::connect(&broker).await;
    let mut device = Device::connect(&broker, "dev").await;
    let fresh = folder.path().join("fresh");
    symlink(files::int8(), &fresh).unwrap();
    fs::rename(&fresh, &path).unwrap();

    let id = operator.ask("reload", json!({ "model": "main" })).await;
    let reloaded = async {
        let answer = operator.answer(&id).await;
        assert_eq!(answer["event"], "result", "{answer}");
        answer["output"].clone()
    };
    tokio::pin!(reloaded);
    let mut asked = 0;
    let output = loop {
        let answer = ask(&mut device, &format!("a{asked}")).await;
        assert_eq!(answer["event"], "result", "{answer}");
        asked += 1;
        if let Ok(output) = tokio::time::timeout(Duration::ZERO, &mut reloaded).await {
            break output;
        }
    };
    assert!(asked > 1, "clients were served meanwhile");
    let after = fleet.model("main", |model| model["state"] == "ready" && model["sha256"] != before["sha256"]).await;
    assert_eq!((&output["sha256"], &after["precision"]), (&after["sha256"], &json!("Q8_0")), "{after}");
    assert_eq!(ask(&mut device, "last").await["strategy"], "cpu:int8");
    fleet.status(|status| status["state"] == "ready").await;
}

#[tokio::test]
async fn one_broken_model_does_not_keep_the_other_from_serving() {
    let folder = tempfile::tempdir().unwrap();
    let notify = folder.path().join("notify");
    let socket = UnixDatagram::bind(&notify).unwrap();
    socket.set_nonblocking(true).unwrap();
    let broker = Broker::start().await;
    let mut fleet = Fleet::watch(&broker).await;
    let table = format!(
        "[[model]]\nname = \"broken\"\nfiles = [{{ path = {:?} }}]\ncontext = 512\nthreads = 1\n",
        folder.path().join("none.gguf")
    );
    let setup = Setup {
        tables: table,
        model: "default = true".to_owned(),
        environment: vec![("NOTIFY_SOCKET", notify.display().to_string())],
        ..Setup::default()
    };
    let _node = Node::start(&broker, &setup);
    let mut told = String::new();
    until("systemd is told that it is ready", || {
        let mut message = [0; 4096];
        let size = socket.recv(&mut message).ok()?;
        told += &String::from_utf8_lossy(&message[..size]);
        told.push('\n');
        told.contains("READY=1").then_some(())
    })
    .await;
    let status = fleet.status(|status| status["state"] == "degraded").await;
    let reasons = status["reasons"].as_array().unwrap();
    assert!(reasons.len() == 1 && reasons[0].as_str().unwrap().starts_with("broken: "), "{status}");
    fleet.model("main", |model| model["state"] == "ready").await;
    fleet.model("broken", |model| model["state"] == "unavailable").await;
    let mut device = Device::connect(&broker, "dev").await;
    assert_eq!(ask(&mut device, "a").await["model"], "main");
    let refused = device.answer("generate", json!({ "id": "b", "model": "broken", "prompt": "Hi" })).await;
    assert_eq!(refused["code"], "model_unavailable", "{refused}");
    assert_eq!(ask(&mut device, "c").await["event"], "result");
}
