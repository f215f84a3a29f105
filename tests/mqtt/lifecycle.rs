//! Connecting, leaving, and what others see of it.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use promptd::mqtt::{Fault, Link, LinkConfig, LinkEvent, ShutdownEnd};

use crate::broker::{Broker, free_port};
use crate::client::{Client, text};
use crate::node::{Node, config, until};

#[tokio::test]
async fn waits_for_a_broker_that_is_not_there_yet() {
    let port = free_port();
    let mut node = Node::start(config(port));
    node.link.set_retained("availability", "online");
    node.publish("out", "early");
    assert!(matches!(node.disconnected().await, Fault::Unreachable(_)));
    let broker = Broker::start_on(port, "allow_anonymous true", &[]);
    node.ready().await;
    until("what waited is published", || node.link.counters().published == 2).await;
    assert_eq!(node.link.counters().reconnects, 0);
    drop(broker);
}

/// What all tests log; a broker's port tells whose it is.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn capture() -> Self {
        let log = Self::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        log
    }

    fn lines(&self, port: u16, containing: &str) -> usize {
        let port = format!("port={port}");
        let log = text(&self.0.lock().unwrap());
        log.lines().filter(|line| line.contains(&port) && line.contains(containing)).count()
    }
}

#[tokio::test]
async fn a_wrong_password_is_logged_once_and_a_right_one_needs_no_restart() {
    let log = Log::capture();
    let mut broker = Broker::start_with("password_file {folder}/passwords", &[("passwords", "node:secret\n")]);
    hash_passwords(&broker);
    broker.kill();
    broker.restart();
    std::fs::write(broker.path("credential"), "wrong").unwrap();
    let path = broker.path("credential");
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let mut node = Node::start(LinkConfig {
        username: Some("node".to_owned()),
        password: Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            std::fs::read_to_string(&path).map(Some).map_err(|error| error.to_string())
        }),
        ..config(broker.port())
    });
    let Fault::Refused { reason, remedy } = node.disconnected().await else { panic!("not refused") };
    assert_eq!(reason, "not authorized");
    assert!(remedy.contains("mqtt.password_credential"));
    until("several attempts", || attempts.load(Ordering::Relaxed) > 5).await;
    std::fs::write(broker.path("credential"), "secret").unwrap();
    let next = node.event(Some).await;
    assert!(matches!(next, LinkEvent::Connected { .. }), "the refusal was told once: {next:?}");
    assert_eq!(log.lines(broker.port(), "mqtt.password_credential"), 1);
    assert_eq!(log.lines(broker.port(), "connected to the broker"), 1);
    assert_eq!(log.lines(broker.port(), "secret"), 0);
}

fn hash_passwords(broker: &Broker) {
    let done = std::process::Command::new("mosquitto_passwd").arg("-U").arg(broker.path("passwords")).status();
    assert!(done.unwrap().success());
}

#[tokio::test]
async fn a_password_that_cannot_be_read_is_a_fault_and_not_the_end() {
    let broker = Broker::open();
    let attempts = AtomicUsize::new(0);
    let password = move || match attempts.fetch_add(1, Ordering::Relaxed) {
        0..3 => Err("no such credential".to_owned()),
        _ => Ok(None),
    };
    let mut node = Node::start(LinkConfig { password: Arc::new(password), ..config(broker.port()) });
    assert_eq!(node.disconnected().await, Fault::Password("no such credential".to_owned()));
    node.ready().await;
}

#[tokio::test]
async fn a_refused_subscription_is_told_at_each_connect() {
    let rules = r#"{"defaultACLAccess":{"publishClientSend":true,"publishClientReceive":true,"subscribe":true,"unsubscribe":true},
        "clients":[],"groups":[{"groupname":"all","roles":[{"rolename":"all"}]}],"anonymousGroup":"all",
        "roles":[{"rolename":"all","acls":[{"acltype":"subscribePattern","topic":"in/+/+","priority":1,"allow":false}]}]}"#;
    let plugin = std::fs::read_dir("/usr/lib")
        .unwrap()
        .map(|entry| entry.unwrap().path().join("mosquitto_dynamic_security.so"))
        .find(|path| path.exists())
        .expect("mosquitto's dynamic security plugin");
    let settings =
        format!("allow_anonymous true\nplugin {}\nplugin_opt_config_file {{folder}}/rules.json", plugin.display());
    let mut broker = Broker::start_with(&settings, &[("rules.json", rules)]);
    let mut node = Node::start(config(broker.port()));
    let refused = |event| match event {
        LinkEvent::SubscriptionRefused { filter, reason } => Some((filter, reason)),
        _ => None,
    };
    assert_eq!(node.event(refused).await, ("in/+/+".to_owned(), "not authorized".to_owned()));
    let mut client = Client::connect(broker.port(), "client").await;
    client.publish("in/a", "still served").await;
    assert_eq!(node.take().await, "still served");
    broker.kill();
    broker.restart();
    let again = node.event(refused).await;
    assert_eq!(again.0, "in/+/+", "it is still refused, and the driver's state must say so");
    let mut client = Client::connect(broker.port(), "client").await;
    client.publish("in/a", "again").await;
    assert_eq!(node.take().await, "again");
}

