//! The commands' side of the control socket, against the daemon's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use clap::Parser;
use promptd::control::{ControlCall, ControlServer};
use promptd::job::{Control, ErrorCode, JobError, ModelName};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::socket::{Node, Question};
use super::*;
use crate::cli::{Arguments, Command};

/// Serves a socket in a folder of its own until the process ends.
fn serve(drive: impl FnMut(ControlCall) + Send + 'static) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let (ready, wait) = mpsc::sync_channel(1);
    let bound = path.clone();
    thread::spawn(move || run(&bound, &ready, drive));
    wait.recv().unwrap();
    (folder, path)
}

fn run(path: &Path, ready: &mpsc::SyncSender<()>, mut drive: impl FnMut(ControlCall)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut server = ControlServer::bind(path, None).await.unwrap();
        ready.send(()).unwrap();
        while let Some(call) = server.next().await {
            drive(call);
        }
    });
}

fn ask(path: &Path, question: &Question<'_>) -> Result<Value, Failure> {
    Node::connect(path)?.ask(question, |_, _| {})
}

#[test]
fn a_question_gets_its_progress_and_its_answer() {
    let (_folder, path) = serve(|call| {
        call.reply.progress("weights", Some(0.5));
        call.reply.progress("golden prompt", None);
        let text = format!("{:?}", call.control);
        call.reply.finish(Ok(json!(text)));
    });
    let name = ModelName::new("main").unwrap();
    let question =
        Question { model: Some(&name), strategy: Some(Strategy::parse("cpu:int8").unwrap()), ..Question::of("load") };
    let mut steps = Vec::new();
    let answer =
        Node::connect(&path).unwrap().ask(&question, |step, share| steps.push((step.to_owned(), share))).unwrap();
    let expected = Control::Load { model: name, strategy: Some("cpu:int8".to_owned()) };
    assert_eq!(answer, format!("{expected:?}"));
    assert_eq!(steps, [("weights".to_owned(), Some(0.5)), ("golden prompt".to_owned(), None)]);
}

#[test]
fn each_failure_has_its_exit_code() {
    let (_folder, path) = serve(|call| match call.control {
        Control::Status => call.reply.finish(Err(JobError::new(ErrorCode::NoModel, "none is configured"))),
        _ => drop(call),
    });
    let failure = ask(&path, &Question::of("status")).unwrap_err();
    assert_eq!((failure.code, failure.text().as_str()), (Code::Failed, "no_model: none is configured"));
    assert_eq!(ask(&path, &Question::of("drain")).unwrap_err().code, Code::Failed);
    let failure = ask(&path.with_file_name("missing"), &Question::of("status")).unwrap_err();
    assert_eq!(failure.code, Code::Unavailable);
    assert!(failure.text().contains("missing: is promptd running?"), "{}", failure.text());
}

#[test]
fn a_daemon_that_goes_away_or_talks_nonsense_is_unavailable() {
    for (answer, text) in [("", "it closed the connection"), ("nonsense\n", "expected ident")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let daemon = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            // What was asked is read, or the end would be a reset.
            let mut line = String::new();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut line).unwrap();
        });
        let failure = ask(&path, &Question::of("drain")).unwrap_err();
        assert_eq!(failure.code, Code::Unavailable);
        assert!(failure.text().contains(text), "{}", failure.text());
        daemon.join().unwrap();
    }
}

#[test]
fn a_daemon_without_room_is_heard() {
    let (_folder, path) = serve(drop);
    let mut open = Vec::new();
    let refused = loop {
        let mut node = Node::connect(&path).unwrap();
        match node.ask(&Question::of("drain"), |_, _| {}) {
            Err(failure) if failure.text().starts_with("queue_full") => break failure,
            _ => open.push(node),
        }
    };
    assert_eq!((refused.code, open.len()), (Code::Failed, 16));
}

