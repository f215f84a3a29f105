//! What operators ask for, on the machine and over MQTT: looking, draining, unloading and loading.

use serde_json::{Value, json};

use crate::harness::{Broker, Device, Fleet, Node, Operator, Send, Setup, files, until};

fn request(id: &str, tokens: u32) -> Value {
    json!({ "id": id, "prompt": "Count.", "max_tokens": tokens, "ignore_eos": true })
}

/// Starts an answer and waits until it has begun.
async fn begin(device: &mut Device, id: &str, tokens: u32) {
    let mut request = request(id, tokens);
    request["stream"] = json!(true);
    device.ask("generate", &request).await;
    while device.next().await.json["event"] != "delta" {}
}

fn two_strategies() -> Setup {
    Setup {
        files: vec![files::f16(), files::int8()],
        model: "ladder = [\"cpu:int8\", \"cpu:f16\"]".to_owned(),
        sequences: 2,
        ..Setup::default()
    }
}

#[tokio::test]
async fn both_ways_tell_the_same() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 2, ..Setup::default() }).await;
    let mut operator = Operator::connect(&broker).await;
    for verb in ["status", "info", "models"] {
        let there = operator.does(verb, json!({})).await;
        assert_eq!(node.operator_json(&[verb]), there, "{verb}");
        match verb {
            "status" => assert_eq!(there["state"], "ready", "{there}"),
            "info" => assert_eq!((&there["node"], &there["models"]), (&json!("gw"), &json!(["main"])), "{there}"),
            _ => {
                assert_eq!((&there[0]["name"], &there[0]["strategy"]), (&json!("main"), &json!("cpu:int4")), "{there}");
            }
        }
        let output = node.operator(&[verb]);
        assert!(output.status.success() && !output.stdout.is_empty(), "{verb} for people: {output:?}");
    }

    // The machine goes on meanwhile: numbers may differ.
    let checks = |findings: &Value| -> Vec<Value> {
        findings.as_array().unwrap().iter().map(|finding| finding["check"].clone()).collect()
    };
    let there = operator.does("diagnose", json!({})).await;
    assert!(checks(&there).contains(&json!("models")), "{there}");
    assert_eq!(checks(&node.operator_json(&["diagnose"])), checks(&there));
    assert!(String::from_utf8(node.operator(&["diagnose"]).stdout).unwrap().contains("models"));

    // Where the operator wants it, with the operator's own mark.
    let topic = "promptd/gw/response/control/desk";
    let fields = json!({ "id": "elsewhere", "reply_to": topic, "ref": "r1" });
    operator.device().send(Send::new("promptd/gw/control/status", fields.to_string())).await;
    let reply = operator.device().next().await;
    assert_eq!((reply.topic.as_str(), &reply.json["id"]), (topic, &json!("elsewhere")), "{}", reply.json);
    assert_eq!((&reply.json["ref"], &reply.json["node"]), (&json!("r1"), &json!("gw")), "{}", reply.json);
    assert!(!reply.retain);
    // An empty message is a request without fields; the answer goes to an id of the node's.
    operator.device().send(Send::new("promptd/gw/control/status", "")).await;
    assert_eq!(operator.device().next().await.json["output"]["state"], "ready");
}

#[tokio::test]
async fn a_drained_node_finishes_what_it_has_and_resumes() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 1, ..Setup::default() }).await;
    let mut fleet = Fleet::watch(&broker).await;
    let mut operator = Operator::connect(&broker).await;
    let mut device = Device::connect(&broker, "dev").await;
    let mut other = Device::connect(&broker, "other").await;
    begin(&mut device, "runs", 300).await;
    device.ask("generate", &json!({ "id": "waits", "prompt": "Hi", "max_tokens": 2, "ack": true })).await;
    while device.next().await.json["event"] != "accepted" {}

    let status = operator.does("drain", json!({})).await;
    assert_eq!(status["state"], "draining", "{status}");
    fleet.status(|status| status["state"] == "draining" && status["reasons"].to_string().contains("operator")).await;
    let refused = other.answer("generate", request("new", 2)).await;
    assert_eq!((&refused["event"], &refused["code"]), (&json!("error"), &json!("draining")), "{refused}");
    assert_eq!(device.outcome("runs").await["event"], "result");
    assert_eq!(device.outcome("waits").await["event"], "result", "it was accepted before");
    let again = node.operator_json(&["drain"]);
    assert_eq!(again["state"], "draining", "asking twice does no harm: {again}");

    assert_eq!(node.operator_json(&["resume"])["state"], "ready");
    fleet.status(|status| status["state"] == "ready" && status["reasons"] == json!([])).await;
    assert_eq!(other.answer("generate", request("after", 2)).await["event"], "result");
}