#[tokio::test]
async fn a_filter_that_is_none_is_refused_and_the_others_work() {
    let broker = Broker::open();
    let subscriptions = vec!["in/#/x".to_owned(), "in/+".to_owned()];
    let mut node = Node::start(LinkConfig { subscriptions, ..config(broker.port()) });
    let refused = node.event(Some).await;
    assert!(matches!(&refused, LinkEvent::SubscriptionRefused { filter, .. } if filter == "in/#/x"), "{refused:?}");
    node.ready().await;
    let mut client = Client::connect(broker.port(), "client").await;
    client.publish("in/a", "hi").await;
    assert_eq!(node.take().await, "hi");
}

#[tokio::test]
async fn the_will_speaks_when_the_process_is_gone() {
    let broker = Broker::open();
    let mut client = Client::connect(broker.port(), "client").await;
    client.subscribe("availability").await;
    let config = config(broker.port());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let node = Node::connected(config).await;
            node.link.set_retained("availability", "online");
            stopped.await.unwrap();
        });
        runtime.shutdown_background();
    });
    assert_eq!(client.next_text().await.1, "online");
    stop.send(()).unwrap();
    process.join().unwrap();
    assert_eq!(client.next_text().await.1, "offline (will)");
    let mut late = Client::connect(broker.port(), "late").await;
    late.subscribe("availability").await;
    assert!(late.next().await.retain, "also for who comes later");
}

#[tokio::test]
async fn the_link_ends_with_its_receiver() {
    let broker = Broker::open();
    let mut client = Client::connect(broker.port(), "client").await;
    client.subscribe("availability").await;
    let node = Node::connected(config(broker.port())).await;
    drop(node.events);
    assert_eq!(client.next_text().await.1, "offline (will)");
    until("the link ends", || !node.link.is_connected()).await;
    assert_eq!(node.link.shutdown(Vec::new(), Duration::from_secs(9)).await, ShutdownEnd::NotConnected);
}

#[tokio::test]
async fn a_shutdown_publishes_all_that_waits_and_withdraws_the_will() {
    let broker = Broker::open();
    let mut client = Client::connect(broker.port(), "client").await;
    client.subscribe("#").await;
    let node = Node::connected(config(broker.port())).await;
    node.link.set_retained("availability", "online");
    for number in 0..100 {
        node.publish("out", number.to_string());
    }
    let last = vec![("status".to_owned(), "stopped".into()), ("availability".to_owned(), "offline".into())];
    assert_eq!(node.link.shutdown(last, Duration::from_secs(10)).await, ShutdownEnd::Clean);
    // The will would be here before what another client publishes now.
    client.publish("marker", "marker").await;
    let mut said = Vec::new();
    loop {
        let (topic, payload) = client.next_text().await;
        if topic == "marker" {
            break;
        }
        said.push((topic, payload));
    }
    let results: Vec<&str> =
        said.iter().filter(|(topic, _)| topic == "out").map(|(_, payload)| payload.as_str()).collect();
    assert_eq!(results, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
    let end: Vec<(&str, &str)> =
        said.iter().rev().take(2).map(|(topic, payload)| (topic.as_str(), payload.as_str())).collect();
    assert_eq!(end, [("availability", "offline"), ("status", "stopped")], "the last words, and no will");
    let mut late = Client::connect(broker.port(), "late").await;
    late.subscribe("availability").await;
    assert_eq!(late.next_text().await.1, "offline");
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_broker_that_does_not_answer() {
    let broker = Broker::open();
    let node = Node::connected(config(broker.port())).await;
    broker.freeze();
    node.publish("out", "x");
    let end = node.link.shutdown(Vec::new(), Duration::from_millis(300)).await;
    assert_eq!(end, ShutdownEnd::TimedOut);
    let (link, _events) = Link::spawn(config(free_port()));
    assert_eq!(link.shutdown(Vec::new(), Duration::from_mins(1)).await, ShutdownEnd::NotConnected);
}

#[tokio::test]
async fn a_broker_without_retained_messages_is_used_without() {
    let broker = Broker::start("allow_anonymous true\nretain_available false");
    let mut client = Client::connect(broker.port(), "client").await;
    client.subscribe("status").await;
    let mut node = Node::start(config(broker.port()));
    assert_eq!(node.disconnected().await, Fault::NoRetained);
    node.ready().await;
    node.link.set_retained("status", "1");
    assert_eq!(client.next_text().await.1, "1");
}
