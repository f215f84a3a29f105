//! What an operator types.

use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{Broker, CAPITAL, Node, Setup, model, promptd};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn run(arguments: &[&str]) -> Output {
    promptd().args(arguments).output().unwrap()
}

#[test]
fn starts_without_any_environment() {
    let output = run(&["--version"]);
    assert_eq!(text(&output.stdout), format!("promptd {}\n", env!("CARGO_PKG_VERSION")), "{output:?}");
    let help = text(&run(&["--help"]).stdout);
    for command in ["run", "check", "ask", "fit", "bench"] {
        assert!(help.contains(&format!("\n  {command}")), "{help}");
    }
    assert!(!help.contains("engine  "), "the child's command is nobody's business");
    let output = run(&["engine", "--model", "x", "--parent", "1"]);
    assert_eq!(output.status.code(), Some(70));
    assert!(text(&output.stderr).contains("started by the daemon only"), "{output:?}");
}

#[test]
fn check_reports_every_problem_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("promptd.toml");
    let bad = "[mqtt]\nkeep_alive = \"1s\"\nurll = 1\n[limits]\nqueue_jobs = 0\n[[model]]\nname = \"a b\"\n";
    std::fs::write(&file, bad).unwrap();
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let said = text(&output.stderr);
    for part in ["mqtt.keep_alive", "5s", "urll", "did you mean", "limits.queue_jobs", "a b", "files"] {
        assert!(said.contains(part), "{part:?} is missing in:\n{said}");
    }
    let output = run(&["run", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78), "the daemon refuses it too");

    // What is wrong in the file and what is wrong with the files that it names, in one go.
    let both = "[mqtt]\nkeep_alive = \"1s\"\n[[model]]\nname = \"main\"\nfiles = [{ path = \"/nowhere.gguf\" }]\n";
    std::fs::write(&file, both).unwrap();
    let said = text(&run(&["check", "--config", file.to_str().unwrap()]).stderr);
    assert!(said.contains("mqtt.keep_alive") && said.contains("/nowhere.gguf"), "{said}");
    let output = run(&["ask", "--config", file.to_str().unwrap(), "Hi"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert_eq!(run(&["ask", "--url", "foo", "Hi"]).status.code(), Some(2));

    let missing = "[[model]]\nname = \"main\"\nfiles = [{ path = \"/nowhere.gguf\" }]\n";
    std::fs::write(&file, missing).unwrap();
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("/nowhere.gguf: No such file"), "{output:?}");

    std::fs::write(&file, format!("[[model]]\nname = \"main\"\nfiles = [{{ path = {:?} }}]\n", model())).unwrap();
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    assert!(output.status.success() && text(&output.stdout).contains("valid"), "{output:?}");
}

#[test]
fn fit_shows_numbers_and_refuses_what_is_no_model() {
    let file = model();
    let output = run(&["fit", "--json", file.to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["file_type"], &report["rung"], &report["fits"]),
        (&json!("Q4_1"), &json!("int4"), &json!(true))
    );
    // 30 layers, 3 heads of 64 for keys and for values, 2 bytes each, 4 sequences of 2048 tokens.
    assert_eq!(report["estimate"]["kv"], 30 * 2 * 3 * 64 * 2 * 4 * 2048);
    let table = text(&run(&["fit", file.to_str().unwrap()]).stdout);
    assert!(table.contains("KV cache") && table.contains("8192"), "{table}");

    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.gguf");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    let output = run(&["fit", broken.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(65));
    assert!(text(&output.stderr).contains("not a usable GGUF"), "{output:?}");
    assert_eq!(run(&["fit", "/nowhere.gguf"]).status.code(), Some(65));
}

#[tokio::test]
async fn ask_streams_an_answer_and_tells_errors_by_its_exit_code() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 1, ..Setup::default() }).await;
    let config = node.config();
    let ask = |arguments: &[&str]| promptd().args(["ask", "--config"]).arg(&config).args(arguments).output().unwrap();
    let output = ask(&[CAPITAL]);
    assert!(output.status.success() && text(&output.stdout).contains("Paris"), "{output:?}");
    assert!(text(&output.stderr).contains("cpu:int4"), "the timings: {output:?}");

    let output = ask(&["--json", "--max-tokens", "3", "--system", "Be brief.", "Hi"]);
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["event"], &result["task"]), (&json!("result"), &json!("chat")));

    let output = ask(&["--model", "none", "Hi"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("unknown_model"), "{output:?}");

    let output = run(&["ask", "--url", "mqtt://127.0.0.1:1", "Hi"]);
    assert_eq!(output.status.code(), Some(69), "nobody listens there: {output:?}");
}

#[tokio::test]
async fn bench_measures_the_engine_and_the_way_over_mqtt() {
    let file = model();
    let arguments =
        ["bench", "--json", "--streams", "1,2", "--rounds", "1", "--answers", "1", "--tokens", "4", "--threads", "1"];
    let output = promptd().args(arguments).arg("--model").arg(&file).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!(report["results"][1]["streams"], 2);
    assert!(report["results"][0]["decode_tokens_per_second"].as_f64().unwrap() > 0.0, "{report}");
    assert!(report["peak_memory_bytes"].as_u64().unwrap() > 90_000_000, "{report}");

    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 1, ..Setup::default() }).await;
    let output =
        promptd().args(["bench", "--json", "--mqtt", "--requests", "5", "--config"]).arg(node.config()).output();
    let output = output.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!(report["mqtt"]["requests"], 5);
    assert!(report["mqtt"]["added_ms"]["p50"].as_f64().unwrap() > 0.0, "{report}");
}
