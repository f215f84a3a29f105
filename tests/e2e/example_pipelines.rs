//! The pipelines that the package brings as examples, as an operator tries them.

use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{Broker, Node, Setup, files, promptd};

/// A node with a model for each of their steps.
fn setup() -> Setup {
    let table = |name: &str, file: &std::path::Path| {
        format!("[[model]]\nname = \"{name}\"\nfiles = [{{ path = \"{}\" }}]\nthreads = 1\n", file.display())
    };
    let tables = [table("embedder", &files::embedder()), table("finder", &files::token_classifier())].concat();
    Setup { model: "default = true".to_owned(), tables, ..Setup::default() }
}

fn run(broker: &Broker, name: &str, arguments: &[&str]) -> (Value, String) {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/pipelines/").to_owned() + name;
    let mut command = promptd();
    command.arg("run-pipeline").arg(file).args(arguments).arg("--json");
    command.args(["--broker", &format!("mqtt://127.0.0.1:{}", broker.port), "--node", "gw"]);
    let output: Output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name}: {said}");
    (serde_json::from_slice::<Value>(&output.stdout).unwrap()["output"].take(), said)
}

#[tokio::test]
async fn do_what_they_say() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, setup()).await;

    let alarm = "Press 4: oil pressure 1.2 bar, dropping. Operator J. Weber informed.";
    let (output, said) = run(&broker, "alarm.toml", &["--input", alarm]);
    assert!(["urgent", "can wait"].contains(&output["kind"].as_str().unwrap()), "{output}");
    assert!(said.contains("[kind: ended]"), "{said}");
    // So small a model may be wrong about what is urgent; the other steps go by what it said.
    assert_eq!(output["kind"] == "urgent", output["line"].is_string(), "{output}");
    for part in output["found"].as_array().unwrap_or(&Vec::new()) {
        assert!(alarm.contains(part["text"].as_str().unwrap()), "{output}");
    }

    let passages =
        ["The belt is tightened once a year.", "The oil filter is changed every 500 hours.", "Lunch is at noon."];
    let set = format!("passages={}", json!(passages));
    let (output, _) = run(&broker, "handbook.toml", &["--input", "How often is the filter changed?", "--set", &set]);
    assert_eq!(output["passages"][0], 1, "{output}");
    let answer = &output["answer"]["text"];
    assert!(
        answer.as_str().is_none_or(|answer| passages.iter().any(|passage| passage.contains(answer.trim()))),
        "{output}"
    );

    let (name, fine) = ("My name is Anna Kowalski and I live in Springfield.", "The pump is fine.");
    for notes in [vec![name, fine], vec![fine]] {
        let (output, said) = run(&broker, "scrub.toml", &["--set", &format!("notes={}", json!(notes))]);
        assert!(said.contains("[people: ended]") && !output.as_str().unwrap().contains("Kowalski"), "{output} {said}");
    }
}