/// Has a command line asked at a socket, if it says nothing else.
fn answer(path: &Path, line: &str) -> Result<String, Failure> {
    let words: Vec<OsString> = ["promptd"].into_iter().chain(line.split(' ')).map(Into::into).collect();
    let place = ["--socket".into(), path.as_os_str().to_owned()].into_iter().filter(|_| !line.contains("--config"));
    let words = words.into_iter().chain(place);
    match Arguments::try_parse_from(words).unwrap().command {
        Command::Status(node) => node.command.answer(&node.reach),
        Command::Info(node) => node.command.answer(&node.reach),
        Command::Models(node) => node.command.answer(&node.reach),
        Command::Jobs(node) => node.command.answer(&node.reach),
        Command::Tasks(node) => node.command.answer(&node.reach),
        Command::Diagnose(node) => node.command.answer(&node.reach),
        Command::Cancel(node) => node.command.answer(&node.reach),
        Command::Fetch(node) => node.command.answer(&node.reach),
        Command::Forget(node) => node.command.answer(&node.reach),
        Command::Drain(node) => node.command.answer(&node.reach),
        Command::Resume(node) => node.command.answer(&node.reach),
        Command::Load(node) => node.command.answer(&node.reach),
        Command::Unload(node) => node.command.answer(&node.reach),
        Command::Switch(node) => node.command.answer(&node.reach),
        Command::Reload(node) => node.command.answer(&node.reach),
        other => panic!("{other:?} asks no node"),
    }
}

#[test]
fn each_command_asks_for_what_it_says() {
    let (asked, calls) = mpsc::sync_channel(1);
    let (_folder, path) = serve(move |call| {
        asked.send(call.control).unwrap();
        call.reply.finish(Ok(json!([{"name": "m", "state": "ready"}])));
    });
    for (line, fields) in [
        ("status", json!({})),
        ("info", json!({})),
        ("models", json!({})),
        ("models --json m", json!({})),
        ("models --forget", json!({"verb": "forget"})),
        ("models --forget m", json!({"verb": "forget", "model": "m"})),
        ("tasks", json!({})),
        ("diagnose", json!({})),
        ("drain", json!({})),
        ("resume", json!({})),
        ("load m", json!({"model": "m"})),
        ("load m --strategy cpu:int8", json!({"model": "m", "strategy": "cpu:int8"})),
        ("unload m", json!({"model": "m"})),
        ("switch m --strategy gpu:f16", json!({"model": "m", "strategy": "gpu:f16"})),
        ("reload", json!({})),
        ("reload m", json!({"model": "m"})),
        ("jobs", json!({})),
        ("jobs cam", json!({"client": "cam"})),
        ("cancel cam", json!({"client": "cam"})),
        ("cancel cam 7", json!({"client": "cam", "job": "7"})),
        ("cancel --all", json!({"all": true})),
        ("fetch cam", json!({"client": "cam"})),
        ("fetch cam 7", json!({"client": "cam", "job": "7"})),
        ("forget cam", json!({"client": "cam"})),
        ("forget cam s", json!({"client": "cam", "session": "s"})),
    ] {
        answer(&path, line).unwrap();
        let mut fields: Map<String, Value> = fields.as_object().unwrap().clone();
        let verb = fields
            .remove("verb")
            .map_or_else(|| line.split(' ').next().unwrap().to_owned(), |verb| verb.as_str().unwrap().to_owned());
        assert_eq!(calls.recv().unwrap(), Control::read(&verb, fields).unwrap(), "{line}");
    }
    let config = path.with_file_name("promptd.toml");
    std::fs::write(&config, format!("[service]\ncontrol_socket = {path:?}\n")).unwrap();
    answer(&path, &format!("status --config {}", config.display())).unwrap();
    calls.recv().unwrap();
    let failure = answer(&path, "models other").unwrap_err();
    assert_eq!((failure.code, failure.text().as_str()), (Code::Failed, "no model other; known are: m"));
}

#[test]
fn answers_are_shown_for_people_or_as_json() {
    let (_folder, path) = serve(|call| {
        call.reply.finish(Ok(match call.control {
            Control::Models => json!([{"name": "a", "state": "ready"}, {"name": "b", "state": "loading"}]),
            _ => json!({"state": "draining", "reasons": []}),
        }));
    });
    assert_eq!(answer(&path, "drain").unwrap(), "state  draining\n");
    let json = answer(&path, "models b --json").unwrap();
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), json!([{"name": "b", "state": "loading"}]));
    let shown = answer(&path, "models").unwrap();
    assert!(shown.contains("\na      ready") && shown.contains("\nb      loading"), "{shown}");
}

#[test]
fn names_and_strategies_are_checked_before_anything_is_asked() {
    for line in [
        "load",
        "load a/b",
        "load m --strategy cpu:int2",
        "switch m --strategy cpu",
        "drain m",
        "models a b",
        "cancel",
        "cancel cam --all",
        "fetch",
        "status --socket s --node gw1",
    ] {
        assert!(Arguments::try_parse_from(["promptd"].into_iter().chain(line.split(' '))).is_err(), "{line}");
    }
}
