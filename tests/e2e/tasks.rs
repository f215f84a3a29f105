//! Tasks that are data: built-in ones, an operator's, and what both refuse.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Broker, Device, Fleet, Node, Operator, Send, Setup, promptd};

/// An operator's task. A small model repeats what is in front of it: enough to see that the template was used.
const ECHO: &str = r#"
description = "Repeats a word."
prompt = "Repeat this word: {{ word }}. Repeat this word: {{ word }}. Repeat this word:"
max_tokens = 5
[input]
required = ["word"]
properties = { word = { type = "string", pattern = '^[a-z]{1,20}$' } }
"#;

pub fn define(node: &Node, name: &str, text: &str) {
    let folder = node.folder().join("tasks.d");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.toml")), text).unwrap();
}

fn names(document: &Value) -> Vec<&str> {
    document.as_array().unwrap().iter().map(|task| task["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn built_in_tasks_answer() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup::default()).await;
    let mut device = Device::connect(&broker, "dev").await;
    let text = "The pump in hall 3 has stopped. Its motor was too hot. A technician is on the way.";
    let request = json!({ "id": "s", "input": text, "sentences": 1, "max_tokens": 40 });
    let summary = device.answer("summarize", request).await;
    assert_eq!((&summary["event"], &summary["task"]), (&json!("result"), &json!("summarize")), "{summary}");
    assert!(summary["output"].as_str().unwrap().to_lowercase().contains("pump"), "{summary}");
    // A plain text, for a device that can do no more.
    device.send(Send::new("promptd/gw/request/summarize/dev", text)).await;
    assert_eq!(device.outcome_of_any().await["event"], "result");
    let request = json!({ "id": "t", "input": "Good morning 😀", "target_language": "French", "max_tokens": 20 });
    let translated = device.answer("translate", request).await;
    assert_eq!((&translated["event"], &translated["task"]), (&json!("result"), &json!("translate")), "{translated}");

    for (id, task, mut request, part) in [
        ("a", "translate", json!({ "input": "x" }), "\"target_language\" is a required property"),
        ("b", "translate", json!({ "input": "x", "target_language": "" }), "field \"target_language\": value"),
        ("c", "summarize", json!({ "input": "   " }), "field \"input\": value does not match"),
        ("d", "summarize", json!({ "input": "x", "sentences": "two" }), "field \"sentences\": value is not of type"),
        ("e", "summarize", json!({ "input": ["x"] }), "field \"input\": value is not of type"),
    ] {
        request["id"] = json!(id);
        let error = device.answer(task, request).await;
        assert!(error["code"] == "invalid_request" && error["message"].as_str().unwrap().contains(part), "{error}");
    }
    let unknown = device.answer("haiku", json!({ "id": "u", "input": "x" })).await;
    let known = "summarize, translate";
    assert!(unknown["code"] == "unknown_task" && unknown["message"].as_str().unwrap().contains(known), "{unknown}");

    // A text that the context does not hold.
    let request = json!({ "id": "l", "input": "word ".repeat(4000), "target_language": "fr" });
    let long = device.answer("translate", request).await;
    assert_eq!(long["code"], "context_overflow", "{long}");

    let ask = |arguments: &[&str]| {
        let mut command = promptd();
        command.args(["ask", "--task", "translate", "Good morning", "--json", "--max-tokens", "8"]).args(arguments);
        command.args(["--broker", &format!("mqtt://127.0.0.1:{}", broker.port), "--node", "gw"]).output().unwrap()
    };
    let output = ask(&["--set", "target_language=French"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["event"], &answer["task"]), (&json!("result"), &json!("translate")), "{output:?}");
    let output = ask(&["--set", "target_language=7"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("target_language"), "a number is a number");
    drop(node);
}

#[tokio::test]
async fn an_operator_defines_tasks_while_the_node_runs() {
    let broker = Broker::start().await;
    let mut fleet = Fleet::watch(&broker).await;
    let node = Node::ready(&broker, Setup::default()).await;
    let mut device = Device::connect(&broker, "dev").await;
    let mut operator = Operator::connect(&broker).await;
    assert_eq!(device.answer("echo", json!({ "id": "a", "word": "tree" })).await["code"], "unknown_task");

    define(&node, "echo", ECHO);
    define(&node, "translate", "max_tokens = 3");
    let change = operator.does("reload", json!({})).await;
    assert_eq!(change["changed"], json!(["task[echo]", "task[translate]"]), "{change}");
    let answer = device.answer("echo", json!({ "id": "b", "word": "tree" })).await;
    assert!(answer["task"] == "echo" && answer["output"].as_str().unwrap().to_lowercase().contains("tree"), "{answer}");
    let request = json!({ "id": "c", "input": "Good morning", "target_language": "fr", "ignore_eos": true });
    let short = device.answer("translate", request).await;
    assert_eq!(short["usage"]["generated_tokens"], 3, "the operator's number: {short}");
    let document = operator.does("tasks", json!({})).await;
    let echo = document.as_array().unwrap().iter().find(|task| task["name"] == "echo").unwrap();
    assert_eq!(echo["input"]["properties"]["word"]["pattern"], "^[a-z]{1,20}$");
    let listed = names(&document);
    assert!(["chat", "generate", "summarize", "translate"].iter().all(|name| listed.contains(name)), "{document}");
    let table = String::from_utf8(node.operator(&["tasks"]).stdout).unwrap();
    assert!(table.contains("Repeats a word.") && table.contains("target_language"), "{table}");
    let info = node.operator_json(&["info"]);
    let echo = info["tasks"].as_array().unwrap().iter().find(|task| task["name"] == "echo").unwrap();
    assert_eq!(*echo, json!({ "name": "echo", "fields": ["word"] }));

    // One that is broken changes nothing, and says where.
    define(&node, "echo", &ECHO.replace("{{ word }}.", "{{ wrod }}."));
    let check = node.operator(&["check"]);
    let said = String::from_utf8([check.stdout, check.stderr].concat()).unwrap();
    assert!(!check.status.success() && said.contains("tasks.d/echo.toml:3:10") && said.contains("wrod"), "{said}");
    node.signal(Signal::HUP);
    fleet.status(|status| status["reasons"].to_string().contains("tasks.d/echo.toml:3:10")).await;
    assert_eq!(device.answer("echo", json!({ "id": "d", "word": "tree" })).await["event"], "result");
}
