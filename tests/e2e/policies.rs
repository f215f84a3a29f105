//! What policies forbid, and what they let clients use.

use serde_json::{Value, json};

use crate::harness::{Broker, Device, Node, Send, Setup, until};

fn setup(tables: &str) -> Setup {
    Setup { tables: tables.to_owned(), sequences: 1, ..Setup::default() }
}

fn request(id: &str, tokens: u32) -> Value {
    json!({ "id": id, "prompt": "Count.", "max_tokens": tokens, "ignore_eos": true })
}

/// The refusal of a request, and that it names the key which is to blame.
async fn refused(device: &mut Device, task: &str, request: Value, code: &str, key: &str) -> Value {
    let reply = device.answer(task, request).await;
    assert_eq!((&reply["event"], &reply["code"]), (&json!("error"), &json!(code)), "{reply}");
    assert!(reply["message"].as_str().unwrap().contains(key), "{reply} does not name {key}");
    reply
}

/// What a device gets which wants nothing but text; what else it hears is about other requests.
async fn in_text(device: &mut Device, mut request: Value) -> String {
    request["reply"] = json!("text");
    device.ask("generate", &request).await;
    loop {
        let reply = device.next().await;
        if !reply.json.is_object() {
            return String::from_utf8(reply.payload.to_vec()).unwrap();
        }
    }
}

const CAPS: &str = "[[policy]]\nname = \"sensors\"\nclients = [\"sensor-*\"]\ntasks = [\"generate\"]\nmodels = [\"main\"]\n\
                    priority = \"low\"\nmax_tokens = 8\n[[policy]]\nname = \"rest\"\nclients = [\"*\"]\nmax_tokens = 12\n";

#[tokio::test]
async fn what_is_above_a_cap_is_forbidden_and_defaults_are_lowered() {
    let broker = Broker::start().await;
    let groups = Setup { node_lines: "groups = [\"line\"]", ..setup(CAPS) };
    let node = Node::ready(&broker, groups).await;
    let mut sensor = Device::connect(&broker, "sensor-7").await;
    refused(&mut sensor, "chat", request("task", 4), "forbidden", "policy[sensors].tasks").await;
    let with = |name: &str, value: Value| {
        let mut request = request(name, 4);
        request[name] = value;
        request
    };
    refused(&mut sensor, "generate", with("model", json!("other")), "forbidden", "policy[sensors].models").await;
    refused(&mut sensor, "generate", with("priority", json!("normal")), "forbidden", "policy[sensors].priority").await;
    let reply = refused(&mut sensor, "generate", request("long", 9), "forbidden", "policy[sensors].max_tokens").await;
    assert!(reply["retryable"] == false && reply["retry_after_ms"].is_null(), "{reply}");
    assert_eq!(in_text(&mut sensor, request("text", 9)).await, "error: forbidden");

    let open = |id: &str| json!({ "id": id, "prompt": "Count.", "ignore_eos": true });
    let reply = sensor.answer("generate", open("default")).await;
    assert_eq!(reply["usage"]["generated_tokens"], 8, "{reply}");
    assert_eq!(sensor.answer("generate", with("priority", json!("low"))).await["event"], "result");
    let mut other = Device::connect(&broker, "pump").await;
    assert_eq!(other.answer("generate", open("other")).await["usage"]["generated_tokens"], 12);
    refused(&mut other, "generate", request("much", 13), "forbidden", "policy[rest].max_tokens").await;

    // Who names no client has the lowest policy, and groups have no other rules.
    let mut anonymous = Device::connect(&broker, "anonymous").await;
    anonymous.send(Send::new("promptd/gw/request/generate", open("nobody").to_string())).await;
    assert_eq!(anonymous.outcome("nobody").await["usage"]["generated_tokens"], 12);
    until("it takes part", || node.log().contains("work for groups is taken").then_some(())).await;
    for (id, tokens, event) in [("within", 8, "result"), ("above", 9, "error")] {
        let payload = request(id, tokens).to_string();
        sensor.send(Send::new("promptd/group/line/request/generate/sensor-7", payload)).await;
        assert_eq!(sensor.outcome(id).await["event"], event, "{id}");
    }
}

