//! What a classifier of tokens finds, against what ONNX Runtime does.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Broker, Device, Node, Setup, files};

/// A text, how many tokens are computed of it, and what it names.
struct Reference {
    text: String,
    tokens: u64,
    entities: Vec<Value>,
}

fn references() -> Vec<Reference> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/entities/reference.json");
    let all: Vec<Value> = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let one = |entry: &Value| Reference {
        text: entry["text"].as_str().unwrap().to_owned(),
        tokens: entry["tokens"].as_u64().unwrap(),
        entities: entry["entities"].as_array().unwrap().clone(),
    };
    all.iter().map(one).collect()
}

/// A node with a model that makes embeddings, and one that finds what texts name.
fn setup() -> Setup {
    let file = files::token_classifier();
    let tables = format!("[[model]]\nname = \"finder\"\nfiles = [{{ path = \"{}\" }}]\nthreads = 1\n", file.display());
    Setup { files: vec![files::embedder()], model: "default = true".to_owned(), tables, ..Setup::default() }
}

fn assert_found(output: &Value, reference: &Reference) {
    let found = output.as_array().unwrap();
    let place = |entity: &Value| ["text", "type", "start", "end"].map(|field| entity[field].clone());
    let (ours, theirs): (Vec<_>, Vec<_>) =
        (found.iter().map(place).collect(), reference.entities.iter().map(place).collect());
    assert_eq!(ours, theirs, "{}", reference.text);
    let points: Vec<char> = reference.text.chars().collect();
    for (one, other) in found.iter().zip(&reference.entities) {
        let difference = one["score"].as_f64().unwrap() - other["score"].as_f64().unwrap();
        assert!(difference.abs() < 0.01, "{}: {one} for {other}", reference.text);
        let [start, end]: [usize; 2] =
            ["start", "end"].map(|field| serde_json::from_value(one[field].clone()).unwrap());
        assert_eq!(points[start..end].iter().collect::<String>(), one["text"], "{}", reference.text);
    }
}

#[tokio::test]
async fn entities_are_those_of_onnx_runtime() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    let references = references();
    assert!(references.iter().any(|reference| reference.tokens > 1000), "one is longer than the model takes at once");
    let texts: Vec<&str> = references.iter().map(|reference| reference.text.as_str()).collect();
    let reply = device.answer("extract", json!({ "id": "all", "inputs": texts })).await;
    assert_eq!((&reply["event"], &reply["model"]), (&json!("result"), &json!("finder")), "{reply}");
    for (number, (reference, item)) in references.iter().zip(reply["output"].as_array().unwrap()).enumerate() {
        assert_found(&item["output"], reference);
        let alone = device.answer("extract", json!({ "id": format!("{number}"), "input": reference.text })).await;
        assert_found(&alone["output"], reference);
        assert_eq!(alone["usage"]["prompt_tokens"], reference.tokens, "{alone}");
    }
}

#[tokio::test]
async fn types_are_those_that_the_model_knows() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    let text = "My name is Anna Kowalski and I live at 12 Baker Street, Springfield.";
    let ask = |id: &str, types: Value| json!({ "id": id, "input": text, "types": types, "model": "finder" });
    let reply = device.answer("extract", ask("1", json!(["CITY", "SURNAME"]))).await;
    let found: Vec<&Value> = reply["output"].as_array().unwrap().iter().map(|entity| &entity["type"]).collect();
    assert_eq!(found, ["SURNAME", "CITY"], "{reply}");
    let refused = device.answer("extract", ask("2", json!(["CITY", "boat"]))).await;
    let message = refused["message"].as_str().unwrap();
    assert_eq!(refused["code"], "invalid_request", "{refused}");
    assert!(message.contains("no type \"boat\"") && message.contains("GIVEN_NAME, SURNAME"), "{refused}");
    // Each of several texts has its own end.
    let mixed = device.answer("extract", json!({ "id": "3", "inputs": ["", text, "\u{200b}"] })).await;
    assert_eq!(mixed["output"][0]["error"]["code"], "invalid_request", "{mixed}");
    assert_eq!(mixed["output"][1]["output"][0]["text"], "Anna", "{mixed}");
    assert_eq!(mixed["output"][2]["error"]["code"], "invalid_request", "{mixed}");
    for (task, model) in [("extract", "main"), ("embed", "finder"), ("classify", "finder"), ("generate", "finder")] {
        let wrong =
            device.answer(task, json!({ "id": format!("{task}-{model}"), "input": text, "model": model })).await;
        assert_eq!(wrong["code"], "invalid_request", "{wrong}");
        assert!(wrong["message"].as_str().unwrap().contains("can't do the task"), "{wrong}");
    }
}

/// The head is a matrix like others: in a smaller file it is small, too.
#[tokio::test]
async fn quantized_heads_find_the_same() {
    for (file, share) in
        [(files::token_classifier_as("int8", "Q8_0"), 0.95), (files::token_classifier_as("int4", "Q4_0"), 0.8)]
    {
        let broker = Broker::start().await;
        let setup = Setup { files: vec![file], model: "default = true".to_owned(), ..Setup::default() };
        let _node = Node::ready(&broker, setup).await;
        let mut device = Device::connect(&broker, "dev").await;
        let references = references();
        let texts: Vec<&str> = references.iter().map(|reference| reference.text.as_str()).collect();
        let reply = device.answer("extract", json!({ "id": "all", "inputs": texts })).await;
        let (mut same, mut all) = (0, 0);
        for (reference, item) in references.iter().zip(reply["output"].as_array().unwrap()) {
            let place = |entity: &Value| ["type", "start", "end"].map(|field| entity[field].clone());
            let found: Vec<_> = item["output"].as_array().unwrap().iter().map(place).collect();
            all += reference.entities.len();
            same += reference.entities.iter().filter(|entity| found.contains(&place(entity))).count();
        }
        eprintln!("{}: {same} of {all} entities as in 32 bits", reply["strategy"]);
        assert!(same as f64 >= share * all as f64, "{same} of {all} with {}", reply["strategy"]);
    }
}
