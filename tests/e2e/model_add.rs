//! How a model comes to a machine.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{Broker, CAPITAL, Device, Node, Served, Setup, Web, model};

/// A node without a model, and a device.
async fn bare() -> (Broker, Node, Device) {
    let broker = Broker::start().await;
    let node = Node::start(&broker, &Setup { with_model: false, ..Setup::default() });
    node.wait_for_state(&broker, "no_model").await;
    let device = Device::connect(&broker, "cam1").await;
    (broker, node, device)
}

fn hash(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Nothing was brought, nothing was entered.
fn assert_untouched(node: &Node) {
    let models = node.folder().join("models");
    let files = fs::read_dir(models).map_or(0, Iterator::count);
    assert_eq!(files, 0, "a file was left");
    assert!(!node.folder().join("conf.d/model-main.toml").exists());
}

#[tokio::test]
async fn a_file_is_added_and_serves_at_once_and_is_removed_again() {
    let (broker, node, mut device) = bare().await;
    let file = model();
    let sha256 = hash(&fs::read(&file).unwrap());
    let add = ["model", "add", file.to_str().unwrap(), "--sha256", &sha256];
    let added = node.operator_json(&add);
    assert_eq!(
        (&added["name"], &added["new"], &added["file_type"], &added["sha256"]),
        (&json!("main"), &json!(true), &json!("Q4_1"), &json!(sha256))
    );
    node.wait_for_state(&broker, "ready").await;
    let answer = device.answer("generate", json!({"id": "1", "prompt": CAPITAL, "max_tokens": 8})).await;
    assert_eq!((&answer["event"], &answer["model"]), (&json!("result"), &json!("main")));

    // Whoever runs it again, as a fleet's tools do, changes nothing.
    let engines = node.engines();
    let again = node.operator_json(&add);
    assert_eq!(again["new"], json!(false));
    assert_eq!(node.engines(), engines);

    let output = node.operator(&["model", "remove", "main"]);
    assert!(output.status.success(), "{output:?}");
    node.wait_for_state(&broker, "no_model").await;
    assert_untouched(&node);
    let output = node.operator(&["model", "remove", "main"]);
    assert!(!output.status.success() && said(&output).contains("unknown"), "{output:?}");
}

#[tokio::test]
async fn what_is_not_what_was_promised_leaves_nothing() {
    let (_broker, node, _device) = bare().await;
    let file = model();
    let wrong = "0".repeat(64);
    let output = node.operator(&["model", "add", file.to_str().unwrap(), "--sha256", &wrong]);
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    assert!(said(&output).contains(&wrong), "{output:?}");
    assert_untouched(&node);

    let page = node.folder().join("page.gguf");
    fs::write(&page, "<html>not found</html>").unwrap();
    let output = node.operator(&["model", "add", page.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    assert!(said(&output).contains("not a GGUF file"), "{output:?}");
    assert_untouched(&node);

    let output = node.operator(&["model", "add", "/nowhere.gguf"]);
    assert!(said(&output).contains("cannot open /nowhere.gguf"), "{output:?}");
    let output = node.operator(&["model", "add", "http://127.0.0.1/m.gguf"]);
    assert!(said(&output).contains("--sha256"), "{output:?}");
    let output = node.operator(&["model", "add", file.to_str().unwrap(), "--sha256", "abc"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke() {
    let (broker, node, mut device) = bare().await;
    let content = fs::read(model()).unwrap();
    let sha256 = hash(&content);
    let cut_after = content.len() / 3;
    let web = Web::start(Served { content, tag: "\"one\"", later_tag: "\"one\"", cut_after });

    let output = node.operator(&["model", "add", &web.url("missing"), "--sha256", &sha256]);
    assert!(said(&output).contains("404"), "{output:?}");
    let before = web.requests();
    let added: Value = node.operator_json(&["model", "add", &web.url("tiny.gguf?x=y"), "--sha256", &sha256]);
    assert!(web.requests() - before >= 3, "it was cut twice");
    assert!(added["path"].as_str().unwrap().ends_with("/models/tiny.gguf"), "{added}");
    node.wait_for_state(&broker, "ready").await;
    let answer = device.answer("generate", json!({"id": "1", "prompt": CAPITAL, "max_tokens": 8})).await;
    assert_eq!(answer["event"], "result");
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_downloaded_is_not_patched_together() {
    let (_broker, node, _device) = bare().await;
    let content = fs::read(model()).unwrap();
    let sha256 = hash(&content);
    let cut_after = content.len() / 2;
    let web = Web::start(Served { content, tag: "\"one\"", later_tag: "\"two\"", cut_after });
    let output = node.operator(&["model", "add", &web.url("tiny.gguf"), "--sha256", &sha256]);
    assert!(!output.status.success() && said(&output).contains("changed on the server"), "{output:?}");
    assert_untouched(&node);
}