#[tokio::test]
async fn a_new_policy_holds_for_new_requests_and_not_for_those_that_come_again() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, setup("")).await;
    let mut device = Device::connect(&broker, "cam").await;
    let first = device.answer("generate", request("first", 4)).await;
    assert_eq!(first["event"], "result", "{first}");
    let chat = "[[policy]]\nname = \"cams\"\nclients = [\"cam\"]\ntasks = [\"chat\"]\ntokens_per_minute = 1\n";
    node.configure(&broker, &setup(chat));
    assert_eq!(node.operator_json(&["reload"])["changed"], json!(["policy"]));
    refused(&mut device, "generate", request("second", 4), "forbidden", "policy[cams].tasks").await;
    assert_eq!(device.answer("generate", request("first", 4)).await, first);
    // A policy of a model that is not there changes nothing.
    node.configure(&broker, &setup("[[policy]]\nname = \"p\"\nclients = [\"cam\"]\nmodels = [\"huge\"]\n"));
    let output = node.operator(&["reload"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("policy[p].models = \"huge\": no such model"), "{said}");
    refused(&mut device, "chat", request("third", 4), "forbidden", "policy[cams].tokens_per_minute").await;
}

#[tokio::test]
async fn tokens_are_charged_given_back_and_come_with_time() {
    let broker = Broker::start().await;
    let rate = |tokens: u32| {
        format!("[[policy]]\nname = \"cams\"\nclients = [\"cam\", \"text\"]\ntokens_per_minute = {tokens}\n")
    };
    let node = Node::ready(&broker, setup(&rate(900))).await;
    let mut cam = Device::connect(&broker, "cam").await;
    let never =
        refused(&mut cam, "generate", request("never", 950), "forbidden", "policy[cams].tokens_per_minute").await;
    assert!(never["message"].as_str().unwrap().contains("no more than 900 are allowed at once"), "{never}");
    // It may be long and is short: what it did not use is there again.
    let short = json!({ "id": "short", "prompt": "Count.", "max_tokens": 850, "max_bytes": 8 });
    assert_eq!(cam.answer("generate", short).await["finish"], "truncated");
    let mut long = request("long", 700);
    long["stream"] = json!(true);
    cam.ask("generate", &long).await;
    while cam.next().await.json["event"] != "delta" {}

    let later =
        refused(&mut cam, "generate", request("later", 400), "rate_limited", "policy[cams].tokens_per_minute").await;
    // 700 of 900 are in use and some of the first job's: 400 are there after 200 have come, and no more than the first had.
    let after = later["retry_after_ms"].as_u64().unwrap();
    assert!(later["retryable"] == true && (1..=20_000).contains(&after), "{later}");
    cam.send(Send::new("promptd/gw/cancel/cam", r#"{"id":"long"}"#)).await;
    assert_eq!(cam.outcome("long").await["code"], "cancelled");
    refused(&mut cam, "generate", request("still", 700), "rate_limited", "are left of 900 a minute").await;

    // Another client has its own, and text is enough to hear of it.
    let mut text = Device::connect(&broker, "text").await;
    assert!(
        !in_text(&mut text, json!({ "id": "1", "prompt": "Count.", "max_tokens": 700, "max_bytes": 4 }))
            .await
            .is_empty()
    );
    text.ask("generate", &long).await;
    while text.next().await.json["event"] != "delta" {}
    assert_eq!(in_text(&mut text, request("2", 800)).await, "error: rate_limited");
    text.send(Send::new("promptd/gw/cancel/text", r#"{"id":"long"}"#)).await;
    assert_eq!(text.outcome("long").await["code"], "cancelled");

    node.configure(&broker, &setup(&rate(100_000)));
    assert_eq!(node.operator_json(&["reload"])["changed"], json!(["policy[cams].tokens_per_minute"]));
    assert_eq!(cam.answer("generate", request("later", 4)).await["event"], "result", "a new request under this id");
}

#[tokio::test]
async fn a_job_that_is_cancelled_while_it_waits_has_used_nothing() {
    let broker = Broker::start().await;
    let tables = "[[policy]]\nname = \"cams\"\nclients = [\"cam\"]\nqueue_jobs = 1\ntokens_per_minute = 1000\n";
    let node = Node::ready(&broker, setup(tables)).await;
    let mut other = Device::connect(&broker, "other").await;
    let mut long = request("long", 900);
    long["stream"] = json!(true);
    other.ask("generate", &long).await;
    while other.next().await.json["event"] != "delta" {}
    let mut cam = Device::connect(&broker, "cam").await;
    let mut waits = request("waits", 900);
    waits["ack"] = json!(true);
    for turn in 0..3 {
        waits["id"] = json!(format!("waits{turn}"));
        cam.ask("generate", &waits).await;
        assert_eq!(cam.next().await.json["event"], "accepted");
        let reply =
            refused(&mut cam, "generate", request("second", 4), "rate_limited", "policy[cams].queue_jobs").await;
        assert_eq!(reply["retryable"], true, "{reply}");
        cam.send(Send::new("promptd/gw/cancel/cam", json!({ "id": format!("waits{turn}") }).to_string())).await;
        assert_eq!(cam.outcome(&format!("waits{turn}")).await["code"], "cancelled");
    }
    assert_eq!(node.operator_json(&["cancel", "other"])["cancelled"], 1);
}

#[tokio::test]
async fn who_can_only_be_late_is_told_so_at_once() {
    let broker = Broker::start().await;
    let mut node = Node::ready(&broker, setup("[limits]\nmax_tokens_cap = 10000\n")).await;
    let mut device = Device::connect(&broker, "dev").await;
    let ask = |id: &str, tokens: u32, deadline: u64| {
        let mut request = request(id, tokens);
        request["ack"] = json!(true);
        request["deadline_ms"] = json!(deadline);
        request
    };
    // Nothing is known yet, and so nothing is promised.
    device.ask("generate", &ask("first", 40, 600_000)).await;
    let accepted = device.next().await.json;
    assert!(accepted["event"] == "accepted" && accepted["eta_ms"].is_null(), "{accepted}");
    assert_eq!(device.outcome("first").await["event"], "result");
    for turn in 0..4 {
        let reply = device.answer("generate", ask(&turn.to_string(), 40, 600_000)).await;
        assert_eq!(reply["event"], "result", "{reply}");
    }
    let mut etas = Vec::new();
    for id in ["runs", "waits", "waits2"] {
        device.ask("generate", &ask(id, 900, 600_000)).await;
        let accepted = device.next().await.json;
        assert_eq!(accepted["event"], "accepted", "{accepted}");
        etas.push(accepted["eta_ms"].as_f64().unwrap());
    }
    assert!(etas[0] < etas[1] && etas[1] < etas[2], "each behind the others: {etas:?}");

    let late = device.answer("generate", ask("late", 4, 500)).await;
    assert_eq!(late["code"], "deadline_exceeded", "{late}");
    let message = late["message"].as_str().unwrap();
    assert!(message.contains("the first token would not be there within") && message.contains(" ms"), "{late}");
    assert!(late["retry_after_ms"].as_f64().is_some_and(|after| after < etas[2]), "{late}");
    assert_eq!(late["retryable"], true, "what says when to come back wants that");
    // It was refused and is no job; one that was accepted before a crash is not asked again whether it may be late.
    assert_eq!(node.operator_json(&["jobs"])["total"], 3);
    device.ask("generate", &ask("patient", 4, 600_000)).await;
    assert_eq!(device.next().await.json["event"], "accepted");
    node.restart(&setup("[limits]\nmax_tokens_cap = 10000\n"));
    node.wait_for_state(&broker, "ready").await;
    for id in ["runs", "waits", "waits2"] {
        node.operator_json(&["cancel", "dev", id]);
    }
    assert_eq!(device.outcome("patient").await["event"], "result");
}
