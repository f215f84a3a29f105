//! The commands' side of the control socket, against the daemon's.

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

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Status(Status),
    Info(Info),
    Models(Models),
    Tasks(Tasks),
    Drain(Drain),
    Resume(Resume),
    Load(Load),
    Unload(Unload),
    Switch(Switch),
    Reload(Reload),
}

fn answer(path: &Path, line: &str) -> Result<String, Failure> {
    match Line::try_parse_from(["promptd"].into_iter().chain(line.split(' '))).unwrap().command {
        Command::Status(command) => command.answer(path),
        Command::Info(command) => command.answer(path),
        Command::Models(command) => command.answer(path),
        Command::Tasks(command) => command.answer(path),
        Command::Drain(command) => command.answer(path),
        Command::Resume(command) => command.answer(path),
        Command::Load(command) => command.answer(path),
        Command::Unload(command) => command.answer(path),
        Command::Switch(command) => command.answer(path),
        Command::Reload(command) => command.answer(path),
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
        ("drain", json!({})),
        ("resume", json!({})),
        ("load m", json!({"model": "m"})),
        ("load m --strategy cpu:int8", json!({"model": "m", "strategy": "cpu:int8"})),
        ("unload m", json!({"model": "m"})),
        ("switch m --strategy gpu:f16", json!({"model": "m", "strategy": "gpu:f16"})),
        ("reload", json!({})),
        ("reload m", json!({"model": "m"})),
    ] {
        answer(&path, line).unwrap();
        let mut fields: Map<String, Value> = fields.as_object().unwrap().clone();
        let verb = fields
            .remove("verb")
            .map_or_else(|| line.split(' ').next().unwrap().to_owned(), |verb| verb.as_str().unwrap().to_owned());
        assert_eq!(calls.recv().unwrap(), Control::read(&verb, fields).unwrap(), "{line}");
    }
    let elsewhere = format!("status --socket {}", path.display());
    answer(Path::new("/nowhere"), &elsewhere).unwrap();
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
    for line in ["load", "load a/b", "load m --strategy cpu:int2", "switch m --strategy cpu", "drain m", "models a b"] {
        assert!(Line::try_parse_from(["promptd"].into_iter().chain(line.split(' '))).is_err(), "{line}");
    }
}
