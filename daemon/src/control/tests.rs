//! The control socket as its peers see it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::limits::Limits;
use super::{ControlCall, ControlServer};
use crate::job::{Control, ErrorCode, JobError};

/// What no test should reach.
const LONG: Duration = Duration::from_secs(30);
/// What a test waits for.
const SHORT: Duration = Duration::from_millis(50);

/// A served socket in a folder of its own.
struct Node {
    folder: TempDir,
    driver: JoinHandle<()>,
}

impl Node {
    async fn start(limits: Limits, drive: impl FnMut(ControlCall) + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = ControlServer::bind_with(&folder.path().join("s"), None, limits).await.unwrap();
        Self { folder, driver: tokio::spawn(run(server, drive)) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    async fn connect(&self) -> Peer {
        Peer { stream: BufReader::new(UnixStream::connect(self.path()).await.unwrap()) }
    }
}

async fn run(mut server: ControlServer, mut drive: impl FnMut(ControlCall)) {
    while let Some(call) = server.next().await {
        drive(call);
    }
}

/// Answers each verb with its name.
fn echo(call: ControlCall) {
    let verb = call.control.verb();
    call.reply.finish(Ok(json!(verb)));
}

fn limits() -> Limits {
    Limits { connections: 2, line: 1024, line_time: LONG, idle: LONG, write_time: LONG }
}

struct Peer {
    stream: BufReader<UnixStream>,
}

impl Peer {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The next answer; none at the end.
    async fn receive(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.stream.read_line(&mut line).await {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap()),
            // The server closed with something of ours unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    async fn ask(&mut self, request: &Value) -> Value {
        self.send(format!("{request}\n")).await;
        self.receive().await.unwrap()
    }
}

fn result(verb: &str) -> Value {
    json!({"event": "result", "verb": verb, "output": verb})
}

#[tokio::test]
async fn one_connection_asks_several_times() {
    let node = Node::start(limits(), echo).await;
    let mut peer = node.connect().await;
    for verb in ["status", "models", "drain"] {
        assert_eq!(peer.ask(&json!({ "verb": verb })).await, result(verb));
    }
    peer.send("{\"verb\":\"info\"}\r\n{\"verb\":\"resume\"}\n").await;
    assert_eq!(peer.receive().await, Some(result("info")));
    assert_eq!(peer.receive().await, Some(result("resume")));
}

#[tokio::test]
async fn the_driver_gets_what_was_asked_and_its_error_comes_back() {
    let node = Node::start(limits(), |call: ControlCall| {
        let Control::Load { model, strategy } = call.control else { panic!("{:?}", call.control) };
        let text = format!("{model} {strategy:?}");
        let error = JobError::new(ErrorCode::MemoryHeadroom, text).retry_after(Duration::from_millis(1500));
        call.reply.finish(Err(error));
    })
    .await;
    let answer = node.connect().await.ask(&json!({"verb": "load", "model": "main", "strategy": "cpu:int8"})).await;
    assert_eq!(
        answer,
        json!({"event": "error", "code": "memory_headroom", "message": "main Some(\"cpu:int8\")", "retryable": true,
               "retry_after_ms": 1500})
    );
}

#[tokio::test]
async fn progress_comes_before_the_result() {
    let node = Node::start(limits(), |call: ControlCall| {
        call.reply.progress("hash", None);
        call.reply.progress("weights", Some(0.5));
        call.reply.finish(Ok(json!({"state": "ready"})));
    })
    .await;
    let mut peer = node.connect().await;
    assert_eq!(
        peer.ask(&json!({"verb": "load", "model": "m"})).await,
        json!({"event": "progress", "verb": "load", "step": "hash"})
    );
    let weights = json!({"event": "progress", "verb": "load", "step": "weights", "progress": 0.5});
    assert_eq!(peer.receive().await, Some(weights));
    let ready = json!({"event": "result", "verb": "load", "output": {"state": "ready"}});
    assert_eq!(peer.receive().await, Some(ready));
}

#[tokio::test]
async fn progress_that_nobody_takes_is_dropped_and_the_result_is_not() {
    let node = Node::start(limits(), |call: ControlCall| {
        for step in 0..10_000 {
            call.reply.progress(&format!("{step}"), None);
        }
        call.reply.finish(Ok(json!("done")));
    })
    .await;
    let mut peer = node.connect().await;
    peer.send("{\"verb\":\"reload\"}\n").await;
    let mut steps = 0;
    let end = loop {
        let answer = peer.receive().await.unwrap();
        if answer["event"] != "progress" {
            break answer;
        }
        steps += 1;
    };
    assert_eq!(end["output"], "done");
    assert!((1..100).contains(&steps), "{steps}");
}

#[tokio::test]
async fn a_dropped_request_is_answered_all_the_same() {
    let node = Node::start(limits(), drop).await;
    let mut peer = node.connect().await;
    for _ in 0..2 {
        let answer = peer.ask(&json!({"verb": "status"})).await;
        assert_eq!((&answer["event"], &answer["code"]), (&json!("error"), &json!("internal")));
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_and_the_connection_stays() {
    let node = Node::start(limits(), echo).await;
    let mut peer = node.connect().await;
    for (line, code) in [
        ("hello".to_owned(), "invalid_request"),
        (String::new(), "invalid_request"),
        ("[]".to_owned(), "invalid_request"),
        (r#"{"verb":"reboot"}"#.to_owned(), "invalid_request"),
        (r#"{"verb":"load"}"#.to_owned(), "invalid_request"),
        (format!("{{\"verb\":\"{}\"}}", "x".repeat(1024)), "too_large"),
        ("y".repeat(1_000_000), "too_large"),
    ] {
        peer.send(format!("{line}\n")).await;
        let answer = peer.receive().await.unwrap();
        assert_eq!((&answer["event"], &answer["code"]), (&json!("error"), &json!(code)), "{line}");
        assert_eq!(answer["retryable"], false);
    }
    peer.send(b"\xff\xfe\n").await;
    assert_eq!(peer.receive().await.unwrap()["code"], "invalid_request");
    assert_eq!(peer.ask(&json!({"verb": "status"})).await, result("status"));
}

#[tokio::test]
async fn only_so_many_connect() {
    let node = Node::start(limits(), echo).await;
    let (mut first, mut second) = (node.connect().await, node.connect().await);
    first.ask(&json!({"verb": "status"})).await;
    second.ask(&json!({"verb": "status"})).await;
    let mut third = node.connect().await;
    let refused = third.receive().await.unwrap();
    assert_eq!((&refused["code"], &refused["retryable"]), (&json!("queue_full"), &json!(true)));
    assert_eq!(third.receive().await, None);
    assert_eq!(first.ask(&json!({"verb": "status"})).await, result("status"), "the others are served on");
    drop(second);
    // Its end is noticed a moment later.
    let answer = loop {
        let mut peer = node.connect().await;
        // A refused peer may find the connection closed already.
        let _ = peer.stream.write_all(b"{\"verb\":\"status\"}\n").await;
        match peer.receive().await {
            Some(answer) if answer["code"] != "queue_full" => break answer,
            _ => tokio::task::yield_now().await,
        }
    };
    assert_eq!(answer, result("status"));
}

#[tokio::test]
async fn a_half_closed_peer_gets_its_answer() {
    let node = Node::start(limits(), echo).await;
    let mut peer = node.connect().await;
    peer.send("{\"verb\":\"status\"}\n{\"verb\":\"info\"}").await;
    peer.stream.shutdown().await.unwrap();
    assert_eq!(peer.receive().await, Some(result("status")));
    assert_eq!(peer.receive().await, Some(result("info")), "its last line needs no end");
    assert_eq!(peer.receive().await, None);
}

#[tokio::test]
async fn a_peer_that_left_costs_nothing() {
    let (sender, mut calls) = tokio::sync::mpsc::channel(1);
    let node = Node::start(limits(), move |call| sender.try_send(call).unwrap()).await;
    let mut gone = node.connect().await;
    gone.send("{\"verb\":\"reload\"}\n").await;
    let call = calls.recv().await.unwrap();
    drop(gone);
    call.reply.progress("weights", None);
    call.reply.finish(Ok(Value::Null));
    let mut peer = node.connect().await;
    peer.send("{\"verb\":\"status\"}\n").await;
    echo(calls.recv().await.unwrap());
    assert_eq!(peer.receive().await, Some(result("status")));
}

#[tokio::test]
async fn slow_and_idle_peers_are_let_go() {
    let node = Node::start(Limits { line_time: SHORT, ..limits() }, echo).await;
    let mut slow = node.connect().await;
    slow.send("{\"verb\":").await;
    let answer = slow.receive().await.unwrap();
    assert_eq!(
        (&answer["code"], answer["message"].as_str().unwrap().contains("50ms")),
        (&json!("invalid_request"), true)
    );
    assert_eq!(slow.receive().await, None);
    let node = Node::start(Limits { idle: SHORT, ..limits() }, echo).await;
    let mut idle = node.connect().await;
    assert_eq!(idle.ask(&json!({"verb": "status"})).await, result("status"));
    assert_eq!(idle.receive().await, None);
}

#[tokio::test]
async fn a_peer_that_takes_no_answers_is_let_go() {
    let large = "x".repeat(4 << 20);
    let node = Node::start(Limits { write_time: SHORT, ..limits() }, move |call: ControlCall| {
        call.reply.finish(Ok(json!(large)));
    })
    .await;
    let mut peer = node.connect().await;
    peer.send("{\"verb\":\"status\"}\n").await;
    // Neither side reads, so that writes wait once the socket is full, until the server has given up: then they fail.
    while peer.stream.write_all(&[b' '; 4096]).await.is_ok() {}
    let mut rest = Vec::new();
    let _ = peer.stream.read_to_end(&mut rest).await;
    assert!(rest.len() < 4 << 20, "{}", rest.len());
}

#[tokio::test]
async fn the_end_of_the_server_ends_its_connections() {
    let node = Node::start(limits(), echo).await;
    let mut peer = node.connect().await;
    assert_eq!(peer.ask(&json!({"verb": "status"})).await, result("status"));
    node.driver.abort();
    assert_eq!(peer.receive().await, None);
    assert!(!node.path().exists());
}
