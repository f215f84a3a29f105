//! What systemd is told, over a socket as it makes them.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Broker, Device, Node, Send, Setup, files, signal_pid, until};

/// The watchdog's period.
const WATCHDOG: Duration = Duration::from_secs(1);

/// How long the socket is listened to at once.
const POLL: Duration = Duration::from_millis(10);

/// Collects what the service manager would get.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    /// Waits until it has heard a line so often.
    async fn hears(&mut self, line: &str, times: usize) {
        until(&format!("systemd hears {line}"), || {
            let mut buffer = [0; 4096];
            while let Ok(length) = self.socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                self.heard.extend(text.lines().map(str::to_owned));
            }
            (self.count(line) >= times).then_some(())
        })
        .await;
    }

    /// Waits as systemd does until a whole watchdog period brings no sign of life; then it would bite.
    async fn bites(&mut self) {
        self.socket.set_read_timeout(Some(WATCHDOG)).unwrap();
        until("the watchdog bites", || {
            let mut buffer = [0; 4096];
            self.socket.recv(&mut buffer).is_err().then_some(())
        })
        .await;
        self.socket.set_read_timeout(Some(POLL)).unwrap();
    }

    fn count(&self, line: &str) -> usize {
        self.heard.iter().filter(|heard| heard.starts_with(line)).count()
    }
}

#[tokio::test]
async fn ready_comes_after_the_load_and_the_watchdog_is_fed_while_it_lasts() {
    let (mut manager, folder) = manager();
    let path = folder.path().join("notify");
    let broker = Broker::start().await;
    let environment =
        vec![("NOTIFY_SOCKET", path.display().to_string()), ("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())];
    let mut node = Node::start(&broker, &Setup { environment, ..Setup::default() });

    manager.hears("READY=1", 1).await;
    let before = manager.heard.iter().position(|heard| heard == "READY=1").unwrap();
    let extended = manager.heard.iter().position(|heard| heard.starts_with("EXTEND_TIMEOUT_USEC=")).unwrap();
    assert!(extended < before && node.log().contains("the model is ready"), "{:?}", manager.heard);
    let fed = manager.count("WATCHDOG=1");
    manager.hears("WATCHDOG=1", fed + 3).await;

    node.signal(Signal::HUP);
    manager.hears("RELOADING=1", 1).await;
    manager.hears("READY=1", 2).await;
    let ready = manager.heard.iter().rposition(|heard| heard == "READY=1").unwrap();
    let reloading = manager.heard.iter().position(|heard| heard == "RELOADING=1").unwrap();
    assert!(reloading < ready, "{:?}", manager.heard);
    assert_eq!(node.log().matches("the model is ready").count(), 1, "nothing has changed");

    node.spoil("nonsense = 1");
    node.signal(Signal::HUP);
    manager.hears("READY=1", 3).await;
    manager.hears("STATUS=misconfigured: broken_configuration: 1 problem at promptd.toml:", 1).await;

    // A daemon that hangs feeds nobody.
    node.signal(Signal::STOP);
    manager.bites().await;
    node.signal(Signal::CONT);
    let fed = manager.count("WATCHDOG=1");
    manager.hears("WATCHDOG=1", fed + 2).await;

    node.signal(Signal::TERM);
    manager.hears("STOPPING=1", 1).await;
    assert_eq!(node.ended().await, Some(0));
    assert_eq!(manager.count("READY=1"), 3);
}

#[tokio::test]
async fn a_stop_that_takes_long_asks_for_more_time_until_it_is_over() {
    let (mut manager, folder) = manager();
    let broker = Broker::start().await;
    let environment = vec![("NOTIFY_SOCKET", folder.path().join("notify").display().to_string())];
    let tables = "[service]\ndrain_timeout = \"10m\"".to_owned();
    let setup = Setup { environment, tables, sequences: 1, context: 2048, ..Setup::default() };
    let mut node = Node::start(&broker, &setup);
    // It is listened to all the time, as systemd does: nobody else makes room in the socket.
    manager.hears("READY=1", 1).await;
    let mut device = Device::connect(&broker, "dev").await;
    let endless = json!({ "id": "long", "prompt": "Count.", "max_tokens": 2000, "ignore_eos": true, "stream": true });
    device.ask("generate", &endless).await;
    while device.next().await.json["event"] != "delta" {}
    let before = manager.count("EXTEND_TIMEOUT_USEC=15000000");

    node.signal(Signal::TERM);
    manager.hears("STOPPING=1", 1).await;
    manager.hears("EXTEND_TIMEOUT_USEC=15000000", before + 2).await;
    device.send(Send::new("promptd/gw/cancel/dev", "{\"id\":\"long\"}")).await;
    assert_eq!(device.outcome("long").await["code"], "cancelled");
    assert_eq!(node.ended().await, Some(0));
}

/// A load that is busy with something of which nobody can tell how far it is; here it is not even that.
#[tokio::test]
async fn a_load_that_tells_nothing_for_long_asks_for_more_time() {
    let (mut manager, folder) = manager();
    let broker = Broker::start().await;
    let environment = vec![("NOTIFY_SOCKET", folder.path().join("notify").display().to_string())];
    let node = Node::start(&broker, &Setup { environment, files: vec![files::f16()], ..Setup::default() });
    let engine = node.loading("cpu:f16").await;
    signal_pid(engine, Signal::STOP);
    manager.hears("EXTEND_TIMEOUT_USEC=", 1).await;
    let before = manager.count("EXTEND_TIMEOUT_USEC=");
    manager.hears("EXTEND_TIMEOUT_USEC=", before + 3).await;
    assert_eq!(manager.count("READY=1"), 0);
    signal_pid(engine, Signal::CONT);
    manager.hears("READY=1", 1).await;
}

fn manager() -> (Manager, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(POLL)).unwrap();
    (Manager { socket, heard: Vec::new() }, folder)
}
