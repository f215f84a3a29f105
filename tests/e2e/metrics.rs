//! Metrics, where Prometheus and others find them, and that they move.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use crate::harness::http::{free_port, get, page, sum};
use crate::harness::{Broker, Device, Node, Send, Setup, signal_pid, until};

fn setup(port: u16, textfile: &Path) -> Setup {
    let tables =
        format!("[telemetry]\ninterval = \"1s\"\nhttp = \"127.0.0.1:{port}\"\ntextfile = \"{}\"\n", textfile.display());
    Setup { sequences: 2, tables, ..Setup::default() }
}

/// Waits until a metric has at least this value; gives all of them.
async fn at_least(port: u16, name: &str, label: &str, least: f64) -> String {
    until(&format!("{name}{{{label}}} is {least}"), || {
        let text = page(port, "/metrics").body;
        sum(&text, name, label).is_some_and(|value| value >= least).then_some(text)
    })
    .await
}

/// Jobs of every kind: answered, streamed, refused, cancelled, repeated, expired.
async fn use_it(device: &mut Device) {
    let ask = |id: &str, tokens: u32| json!({ "id": id, "prompt": "Count.", "max_tokens": tokens, "ignore_eos": true, "stream": true });
    let answer = device.answer("generate", ask("length", 40)).await;
    assert_eq!(answer["finish"], "length", "{answer}");
    device.answer("generate", json!({ "id": "cut", "prompt": "Count.", "max_bytes": 8 })).await;
    device.answer("generate", json!({ "id": "stop", "prompt": "Say yes.", "stop": [" ", ".", "e", "a"] })).await;
    for id in ["run1", "run2"] {
        device.ask("generate", &ask(id, 900)).await;
        while device.next().await.json["event"] != "delta" {}
    }
    device.ask("generate", &ask("waits", 5)).await;
    device.ask("generate", &ask("waits", 5)).await;
    let late = device.answer("generate", json!({ "id": "late", "prompt": "Count.", "deadline_ms": 100 })).await;
    assert_eq!(late["code"], "deadline_exceeded", "{late}");
    let wrong = device.answer("generate", json!({ "id": "wrong", "prompt": "" })).await;
    assert_eq!(wrong["code"], "invalid_request", "{wrong}");
}

/// Every metric that this machine can move.
const MOVED: [(&str, &str); 29] = [
    ("promptd_requests_received_total", ""),
    ("promptd_requests_accepted_total", ""),
    ("promptd_requests_repeated_total", ""),
    ("promptd_requests_refused_total", "code=\"invalid_request\""),
    ("promptd_jobs_completed_total", "finish=\"length\""),
    ("promptd_jobs_completed_total", "finish=\"truncated\""),
    ("promptd_jobs_completed_total", "finish=\"stop\""),
    ("promptd_jobs_failed_total", "code=\"cancelled\""),
    ("promptd_jobs_failed_total", "code=\"deadline_exceeded\""),
    ("promptd_prompt_tokens_total", "model=\"main\""),
    ("promptd_cached_tokens_total", "model=\"main\""),
    ("promptd_generated_tokens_total", "model=\"main\""),
    ("promptd_deltas_published_total", ""),
    ("promptd_queue_time_seconds_count", ""),
    ("promptd_prefill_time_seconds_sum", ""),
    ("promptd_time_to_first_token_seconds_sum", ""),
    ("promptd_inter_token_latency_seconds_sum", ""),
    ("promptd_request_duration_seconds_sum", ""),
    ("promptd_mqtt_messages_received_total", ""),
    ("promptd_mqtt_messages_published_total", ""),
    ("promptd_engine_starts_total", "model=\"main\""),
    ("promptd_model_events_total", "event=\"loaded\""),
    ("promptd_uptime_seconds", ""),
    ("promptd_daemon_resident_bytes", ""),
    ("promptd_engine_resident_bytes", "model=\"main\""),
    ("promptd_model_memory_estimate_bytes", "model=\"main\""),
    ("promptd_model_memory_real_bytes", "model=\"main\""),
    ("promptd_memory_available_bytes", "limit=\"host\""),
    ("promptd_memory_slack_ratio", ""),
];

