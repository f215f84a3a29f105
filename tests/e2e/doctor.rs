//! What an operator is told when something is wrong.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Broker, Device, Node, Send, Setup, model, promptd, until};

/// Everybody may do everything but the node's user, who has its own lines.
const OTHERS: &str = "topic readwrite #\nuser gw\n";

/// What the node's user needs, one line a topic.
const NEEDED: [&str; 11] = [
    "topic read promptd/gw/request/#",
    "topic read promptd/gw/cancel/#",
    "topic read promptd/gw/control/#",
    "topic readwrite promptd/gw/response/#",
    "topic write promptd/gw/availability",
    "topic write promptd/gw/status",
    "topic write promptd/gw/info",
    "topic write promptd/gw/model/#",
    "topic write promptd/gw/health",
    "topic write promptd/gw/telemetry",
    "topic write promptd/gw/jobs/#",
];

fn run(config: &Path, arguments: &[&str]) -> Output {
    promptd().arg("doctor").args(arguments).arg("--config").arg(config).output().unwrap()
}

/// The findings, and the exit code.
fn examine(config: &Path, arguments: &[&str]) -> (Vec<Value>, i32) {
    let output = run(config, &[&["--json"], arguments].concat());
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    let findings = document["findings"].as_array().unwrap().clone();
    for level in ["pass", "warn", "fail"] {
        assert_eq!(document[level], findings.iter().filter(|found| found["level"] == level).count(), "{document}");
    }
    (findings, output.status.code().unwrap())
}

/// The findings of a check that are of a level, as text.
fn of(findings: &[Value], check: &str, level: &str) -> Vec<String> {
    let wanted = findings.iter().filter(|found| found["check"] == check && found["level"] == level);
    wanted.map(Value::to_string).collect()
}

/// The only finding of a check that is of a level, as text.
fn only(findings: &[Value], check: &str, level: &str) -> String {
    let [found] = of(findings, check, level).try_into().unwrap_or_else(|_| panic!("{check} {level}: {findings:#?}"));
    found
}

/// A configuration without a daemon.
fn alone(broker: &Broker, lines: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display();
    let text = format!(
        "[node]\nname = \"gw\"\n[service]\nstate_dir = \"{here}\"\ncontrol_socket = \"{here}/control.sock\"\n\
         [mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\n{lines}\n",
        broker.port
    );
    std::fs::write(folder.path().join("promptd.toml"), text).unwrap();
    folder
}

/// A broker that knows the user `gw` by a password, with an access control list; and lines for `[mqtt]`.
async fn guarded(acl: &str) -> (Broker, String) {
    let mut broker = Broker::absent("");
    let passwords = broker.password_file("gw", "right");
    let acl = broker.acl(acl);
    broker.settings(&format!("allow_anonymous true\npassword_file {}\n{acl}", passwords.display()));
    broker.up().await;
    let secret = broker.folder().join("secret");
    std::fs::write(&secret, "right\n").unwrap();
    std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let mqtt = format!("username = \"gw\"\npassword_credential = {:?}", secret.display().to_string());
    (broker, mqtt)
}

