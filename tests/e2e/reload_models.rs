//! Models come, go and change while the node runs.

use serde_json::{Value, json};

use crate::harness::{Broker, Device, Fleet, Node, Operator, Setup, files, until};

fn request(model: &str, id: &str, tokens: u32) -> Value {
    json!({ "id": id, "model": model, "prompt": "Count.", "max_tokens": tokens, "ignore_eos": true })
}

fn with(model: &str) -> Setup {
    let model = format!("default = true\n{model}");
    Setup { model, sequences: 1, context: 512, ..Setup::default() }
}

fn and_extra(settings: &str) -> Setup {
    let path = files::int8().display().to_string();
    let extra = format!("[[model]]\nname = \"extra\"\nfiles = [{{ path = {path:?} }}]\nthreads = 1\n{settings}\n");
    Setup { tables: extra, ..with("") }
}

/// The engine that was there before the other models came.
fn first_engine(node: &Node) -> u32 {
    *node.engines().first().unwrap()
}

#[tokio::test]
async fn a_model_comes_and_goes_beside_one_that_stays() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, with("")).await;
    let mut fleet = Fleet::watch(&broker).await;
    let mut device = Device::connect(&broker, "dev").await;
    let mut other = Device::connect(&broker, "other").await;
    let main = first_engine(&node);
    let refused = device.answer("generate", request("extra", "early", 2)).await;
    assert_eq!(refused["code"], "unknown_model", "{refused}");

    node.configure(&broker, &and_extra("context = 512\nsequences = 1"));
    let answer = node.operator_json(&["reload"]);
    assert_eq!((&answer["added"], &answer["removed"]), (&json!(["extra"]), &json!([])), "{answer}");
    assert_eq!(
        (&answer["models"][1]["name"], &answer["models"][1]["state"]),
        (&json!("extra"), &json!("ready")),
        "{answer}"
    );
    fleet.model("extra", |model| model["state"] == "ready").await;
    assert_eq!(device.answer("generate", request("extra", "a", 2)).await["model"], "extra");
    assert_eq!(node.operator_json(&["info"])["models"], json!(["extra", "main"]));

    // It goes while one job runs in it and another waits for it.
    let mut running = request("extra", "runs", 200);
    running["stream"] = json!(true);
    device.ask("generate", &running).await;
    while device.next().await.json["event"] != "delta" {}
    let mut waiting = request("extra", "waits", 2);
    waiting["ack"] = json!(true);
    other.ask("generate", &waiting).await;
    assert_eq!(other.next().await.json["event"], "accepted");
    node.configure(&broker, &with(""));
    let answer = node.operator_json(&["reload"]);
    assert_eq!(answer["removed"], json!(["extra"]), "{answer}");
    let end = other.outcome("waits").await;
    assert_eq!((&end["code"], &end["retryable"]), (&json!("unknown_model"), &json!(false)), "{end}");
    let refused = other.answer("generate", request("extra", "late", 2)).await;
    assert!(refused["code"] == "unknown_model" && refused.to_string().contains("known are: main"), "{refused}");
    let end = device.outcome("runs").await;
    assert_eq!((&end["event"], &end["usage"]["generated_tokens"]), (&json!("result"), &json!(200)), "{end}");
    fleet.event("unloaded").await;
    fleet.removed("extra").await;
    assert_eq!(device.answer("generate", request("main", "b", 2)).await["event"], "result");
    until("its engine is gone", || (node.engines() == [main]).then_some(())).await;
    assert_eq!(node.operator_json(&["status"])["state"], "ready");
}

#[tokio::test]
async fn a_changed_model_serves_as_it_was_until_it_can_as_it_shall() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, with("")).await;
    let mut fleet = Fleet::watch(&broker).await;
    let mut operator = Operator::connect(&broker).await;
    let mut device = Device::connect(&broker, "dev").await;
    let before = first_engine(&node);
    fleet.model("main", |model| model["context"] == 512).await;

    node.configure(&broker, &Setup { context: 768, ..with("pinned = true") });
    let reload = operator.ask("reload", json!({})).await;
    // Requests are answered all the time, at first by the old engine.
    let mut asked = 0;
    let changed = |model: &Value| model["state"] == "ready" && model["context"] == 768;
    loop {
        let answer = device.answer("generate", request("main", &format!("a{asked}"), 2)).await;
        assert_eq!(answer["event"], "result", "{answer}");
        asked += 1;
        if changed(&node.operator_json(&["models"])[0]) {
            break;
        }
    }
    let answer = operator.answer(&reload).await;
    assert_eq!(answer["output"]["changed"], json!(["model[main].pinned", "model[main].context"]), "{answer}");
    assert!(changed(&answer["output"]["models"][0]), "{answer}");
    fleet.model("main", changed).await;
    assert!(asked > 1);
    until("the old engine is gone", || (node.engines().len() == 1 && first_engine(&node) != before).then_some(()))
        .await;

    // What cannot be loaded leaves the old one in its place, and says so.
    let engines = node.engines();
    node.configure(&broker, &Setup { files: vec!["/nowhere.gguf".into()], context: 768, ..with("pinned = true") });
    operator.does("reload", json!({})).await;
    let status = fleet.status(|status| status["state"] == "degraded").await;
    assert!(status.to_string().contains("nowhere.gguf"), "{status}");
    assert_eq!(device.answer("generate", request("main", "still", 2)).await["event"], "result");
    assert_eq!(node.engines(), engines);
}

#[tokio::test]
async fn a_model_that_is_configured_again_before_it_has_gone_loses_no_job() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, and_extra("context = 512\nsequences = 1")).await;
    let mut fleet = Fleet::watch(&broker).await;
    let mut device = Device::connect(&broker, "dev").await;
    let mut running = request("extra", "runs", 300);
    running["stream"] = json!(true);
    device.ask("generate", &running).await;
    while device.next().await.json["event"] != "delta" {}
    node.configure(&broker, &with(""));
    assert_eq!(node.operator_json(&["reload"])["removed"], json!(["extra"]));
    node.configure(&broker, &and_extra("context = 512\nsequences = 1"));
    assert_eq!(node.operator_json(&["reload"])["added"], json!(["extra"]));
    let end = device.outcome("runs").await;
    assert_eq!((&end["event"], &end["usage"]["generated_tokens"]), (&json!("result"), &json!(300)), "{end}");
    fleet.model("extra", |model| model["state"] == "ready").await;
    assert_eq!(device.answer("generate", request("extra", "b", 2)).await["event"], "result");

    // The last one may go, and come back.
    node.configure(&broker, &Setup { with_model: false, ..Setup::default() });
    assert_eq!(node.operator_json(&["reload"])["removed"], json!(["extra", "main"]));
    fleet.status(|status| status["state"] == "no_model").await;
    assert_eq!(device.answer("generate", json!({ "id": "c", "prompt": "Hi" })).await["code"], "no_model");
    node.configure(&broker, &with(""));
    node.operator_json(&["reload"]);
    fleet.status(|status| status["state"] == "ready").await;
    assert_eq!(
        device.answer("generate", json!({ "id": "d", "prompt": "Hi", "max_tokens": 2 })).await["event"],
        "result"
    );
}
