//! A look at the broker, and what the link does about refusals.

use std::time::Duration;

use promptd::mqtt::{BrokerLimits, Fault, LinkConfig, LinkEvent, Probe, ProbeError, PublishAnswer, SubscribeAnswer};
use tokio::io::AsyncReadExt;

use crate::broker::Broker;
use crate::client::Client;
use crate::node::{Node, config, until};
use crate::script::{Script, connack, disconnect};

fn doctor(port: u16) -> LinkConfig {
    LinkConfig { client_id: "doctor".to_owned(), will: None, session_expiry: Duration::ZERO, ..config(port) }
}

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_look_round_an_open_broker() {
    let broker = Broker::start("allow_anonymous true\nmax_packet_size 5000\nretain_available false");
    let mut probe = Probe::connect(&doctor(broker.port())).await.unwrap_or_else(|e| panic!("{e}"));
    let expected = BrokerLimits { packet_max: Some(5000), qos_max: 2, retain: false, wildcards: true, shared: true };
    assert_eq!(*probe.limits(), expected);
    assert_eq!(probe.subscribe("in/+").await, Ok(SubscribeAnswer::Granted(1)));
    // Somebody else's message comes in between.
    let mut client = Client::connect(broker.port(), "client").await;
    client.publish("in/other", "x").await;
    assert_eq!(probe.publish("in/own", "x").await, Ok(PublishAnswer::Taken));
    assert!(probe.arrival("in/own", SOON).await.unwrap().is_some());
    assert_eq!(probe.publish("out", "x").await, Ok(PublishAnswer::Taken), "without subscribers");
    assert_eq!(probe.arrival("out", Duration::from_millis(50)).await, Ok(None));
    probe.leave().await;
}

#[tokio::test]
async fn refusals_are_told_with_their_reasons() {
    let acl = "topic write out/allowed\n";
    let broker = Broker::start_with("allow_anonymous true\nacl_file {folder}/acl", &[("acl", acl)]);
    let mut probe = Probe::connect(&doctor(broker.port())).await.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(probe.publish("out/x", "x").await, Ok(PublishAnswer::Refused("not authorized".to_owned())));
    assert_eq!(probe.publish("out/allowed", "x").await, Ok(PublishAnswer::Taken));

    let mut script = Script::start().await;
    let link = doctor(script.port());
    let served = tokio::spawn(async move { Probe::connect(&link).await });
    let mut connection = script.accept().await;
    // Maximum QoS 0, no wildcards, no shared subscriptions.
    connection.send(&connack(&[0x24, 0, 0x28, 0, 0x2A, 0])).await;
    let mut probe = served.await.unwrap().unwrap_or_else(|e| panic!("{e}"));
    let limits = probe.limits();
    assert_eq!((limits.qos_max, limits.wildcards, limits.shared, limits.retain), (0, false, false, true));
    let asked = tokio::spawn(async move { (probe.subscribe("in/+").await, probe) });
    let subscribe = connection.packet(0x82).await;
    connection.send(&[0x90, 4, subscribe[0], subscribe[1], 0, 0x87]).await;
    let (answer, mut probe) = asked.await.unwrap();
    assert_eq!(answer, Ok(SubscribeAnswer::Refused("not authorized".to_owned())));
    let asked = tokio::spawn(async move { probe.publish("out", "x").await });
    connection.publish_id().await;
    connection.send(&disconnect(0x97)).await;
    assert!(matches!(asked.await.unwrap(), Err(Fault::Ended(reason)) if reason.contains("quota")), "said why");
}

#[tokio::test]
async fn a_broker_of_the_version_before_is_known_by_its_answer() {
    for answer in [&[0x20, 2, 0, 1][..], &[]] {
        let mut script = Script::start().await;
        let link = doctor(script.port());
        let asked = tokio::spawn(async move { Probe::connect(&link).await.map(drop) });
        let mut connection = script.accept().await;
        connection.send(answer).await;
        drop(connection);
        // Asked in its own version.
        let mut connection = script.accept().await;
        connection.send(&[0x20, 2, 0, 0]).await;
        // And once more in ours.
        script.accept().await.send(answer).await;
        assert_eq!(asked.await.unwrap(), Err(ProbeError::Fault(Fault::OldVersion)));
    }
}

#[tokio::test]
async fn whoever_is_no_broker_is_no_old_one_either() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let link = doctor(listener.local_addr().unwrap().port());
    let closing = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // What was sent is read, or the end would be a reset.
            let _ = stream.read(&mut [0; 256]).await;
        }
    });
    let found = Probe::connect(&link).await.map(drop);
    assert!(matches!(found, Err(ProbeError::Fault(Fault::Refused { .. }))), "{found:?}");
    closing.abort();
    let nameless = LinkConfig { host: "broker.invalid".to_owned(), ..doctor(1883) };
    assert!(matches!(Probe::connect(&nameless).await.map(drop), Err(ProbeError::NoAddress { .. })));
    let nobody = doctor(crate::broker::free_port());
    assert!(matches!(Probe::connect(&nobody).await.map(drop), Err(ProbeError::Fault(Fault::Unreachable(_)))));
}

#[tokio::test]
async fn the_driver_hears_of_refused_topics_at_each_connect() {
    let acl = "topic read #\ntopic write availability\n";
    let broker = Broker::start_with("allow_anonymous true\nacl_file {folder}/acl", &[("acl", acl)]);
    let mut node = Node::connected(config(broker.port())).await;
    for round in 0..2 {
        for id in 0..3 {
            node.publish(&format!("out/{id}"), "x");
        }
        node.link.set_retained("a/status", round.to_string());
        node.link.set_retained("a/info", round.to_string());
        let mut told = Vec::new();
        until_refused(&node, 5 * (round + 1)).await;
        while told.len() < 3 {
            told.push(
                node.event(|event| match event {
                    LinkEvent::PublicationRefused { topic, reason } => Some((topic, reason)),
                    _ => None,
                })
                .await,
            );
        }
        told.sort();
        let expected = ["a/info", "a/status", "out/0"].map(|topic| (topic.to_owned(), "not authorized".to_owned()));
        assert_eq!(told, expected, "ids are no topics of their own");
        node.link.renew();
        node.ready().await;
    }
    assert_eq!(node.link.counters().reconnects, 2);
}

async fn until_refused(node: &Node, count: u64) {
    until("refused", || node.link.counters().refused >= count).await;
}