#[tokio::test]
async fn a_healthy_node_passes_and_is_not_disturbed() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 1, ..Setup::default() }).await;
    let mut watcher = Device::connect(&broker, "watcher").await;
    watcher.subscribe("promptd/gw/info").await;
    // The last that a node says by itself.
    while watcher.next().await.json["self_test"].is_null() {}
    watcher.subscribe("promptd/gw/#").await;
    let (findings, code) = examine(&node.config(), &[]);
    assert_eq!(code, 0, "{findings:#?}");
    for check in [
        "configuration",
        "daemon",
        "broker",
        "topics",
        "clock",
        "files",
        "models",
        "cpu",
        "devices",
        "memory",
        "disk",
        "journal",
    ] {
        assert!(findings.iter().any(|found| found["check"] == check), "{check}: {findings:#?}");
    }
    for found in &findings {
        assert_ne!(found["level"], "fail", "{found}");
        assert_eq!(found["remedy"].is_null(), found["level"] == "pass", "{found}");
    }
    let topics = of(&findings, "topics", "pass");
    assert_eq!(topics.iter().filter(|found| found.contains("there and back in")).count(), 5, "{topics:?}");
    assert!(only_one(&of(&findings, "cpu", "pass"), "is loaded").contains("libggml-cpu-"), "{findings:#?}");
    assert!(of(&findings, "configuration", "pass").iter().any(|found| found.contains("the daemon runs with it")));

    let mut device = Device::connect(&broker, "dev").await;
    let reply = device.answer("generate", serde_json::json!({ "id": "1", "prompt": "Hi", "max_tokens": 1 })).await;
    assert_eq!(reply["event"], "result", "the node still serves: {reply}");
    let changed: Vec<String> = std::iter::from_fn(|| watcher.now())
        .filter(|reply| !reply.retain)
        .map(|reply| reply.topic.strip_prefix("promptd/gw/").unwrap().split('/').next().unwrap().to_owned())
        .filter(|kind| !["request", "cancel", "control", "response"].contains(&kind.as_str()))
        // From time to time, and of the device's job.
        .filter(|kind| !["health", "telemetry", "jobs"].contains(&kind.as_str()))
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
    assert!(!node.log().contains("the broker ended") && node.warnings() == 0, "{}", node.log());
}

fn only_one(texts: &[String], part: &str) -> String {
    let found: Vec<&String> = texts.iter().filter(|text| text.contains(part)).collect();
    assert_eq!(found.len(), 1, "{part}: {texts:?}");
    found[0].clone()
}

#[tokio::test]
async fn people_read_what_is_wrong_and_what_to_do() {
    let broker = Broker::absent("");
    let folder = alone(&broker, "");
    let output = run(&folder.path().join("promptd.toml"), &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("fail  broker         mqtt://127.0.0.1:") && text.contains("→ start the broker"), "{text}");
    assert!(!text.contains('\u{1b}'), "colours are for terminals: {text}");
}

#[tokio::test]
async fn the_self_test_is_told_to_the_fleet() {
    let broker = Broker::start().await;
    let mut watcher = Device::connect(&broker, "watcher").await;
    watcher.subscribe("promptd/gw/info").await;
    let node = Node::start(&broker, &Setup { files: vec!["/nowhere/model.gguf".into()], ..Setup::default() });
    let info = loop {
        let reply = watcher.next().await;
        assert!(reply.payload.len() < 4096);
        if !reply.json["self_test"].is_null() {
            break reply.json;
        }
    };
    let found = &info["self_test"];
    assert_eq!(found["fail"], serde_json::json!(["models"]), "{info}");
    assert!(found["pass"].as_u64() > Some(2) && found["warn"].is_array(), "{info}");
    // Nobody may tell whether the clock is right; then there is neither a warning nor a time.
    assert!(!found["warn"].as_array().unwrap().contains(&"clock".into()) || found["at"].is_null(), "{info}");
    assert_eq!(node.operator_json(&["info"])["self_test"], *found);
    let log = node.log();
    assert!(log.contains("self-test: main: there is no file /nowhere/model.gguf") && log.contains("remedy="), "{log}");
}

#[tokio::test]
async fn an_acl_that_keeps_one_topic_from_the_node_is_named_by_daemon_and_doctor() {
    let (broker, mqtt) = guarded(&format!("{OTHERS}{}\n", NEEDED.join("\n"))).await;
    // Whether a model was loaded is told on `event`, which the list above leaves out.
    let node = Node::start(&broker, &Setup { sequences: 1, mqtt, ..Setup::default() });
    let status = node.wait_for_state(&broker, "misconfigured").await;
    assert!(status["reasons"][0].as_str().unwrap().contains("promptd/gw/event: not authorized"), "{status}");
    let (findings, code) = examine(&node.config(), &[]);
    let denied = only(&findings, "daemon", "fail");
    assert!(code == 1 && denied.contains("promptd/gw/event") && denied.contains("promptd.acl"), "{denied}");
    let topics = of(&findings, "topics", "pass");
    assert_eq!(topics.len(), 5, "{findings:#?}");

    broker.acl(&format!("{OTHERS}{}\ntopic write promptd/gw/event\n", NEEDED.join("\n")));
    broker.reload();
    // mosquitto says nothing when it has read the file again.
    let publish = ["-V", "mqttv5", "-q", "1", "-u", "gw", "-P", "right", "-t", "promptd/gw/event", "-m", "x"];
    until("the broker has read its list", || {
        let output = broker.client("mosquitto_pub", &publish);
        (!String::from_utf8_lossy(&output.stderr).contains("Not authorized")).then_some(())
    })
    .await;
    node.signal(Signal::HUP);
    node.wait_for_state(&broker, "ready").await;
}

