//! Classes of texts and the order of documents, against what 32 bits say.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::reference::{dot, references};
use crate::harness::{Broker, Device, Node, Setup, files};

fn table(name: &str, file: &Path) -> String {
    format!("[[model]]\nname = \"{name}\"\nfiles = [{{ path = \"{}\" }}]\nthreads = 1\n", file.display())
}

/// The scores that the classes of the head have, each by itself. Its outputs are each other's negatives.
fn by_themselves([negative, positive]: [f64; 2]) -> [f64; 2] {
    let output = (positive / negative).ln() / 2.0;
    [-output, output].map(|output| 1.0 / (1.0 + (-output).exp()))
}

#[tokio::test]
async fn classes_of_several_have_scores_of_their_own() {
    let broker = Broker::start().await;
    let tables = format!("{}classification = \"multi_label\"\n", table("classifier", &files::classifier()));
    let _node = Node::ready(&broker, Setup { tables, ..setup() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    for (number, reference) in references().iter().enumerate() {
        let reply = device.answer("classify", json!({ "id": format!("{number}"), "input": reference.text })).await;
        for entry in reply["output"].as_array().unwrap() {
            let class = usize::from(entry["label"] == "POSITIVE");
            let expected = by_themselves(reference.classes)[class];
            assert!((score(entry) - expected).abs() < 0.01, "text {number}: {entry} for {expected}");
        }
    }
}

/// A node with an encoder of each kind, of which the one for embeddings is the default.
fn setup() -> Setup {
    let tables = table("classifier", &files::classifier());
    Setup { files: vec![files::embedder()], model: "default = true".to_owned(), tables, ..Setup::default() }
}

fn score(entry: &Value) -> f64 {
    entry["score"].as_f64().unwrap()
}

#[tokio::test]
async fn classes_are_those_of_32_bits() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    let references = references();
    let texts: Vec<&str> = references.iter().map(|reference| reference.text.as_str()).collect();
    let reply = device.answer("classify", json!({ "id": "all", "inputs": texts })).await;
    assert_eq!((&reply["event"], &reply["model"]), (&json!("result"), &json!("classifier")), "{reply}");
    let batch = reply["output"].as_array().unwrap();
    assert_eq!(batch.len(), references.len());
    for (number, (reference, item)) in references.iter().zip(batch).enumerate() {
        let alone = device.answer("classify", json!({ "id": format!("{number}"), "input": reference.text })).await;
        for output in [&item["output"], &alone["output"]] {
            let [first, second] = output.as_array().unwrap().as_slice() else { panic!("{output}") };
            let [negative, positive] = reference.classes;
            let label = if negative > positive { "NEGATIVE" } else { "POSITIVE" };
            assert_eq!(first["label"], label, "text {number}: {output}");
            assert_ne!(second["label"], label, "text {number}: {output}");
            assert!((score(first) - negative.max(positive)).abs() < 0.01, "text {number}: {output}");
            assert!((score(first) + score(second) - 1.0).abs() < 1e-6, "text {number}: {output}");
        }
    }
    let mixed = device.answer("classify", json!({ "id": "mixed", "inputs": ["Great!", ""] })).await;
    assert_eq!(mixed["output"][0]["output"][0]["label"], "POSITIVE", "{mixed}");
    assert_eq!(mixed["output"][1]["error"]["code"], "invalid_request", "{mixed}");
}

#[tokio::test]
async fn documents_are_ranked_as_32_bits_would() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    let references = references();
    let question = references.iter().find(|reference| reference.text.starts_with("How do I reset")).unwrap();
    let documents: Vec<&str> = references.iter().map(|reference| reference.text.as_str()).collect();
    let request = json!({ "id": "1", "input": question.text, "documents": documents });
    let reply = device.answer("rerank", request).await;
    assert_eq!((&reply["event"], &reply["model"]), (&json!("result"), &json!("main")), "{reply}");
    let ranked = reply["output"].as_array().unwrap();
    assert!(ranked.windows(2).all(|pair| score(&pair[0]) >= score(&pair[1])), "by falling score: {reply}");
    let index = |entry: &Value| usize::try_from(entry["index"].as_u64().unwrap()).unwrap();
    let mut seen: Vec<usize> = ranked.iter().map(index).collect();
    let best: Vec<&str> = seen.iter().take(2).map(|&index| documents[index]).collect();
    assert_eq!(best, [question.text.as_str(), "I forgot my login credentials, what now?"]);
    for entry in ranked {
        let expected = dot(&question.numbers, &references[index(entry)].numbers);
        assert!((score(entry) - expected).abs() < 0.001, "{entry}, expected {expected}");
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..documents.len()).collect::<Vec<_>>(), "each once");
}

#[tokio::test]
async fn what_cannot_be_ranked_or_classified_is_named() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    for (number, (task, request, code, mentioned)) in [
        (
            "rerank",
            json!({ "input": "q", "documents": ["a", " "] }),
            "invalid_request",
            "documents[1]: the text is empty",
        ),
        (
            "rerank",
            json!({ "input": "q", "documents": ["a", "very ".repeat(600)] }),
            "context_overflow",
            "documents[1]: the text has 602 tokens",
        ),
        ("rerank", json!({ "input": "q", "documents": [] }), "invalid_request", "0 texts; allowed are 1 to 64"),
        ("rerank", json!({ "input": "q", "documents": ["a"], "model": "classifier" }), "invalid_request", "main"),
        ("embed", json!({ "input": "q", "model": "classifier" }), "invalid_request", "main"),
        ("classify", json!({ "input": "q", "model": "main" }), "invalid_request", "a classification head: classifier"),
        ("classify", json!({ "input": "q", "labels": ["a", "b"] }), "no_model", "one that generates text"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut request = request;
        request["id"] = json!(number.to_string());
        let reply = device.answer(task, request).await;
        assert_eq!(reply["code"], code, "{number}: {reply}");
        assert!(reply["message"].as_str().unwrap().contains(mentioned), "{number}: {reply}");
    }
}

/// Sentences that the head has not been trained on: promptd is right where the same computed in 32 bits is, and nowhere else.
#[tokio::test]
async fn held_out_sentences_get_the_classes_of_32_bits() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/sentiment/heldout.json");
    let sentences: Vec<Value> = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let mut right = 0;
    for (number, part) in sentences.chunks(64).enumerate() {
        let texts: Vec<&Value> = part.iter().map(|sentence| &sentence["text"]).collect();
        let reply = device.answer("classify", json!({ "id": format!("{number}"), "inputs": texts })).await;
        for (sentence, item) in part.iter().zip(reply["output"].as_array().unwrap()) {
            let classes: [f64; 2] = serde_json::from_value(sentence["classes"].clone()).unwrap();
            let class = usize::from(classes[1] > classes[0]);
            assert_eq!(item["output"][0]["label"], ["NEGATIVE", "POSITIVE"][class], "{sentence}: {item}");
            right += usize::from(sentence["class"] == class);
        }
    }
    eprintln!("right about {right} of {} sentences", sentences.len());
    assert_eq!((right, sentences.len()), (541, 600));
}
