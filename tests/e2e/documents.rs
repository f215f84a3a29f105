//! The retained documents.

use serde_json::{Value, json};

use crate::harness::{Broker, Device, Node, Setup};

#[tokio::test]
async fn the_fleet_sees_the_node_and_its_model() {
    let broker = Broker::start().await;
    let tables = "[node.labels]\nsite = \"plant 4\"".to_owned();
    let _node = Node::ready(&broker, Setup { sequences: 2, tables, ..Setup::default() }).await;
    let mut watcher = Device::connect(&broker, "watcher").await;

    let info = document(&mut watcher, "promptd/gw/info").await;
    assert_eq!(
        (&info["node"], &info["api"], &info["labels"]["site"]),
        (&json!("gw"), &json!("1.0"), &json!("plant 4"))
    );
    assert_eq!(info["models"], json!(["main"]));
    let tasks = ["answer", "chat", "classify", "embed", "extract", "fetch", "generate", "pipeline", "rerank"];
    let tasks = tasks.map(|name| json!({ "name": name }));
    let defined = [
        ("describe-json", ["fields", "input"]),
        ("summarize", ["input", "sentences"]),
        ("translate", ["input", "target_language"]),
    ];
    let defined = defined.map(|(name, fields)| json!({ "name": name, "fields": fields }));
    assert_eq!(info["tasks"], json!([tasks.as_slice(), &defined].concat()));
    assert_eq!(info["limits"]["max_tokens_cap"], 4096);
    assert!(info["machine"]["cores"].as_u64().unwrap() > 0 && info["machine"]["kernel"].is_string(), "{info}");
    let profile = &info["profile"];
    assert!(profile["name"].is_string() && profile["why"].as_array().unwrap().len() >= 4, "{info}");
    assert!(profile["threads"].as_u64().unwrap() > 0 && profile["reserve"].as_str().unwrap().ends_with('%'), "{info}");

    let status = document(&mut watcher, "promptd/gw/status").await;
    assert_eq!((&status["state"], &status["reasons"]), (&json!("ready"), &json!([])));
    assert!(status["since"].as_str().unwrap().ends_with('Z') && status["epoch"].is_u64(), "{status}");

    let model = document(&mut watcher, "promptd/gw/model/main").await;
    assert_eq!(
        (&model["state"], &model["strategy"], &model["precision"]),
        (&json!("ready"), &json!("cpu:int4"), &json!("Q4_1"))
    );
    assert_eq!((&model["context"], &model["sequences"], &model["threads"]), (&json!(1024), &json!(2), &json!(1)));
    assert_eq!(model["sha256"], "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
    assert!(model["cpu_features"].as_str().unwrap().contains("CPU"), "{model}");
}

async fn document(watcher: &mut Device, topic: &str) -> Value {
    watcher.subscribe(topic).await;
    let reply = watcher.next().await;
    assert!(reply.retain && reply.payload.len() < 4096, "{topic}");
    reply.json
}