#[tokio::test]
async fn what_the_acl_keeps_from_the_doctor_is_told_with_the_line_that_is_missing() {
    let without =
        |topic: &str| NEEDED.iter().filter(|line| !line.ends_with(topic)).copied().collect::<Vec<_>>().join("\n");
    let acl = format!("{OTHERS}{}\n", without("response/#"));
    let (broker, mqtt) = guarded(&acl).await;
    let folder = alone(&broker, &mqtt);
    let config = folder.path().join("promptd.toml");
    let (findings, code) = examine(&config, &[]);
    let denied = only(&findings, "topics", "fail");
    assert_eq!(code, 1);
    assert!(denied.contains("promptd/gw/response/doctor/doctor-") && denied.contains("not authorized"), "{denied}");
    assert!(denied.contains("topic write promptd/gw/response/#"), "{denied}");

    // mosquitto grants the subscription all the same, and delivers nothing.
    let acl = format!("{OTHERS}{}\ntopic write promptd/gw/control/#\n", without("control/#"));
    let (broker, mqtt) = guarded(&acl).await;
    let folder = alone(&broker, &mqtt);
    let (findings, _) = examine(&folder.path().join("promptd.toml"), &[]);
    let denied = only(&findings, "topics", "fail");
    assert!(denied.contains("nothing arrives") && denied.contains("topic read promptd/gw/control/+"), "{denied}");
    let untried = of(&findings, "topics", "pass");
    assert_eq!(untried.iter().filter(|found| found.contains("can't be tried")).count(), 3, "{untried:?}");
}

#[tokio::test]
async fn brokers_that_are_away_or_refuse_have_their_remedies() {
    let (mut broker, mqtt) = guarded("topic readwrite #\nuser gw\ntopic readwrite #\n").await;
    let secret = broker.folder().join("secret");
    std::fs::write(&secret, "wrong\n").unwrap();
    let folder = alone(&broker, &mqtt);
    let config = folder.path().join("promptd.toml");
    let (findings, code) = examine(&config, &[]);
    let refused = only(&findings, "broker", "fail");
    assert!(
        code == 1 && refused.contains("not authorized") && refused.contains("mqtt.password_credential"),
        "{refused}"
    );
    assert!(!refused.contains("wrong"), "no password is told");

    std::fs::write(&secret, "right\n").unwrap();
    let (findings, _) = examine(&config, &[]);
    assert!(of(&findings, "broker", "fail").is_empty(), "{findings:#?}");

    broker.kill();
    let (findings, _) = examine(&config, &[]);
    let away = only(&findings, "broker", "fail");
    assert!(away.contains("Connection refused") && away.contains("nc -zv 127.0.0.1"), "{away}");

    std::fs::write(&config, "[mqtt]\nurl = \"mqtt://broker.invalid\"\n").unwrap();
    let (findings, _) = examine(&config, &[]);
    let nameless = only(&findings, "broker", "fail");
    assert!(nameless.contains("getent hosts broker.invalid"), "{nameless}");
}

#[tokio::test]
async fn a_broker_that_takes_small_packets_only_is_told() {
    for (max, level) in [(20_000, "warn"), (1000, "fail")] {
        let broker = Broker::with(&format!("allow_anonymous true\nmax_packet_size {max}\n")).await;
        let folder = alone(&broker, "");
        let (findings, _) = examine(&folder.path().join("promptd.toml"), &[]);
        let small = only(&findings, "broker", level);
        assert!(small.contains("max_packet_size 528384") && small.contains("limits.result"), "{small}");
    }
}