#[tokio::test]
async fn an_unloaded_model_ends_its_job_and_stays_away_until_it_is_loaded() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, two_strategies()).await;
    let mut fleet = Fleet::watch(&broker).await;
    let mut operator = Operator::connect(&broker).await;
    let mut device = Device::connect(&broker, "dev").await;
    let mut other = Device::connect(&broker, "other").await;
    begin(&mut device, "runs", 300).await;
    let unload = operator.ask("unload", json!({ "model": "main" })).await;
    // The node has heard of it before what comes next: control messages and requests share a connection.
    fleet.model("main", |model| model["reason"].to_string().contains("operator")).await;
    let refused = other.answer("generate", request("new", 2)).await;
    assert_eq!(refused["code"], "model_unavailable", "{refused}");
    let first = device.outcome("runs").await;
    assert_eq!(
        (&first["event"], &first["usage"]["generated_tokens"]),
        (&json!("result"), &json!(300)),
        "it ran to its end: {first}"
    );
    let answer = operator.answer(&unload).await;
    assert_eq!((&answer["event"], &answer["output"]["state"]), (&json!("result"), &json!("unloaded")), "{answer}");
    assert_eq!(fleet.event("unloaded").await["model"], "main");
    fleet.model("main", |model| model["state"] == "unloaded").await;
    assert_eq!(node.engines(), Vec::<u32>::new());
    let refused = other.answer("generate", request("later", 2)).await;
    assert_eq!(
        (&refused["code"], &refused["retry_after_ms"]),
        (&json!("model_unavailable"), &json!(null)),
        "{refused}"
    );
    // Both are answered although nothing is to be done.
    assert_eq!(operator.does("unload", json!({ "model": "main" })).await["state"], "unloaded");
    assert_eq!(operator.does("reload", json!({ "model": "main" })).await["state"], "unloaded");

    let loaded = operator.does("load", json!({ "model": "main" })).await;
    assert_eq!((&loaded["state"], &loaded["strategy"]), (&json!("ready"), &json!("cpu:int8")), "{loaded}");
    assert_eq!(fleet.event("loaded").await["to"], "cpu:int8");
    assert_eq!(other.answer("generate", request("back", 2)).await["event"], "result");

    // Only as the operator wants it, which is no trouble.
    operator.does("unload", json!({ "model": "main" })).await;
    let loaded = operator.does("load", json!({ "model": "main", "strategy": "cpu:f16" })).await;
    assert_eq!((&loaded["state"], &loaded["strategy"]), (&json!("ready"), &json!("cpu:f16")), "{loaded}");
    fleet.status(|status| status["state"] == "ready" && status["reasons"] == json!([])).await;
    assert_eq!(other.answer("generate", request("so", 2)).await["strategy"], "cpu:f16");
}

#[tokio::test]
async fn who_changes_his_mind_is_obeyed_and_loses_no_job() {
    let broker = Broker::start().await;
    let node = Node::start(&broker, &two_strategies());
    let mut operator = Operator::connect(&broker).await;
    let mut device = Device::connect(&broker, "dev").await;
    // Before it has ever been loaded.
    node.wait_for_state(&broker, "loading").await;
    assert_eq!(operator.does("unload", json!({ "model": "main" })).await["state"], "unloaded");
    assert_eq!(operator.does("load", json!({ "model": "main" })).await["state"], "ready");

    begin(&mut device, "runs", 300).await;
    let unload = operator.ask("unload", json!({ "model": "main" })).await;
    let load = operator.ask("load", json!({ "model": "main" })).await;
    for _ in [&unload, &load] {
        let reply = operator.device().outcome_of_any().await;
        assert_eq!((&reply["event"], &reply["output"]["state"]), (&json!("result"), &json!("ready")), "{reply}");
    }
    let answer = device.outcome("runs").await;
    assert_eq!((&answer["event"], &answer["usage"]["generated_tokens"]), (&json!("result"), &json!(300)), "{answer}");
    until("one engine is left", || (node.engines().len() == 1).then_some(())).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_the_reason() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, two_strategies()).await;
    let mut operator = Operator::connect(&broker).await;
    let engines = node.engines();
    for (verb, fields, code, text) in [
        ("load", json!({ "model": "nobody" }), "unknown_model", "known are: main"),
        ("unload", json!({ "model": "nobody" }), "unknown_model", "main"),
        ("switch", json!({ "model": "nobody" }), "unknown_model", "main"),
        ("reload", json!({ "model": "nobody" }), "unknown_model", "main"),
        ("switch", json!({ "model": "main", "strategy": "gpu:int8" }), "invalid_request", "cpu:int8, cpu:f16"),
        ("load", json!({ "model": "main", "strategy": "cpu:int4" }), "invalid_request", "not on the ladder"),
        ("switch", json!({ "model": "main", "strategy": "fast" }), "invalid_request", "fast"),
        ("unload", json!({}), "invalid_request", "needs \"model\""),
        ("drain", json!({ "now": true }), "invalid_request", "now"),
        ("reboot", json!({}), "invalid_request", "no control verb"),
    ] {
        let error = operator.fails(verb, fields).await;
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().unwrap().contains(text), "{text:?} in {error}");
    }
    let retained = Send { retain: true, ..Send::new("promptd/gw/control/drain", "{\"id\":\"kept\"}") };
    operator.device().send(retained).await;
    let error = operator.answer("kept").await;
    assert_eq!((&error["event"], &error["code"]), (&json!("error"), &json!("retained")), "{error}");

    let output = node.operator(&["unload", "nobody"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("known are: main"), "{said}");
    assert_eq!((node.engines(), node.operator_json(&["status"])["state"].clone()), (engines, json!("ready")));
}