#[tokio::test]
async fn metrics_move_with_what_happens() {
    let folder = tempfile::tempdir().unwrap();
    let (port, textfile) = (free_port(), folder.path().join("promptd.prom"));
    let broker = Broker::start().await;
    let mut node = Node::ready(&broker, setup(port, &textfile)).await;
    let mut device = Device::connect(&broker, "cam").await;
    at_least(port, "promptd_ready", "", 1.0).await;
    use_it(&mut device).await;

    // However fast the engine is: two jobs are in it, and one waits behind them.
    let engine = node.engines()[0];
    signal_pid(engine, Signal::STOP);
    let running = until("two jobs run and one waits", || {
        let text = page(port, "/metrics").body;
        let jobs = ["promptd_jobs_running", "promptd_jobs_waiting"].map(|name| sum(&text, name, ""));
        (jobs == [Some(2.0), Some(1.0)]).then_some(text)
    })
    .await;
    signal_pid(engine, Signal::CONT);
    let used = at_least(port, "promptd_model_context_used_ratio", "", 0.001).await;
    assert!(sum(&used, "promptd_model_context_used_ratio", "").unwrap() <= 1.0);
    assert_eq!(sum(&running, "promptd_model_jobs_running", "model=\"main\""), Some(2.0));
    assert_eq!(sum(&running, "promptd_state", "state=\"ready\""), Some(1.0));
    assert_eq!(sum(&running, "promptd_state", ""), Some(1.0), "one state at a time");
    assert_eq!(sum(&running, "promptd_model_info", "strategy=\"cpu:int4\""), Some(1.0));
    for id in ["run1", "run2"] {
        device.send(Send::new("promptd/gw/cancel/cam", json!({ "id": id }).to_string())).await;
    }
    device.outcome("waits").await;
    let text = at_least(port, "promptd_jobs_failed_total", "code=\"cancelled\"", 2.0).await;
    for (name, label) in MOVED {
        assert!(sum(&text, name, label).is_some_and(|value| value > 0.0), "{name} {label} has not moved:\n{text}");
    }
    let count = |name| sum(&text, name, "").unwrap();
    let (received, accepted) = (count("promptd_requests_received_total"), count("promptd_requests_accepted_total"));
    let (repeated, refused) = (count("promptd_requests_repeated_total"), count("promptd_requests_refused_total"));
    assert!((received - accepted - repeated - refused).abs() < 0.5, "each request became one of these");

    signal_pid(node.engines()[0], Signal::KILL);
    at_least(port, "promptd_engine_faults_total", "reason=\"killed\"", 1.0).await;
    at_least(port, "promptd_engine_starts_total", "", 2.0).await;

    let written = until("the file has them, too", || {
        let text = std::fs::read_to_string(&textfile).ok()?;
        sum(&text, "promptd_engine_starts_total", "").is_some_and(|starts| starts >= 2.0).then_some(text)
    })
    .await;
    promtool(&written);
    node.signal(Signal::TERM);
    assert_eq!(node.ended().await, Some(0));
    assert!(!textfile.exists(), "old numbers would be taken for new ones");
}

#[tokio::test]
async fn whether_the_node_is_ready_is_told_to_those_who_look() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let broker = Broker::start().await;
    let node = Node::start(&broker, &setup(port, &folder.path().join("promptd.prom")));
    let ready = until("it is served while it loads", || get(port, "/readyz", "")).await;
    assert!(ready.status == 503 || node.log().contains("the model is ready"), "{ready:?}");
    let ready = until("it is ready", || get(port, "/readyz", "").filter(|answer| answer.status == 200)).await;
    assert_eq!(ready.body.trim(), "ready");
    assert_eq!(page(port, "/healthz").status, 200);

    let metrics = page(port, "/metrics");
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{}", metrics.head);
    promtool(&metrics.body);
    let open = get(port, "/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n").unwrap();
    assert!(open.head.contains("content-type: application/openmetrics-text"), "{}", open.head);
    assert!(open.body.ends_with("# EOF\n") && open.body.contains("# UNIT promptd_uptime_seconds seconds"));

    node.operator_json(&["drain"]);
    let drained = until("it is not ready", || get(port, "/readyz", "").filter(|answer| answer.status == 503)).await;
    assert!(drained.body.starts_with("draining\n"), "{drained:?}");
    assert_eq!(page(port, "/healthz").status, 200, "it lives");
    node.operator_json(&["resume"]);
    until("it is ready again", || get(port, "/readyz", "").filter(|answer| answer.status == 200)).await;
}

#[tokio::test]
async fn a_reload_opens_and_closes_the_port() {
    let broker = Broker::start().await;
    let node = Node::start(&broker, &Setup { with_model: false, ..Setup::default() });
    node.wait_for_state(&broker, "no_model").await;
    let port = free_port();
    let file = node.folder().join("conf.d/telemetry.toml");
    std::fs::write(&file, format!("telemetry.http = '127.0.0.1:{port}'")).unwrap();
    node.signal(Signal::HUP);
    until("the port is open", || get(port, "/healthz", "")).await;
    std::fs::write(&file, "").unwrap();
    node.signal(Signal::HUP);
    until("the port is closed", || get(port, "/healthz", "").is_none().then_some(())).await;
}

#[test]
fn promtool_takes_the_alert_rules() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/monitoring/alerts.yml");
    let output = Command::new(promtool_path()).args(["check", "rules"]).arg(rules).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Prometheus' own check of a text with metrics.
fn promtool(metrics: &str) {
    let mut check = Command::new(promtool_path());
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().unwrap();
    std::io::Write::write_all(check.stdin.as_mut().unwrap(), metrics.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{metrics}", String::from_utf8_lossy(&output.stderr));
}

fn promtool_path() -> PathBuf {
    let path = std::env::var_os("PROMPTD_TEST_PROMTOOL").map(PathBuf::from);
    let path = path.unwrap_or_else(|| {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_promptd"));
        binary.ancestors().nth(2).expect("target/<profile>/promptd").join("promtool")
    });
    assert!(path.is_file(), "no promtool at {}; run `make promtool`", path.display());
    path
}