#[tokio::test]
async fn files_are_looked_at_as_the_daemon_would() {
    let broker = Broker::start().await;
    let good = model();
    let lines = format!(
        "[[model]]\nname = \"main\"\nfiles = [{{ path = {good:?}, sha256 = \"{}\" }}, {{ path = \"/nowhere/x.gguf\" }}]\n",
        "00".repeat(32)
    );
    let folder = alone(&broker, &lines);
    let config = folder.path().join("promptd.toml");
    let (findings, code) = examine(&config, &[]);
    let missing = only(&findings, "models", "fail");
    assert!(code == 1 && missing.contains("there is no file /nowhere/x.gguf"), "{missing}");
    assert!(only(&findings, "models", "pass").contains("--deep"), "{findings:#?}");
    assert!(of(&findings, "memory", "pass").iter().any(|found| found.contains("main: cpu:int4 fits")), "{findings:#?}");

    let (findings, _) = examine(&config, &["--deep"]);
    let failed = of(&findings, "models", "fail");
    assert!(only_one(&failed, "SHA-256").contains("configured is 0000"), "{failed:?}");
}

#[tokio::test]
async fn what_is_wrong_with_the_journal_is_told_with_its_remedy() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 1, ..Setup::default() }).await;
    let examine = || examine(&node.config(), &[]).0;
    assert!(of(&examine(), "journal", "pass").iter().any(|found| found.contains("outlive the daemon")));
    // Nobody is subscribed for this client.
    let device = Device::connect(&broker, "dev").await;
    let request = serde_json::json!({ "id": "1", "prompt": "Hi", "max_tokens": 1 }).to_string();
    device.send(Send::new("promptd/gw/request/generate/nobody", request)).await;
    until("it was given to nobody", || (node.operator_json(&["status"])["journal"]["missed"] == 1).then_some(())).await;
    let missed = only(&examine(), "journal", "warn");
    assert!(missed.contains("1 outcomes were given to nobody") && missed.contains("promptd fetch"), "{missed}");

    let file = node.folder().join("journal.db");
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let findings = examine();
    assert!(only_one(&of(&findings, "journal", "warn"), "mode 0644").contains("chmod 600"), "{findings:#?}");
    std::fs::remove_file(&file).unwrap();
    assert!(only(&examine(), "journal", "fail").contains("was removed while the daemon has it open"));
}

#[tokio::test]
async fn a_password_that_everybody_may_read_is_told() {
    let (broker, mqtt) = guarded("topic readwrite #\nuser gw\ntopic readwrite #\n").await;
    let folder = alone(&broker, &mqtt);
    let config = folder.path().join("promptd.toml");
    let secret = broker.folder().join("secret");
    let (findings, _) = examine(&config, &[]);
    assert!(of(&findings, "files", "warn").is_empty(), "{findings:#?}");
    std::fs::set_permissions(&secret, Permissions::from_mode(0o644)).unwrap();
    let (findings, _) = examine(&config, &[]);
    let open = only(&findings, "files", "warn");
    assert!(open.contains("mode 0644") && open.contains("chmod 600"), "{open}");
    std::fs::remove_file(&secret).unwrap();
    let (findings, _) = examine(&config, &[]);
    assert!(only(&findings, "files", "fail").contains("mode 0600"), "{findings:#?}");
}

#[tokio::test]
async fn a_configuration_with_problems_or_without_models_is_no_end() {
    let broker = Broker::start().await;
    let folder = alone(&broker, "keep_alive = \"1s\"\nkeep_aliv = 1");
    let config = folder.path().join("promptd.toml");
    let (findings, code) = examine(&config, &[]);
    assert_eq!((code, of(&findings, "configuration", "fail").len()), (1, 2), "{findings:#?}");
    assert!(only(&findings, "models", "warn").contains("promptd model add"), "{findings:#?}");
    assert_eq!(of(&findings, "topics", "pass").len(), 5, "the broker is asked all the same: {findings:#?}");

    std::fs::write(&config, "[mqtt\n").unwrap();
    let (findings, code) = examine(&config, &[]);
    assert!(code == 1 && only(&findings, "configuration", "fail").contains("promptd.toml:1"), "{findings:#?}");
    assert!(findings.iter().any(|found| found["check"] == "cpu"), "the machine is looked at: {findings:#?}");
}
