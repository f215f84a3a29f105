//! A start with a broken configuration.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Output;

use serde_json::json;

use crate::harness::{Broker, Device, Fleet, Node, Setup, model, promptd};

/// A node that has run with a model beside its configuration, and what it was configured with.
async fn node(broker: &Broker) -> (Node, Setup) {
    let setup = Setup { files: vec![PathBuf::from("weights/model.gguf")], sequences: 1, ..Setup::default() };
    let node = Node::start(broker, &Setup { with_model: false, ..Setup::default() });
    node.wait_for_state(broker, "no_model").await;
    fs::create_dir(node.folder().join("weights")).unwrap();
    symlink(model(), node.folder().join("weights/model.gguf")).unwrap();
    node.configure(broker, &setup);
    let answer = node.operator_json(&["reload"]);
    assert_eq!(answer["added"], json!(["main"]), "{answer}");
    (node, setup)
}

/// What a start with this node's files comes to, when it fails.
fn failing_start(node: &Node) -> (Option<i32>, String) {
    let mut command = promptd();
    command.args(["run", "--config"]).arg(node.config()).env("STATE_DIRECTORY", node.folder());
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn goes_on_with_the_last_good_configuration_until_the_files_are_mended() {
    let broker = Broker::start().await;
    let (mut node, setup) = node(&broker).await;
    let copy = node.folder().join("last-good.json");
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);

    node.spoil("threds = 2\n[limits]\nqueue_jobs = 0");
    node.restart(&setup);
    let status = node.wait_for_state(&broker, "misconfigured").await;
    let reason = status["reasons"][0].as_str().unwrap();
    assert!(
        reason.starts_with("broken_configuration: 2 problems, the first at promptd.toml:")
            && reason.ends_with("the last good one is in force"),
        "{status}"
    );
    let log = node.log();
    for problem in ["model[main].threds: unknown key", "limits.queue_jobs = 0: allowed are 1"] {
        let line = log.lines().find(|line| line.contains(problem)).unwrap_or_else(|| panic!("{problem}"));
        assert!(line.contains("ERROR"), "{line}");
    }
    // Relative to the files, as ever.
    let mut device = Device::connect(&broker, "dev").await;
    let request = json!({ "id": "a", "prompt": "Hi", "max_tokens": 2 });
    assert_eq!(device.answer("generate", request).await["event"], "result");
    let check = node.operator(&["check"]);
    let said = String::from_utf8(check.stderr).unwrap();
    assert!(check.status.code() == Some(78) && said.contains("threds"), "it tells of the files: {said}");

    // One that cannot even be read, and one that is gone.
    node.spoil("[[[");
    node.restart(&setup);
    let status = node.wait_for_state(&broker, "misconfigured").await;
    assert!(status.to_string().contains("1 syntax error at promptd.toml:"), "{status}");
    fs::remove_file(node.config()).unwrap();
    node.restart(&setup);
    let status = node.wait_for_state(&broker, "misconfigured").await;
    assert!(status.to_string().contains("cannot read promptd.toml: No such file"), "{status}");

    let mut fleet = Fleet::watch(&broker).await;
    let request = json!({ "id": "b", "prompt": "Hi", "max_tokens": 2 });
    assert_eq!(device.answer("generate", request).await["event"], "result");
    let engines = node.engines();
    node.configure(&broker, &setup);
    let answer = node.operator_json(&["reload"]);
    assert_eq!((&answer["changed"], &answer["restart"]), (&json!([]), &json!([])), "{answer}");
    fleet.status(|status| status["state"] == "ready").await;
    assert_eq!(node.engines(), engines);
}

#[tokio::test]
async fn without_a_usable_one_the_start_fails() {
    let broker = Broker::start().await;
    let mut node = Node::start(&broker, &Setup { with_model: false, ..Setup::default() });
    node.wait_for_state(&broker, "no_model").await;
    node.signal(rustix::process::Signal::TERM);
    assert_eq!(node.ended().await, Some(0));
    node.spoil("nonsense = 1");
    let copy = node.folder().join("last-good.json");
    let whole = fs::read(&copy).unwrap();
    let elsewhere = String::from_utf8(whole.clone()).unwrap().replace("promptd.toml", "other.toml");
    let later = String::from_utf8(whole.clone()).unwrap().replace("[mqtt]", "[mqtt]\\nthoughts = 1");
    // What a power cut may leave, what is another daemon's, what a later version wrote, and nothing.
    for (left, why) in [
        (&whole[..whole.len() / 2], "it is damaged"),
        (&[], "it is damaged"),
        (elsewhere.as_bytes(), "other.toml, not of"),
        (later.as_bytes(), "this version cannot use it: 1 problem"),
    ] {
        fs::write(&copy, left).unwrap();
        let (code, said) = failing_start(&node);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("mqtt.nonsense: unknown key") || said.contains("nonsense"), "{said}");
        assert!(said.contains("no last good configuration can stand in for it") && said.contains(why), "{said}");
    }
    fs::remove_file(&copy).unwrap();
    let (code, said) = failing_start(&node);
    assert!(code == Some(78) && said.contains("last-good.json: No such file"), "{said}");
}
