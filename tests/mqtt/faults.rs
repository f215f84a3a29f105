//! Brokers that misbehave.

use std::time::Duration;

use promptd::mqtt::{Fault, LinkConfig, LinkEvent};

use crate::broker::Broker;
use crate::client::Client;
use crate::node::{Node, config, publication, until};
use crate::script::{Script, connack, disconnect, puback, publish_qos1};

#[tokio::test]
async fn a_broker_that_stalls_is_noticed() {
    let broker = Broker::open();
    let mut node = Node::connected(LinkConfig { keep_alive: Duration::from_secs(5), ..config(broker.port()) }).await;
    broker.freeze();
    // Until rumqttc is stuck in a write that has no time-out, where it does not even see its own pings fail.
    let mut refused = 0;
    while refused < 1000 {
        if !node.link.publish_transient(publication("out", vec![0; 60_000])) {
            refused += 1;
        }
        tokio::task::yield_now().await;
    }
    let fault = node.disconnected().await;
    assert!(matches!(fault, Fault::Silent(_)), "{fault:?}");
    broker.thaw();
    node.ready().await;
}

#[tokio::test]
async fn an_idle_connection_to_a_stalled_broker_is_noticed_too() {
    let broker = Broker::open();
    let mut node = Node::connected(LinkConfig { keep_alive: Duration::from_secs(5), ..config(broker.port()) }).await;
    broker.freeze();
    let fault = node.disconnected().await;
    assert!(matches!(fault, Fault::Silent(_) | Fault::Lost(_)), "{fault:?}");
    broker.thaw();
    node.ready().await;
}

#[tokio::test]
async fn another_client_with_our_id_is_told_and_left_alone() {
    let broker = Broker::open();
    let mut node = Node::connected(config(broker.port())).await;
    // mosquitto 2.0.11 gives no reason when it closes the older connection.
    let _first = Client::connect(broker.port(), "node").await;
    assert_eq!(node.disconnected().await, Fault::Closed);
    node.ready().await;
    let _second = Client::connect(broker.port(), "node").await;
    let pause = node
        .event(|event| match event {
            LinkEvent::DuplicateClient { pause } => Some(pause),
            _ => None,
        })
        .await;
    assert_eq!(pause, Duration::from_mins(5));
}

#[tokio::test]
async fn a_broker_that_restarts_twice_is_no_duplicate() {
    let mut broker = Broker::open();
    let mut node = Node::connected(config(broker.port())).await;
    for _ in 0..3 {
        broker.kill();
        node.disconnected().await;
        broker.restart();
        node.event(|event| match event {
            LinkEvent::Connected { .. } => Some(()),
            LinkEvent::DuplicateClient { .. } => panic!("a restart was taken for another client"),
            _ => None,
        })
        .await;
        until("subscribed", || node.link.is_connected()).await;
    }
}

#[tokio::test]
async fn a_takeover_with_its_reason_counts_at_once() {
    let mut script = Script::start().await;
    let mut node = Node::start(config(script.port()));
    for round in 0..2 {
        let mut connection = script.accept().await;
        connection.serve(&connack(&[])).await;
        connection.send(&disconnect(0x8E)).await;
        assert_eq!(node.disconnected().await, Fault::TakenOver, "{round}");
    }
    let duplicate = node.event(Some).await;
    assert!(matches!(duplicate, LinkEvent::DuplicateClient { .. }), "{duplicate:?}");
}

/// mosquitto leaves out the length of properties that are not there, and rumqttc then drops the whole packet.
#[tokio::test]
async fn a_takeover_whose_reason_rumqttc_loses_is_noticed_all_the_same() {
    let mut script = Script::start().await;
    let mut node = Node::start(config(script.port()));
    for round in 0..2 {
        let mut connection = script.accept().await;
        connection.serve(&connack(&[])).await;
        connection.send(&[0xE0, 1, 0x8E]).await;
        drop(connection);
        assert_eq!(node.disconnected().await, Fault::Closed, "{round}");
    }
    let duplicate = node.event(Some).await;
    assert!(matches!(duplicate, LinkEvent::DuplicateClient { .. }), "{duplicate:?}");
}

#[tokio::test]
async fn a_session_that_cannot_be_read_is_given_up() {
    let mut script = Script::start().await;
    let mut node = Node::start(config(script.port()));
    for round in 0..4 {
        let mut connection = script.accept().await;
        assert_eq!(connection.clean_start, round == 3, "{round}");
        connection.serve(&connack(&[])).await;
        if round < 3 {
            // A PUBLISH whose topic is longer than the packet.
            connection.send(&[0x30, 0x03, 0xFF, 0xFF, 0x00]).await;
            assert!(matches!(node.disconnected().await, Fault::Protocol(_)));
        }
    }
}

#[tokio::test]
async fn a_topic_that_is_no_utf_8_is_acknowledged_and_forgotten() {
    let mut script = Script::start().await;
    let mut node = Node::start(config(script.port()));
    let mut connection = script.accept().await;
    connection.serve(&connack(&[])).await;
    connection.send(&publish_qos1(b"in/\xff", 7, b"x")).await;
    assert_eq!(connection.packet(0x40).await[..2], [0, 7], "the PUBACK");
    connection.send(&publish_qos1(b"in/a", 8, b"good")).await;
    assert_eq!(node.take().await, "good");
}

#[tokio::test]
async fn acknowledgements_out_of_order_and_of_nothing() {
    let mut script = Script::start().await;
    let mut node = Node::start(config(script.port()));
    let mut connection = script.accept().await;
    connection.serve(&connack(&[])).await;
    for number in 0..60_u16 {
        node.publish("out", number.to_string());
    }
    // Each time the last of a window first: packet ids go round several times.
    let mut published = 0;
    while published < 60 {
        let mut ids = Vec::new();
        while ids.len() < 15.min(60 - published) {
            ids.push(connection.publish_id().await);
        }
        published += ids.len();
        for id in ids.into_iter().rev() {
            connection.send(&puback(id)).await;
        }
    }
    until("all taken", || node.link.counters().published == 60).await;
    connection.send(&puback(9)).await;
    assert!(matches!(node.disconnected().await, Fault::Protocol(_)));
}

#[tokio::test]
async fn a_broker_that_takes_one_message_at_a_time_gets_one_at_a_time() {
    let mut script = Script::start().await;
    let node = Node::start(config(script.port()));
    let mut connection = script.accept().await;
    // Receive Maximum 1.
    connection.serve(&connack(&[0x21, 0, 1])).await;
    for number in 0..5_u16 {
        node.publish("out", number.to_string());
    }
    for _ in 0..5 {
        let id = connection.publish_id().await;
        connection.nothing_more().await;
        connection.send(&puback(id)).await;
    }
    until("all taken", || node.link.counters().published == 5).await;
}

#[tokio::test]
async fn a_broker_without_keep_alive_is_not_stormed_with_pings() {
    let mut script = Script::start().await;
    let mut node = Node::start(config(script.port()));
    let mut connection = script.accept().await;
    // Server Keep Alive 0.
    connection.serve(&connack(&[0x13, 0, 0])).await;
    node.ready().await;
    assert!(connection.packet(0xC0).await.is_empty(), "rumqttc sends one ping at once");
    connection.send(&[0xD0, 0]).await;
    connection.nothing_more().await;
    connection.send(&publish_qos1(b"in/a", 1, b"alive")).await;
    assert_eq!(node.take().await, "alive");
}

/// It says so, or closes the connection, or waits for a CONNECT that it understands.
#[tokio::test]
async fn a_broker_of_the_version_before_is_named_and_asked_again_when_the_driver_wants_it() {
    for answer in [&[0x20, 2, 0, 1][..], &[0x20, 3, 0, 0x84, 0], &[]] {
        let mut script = Script::start().await;
        let mut node = Node::start(config(script.port()));
        for _ in 0..2 {
            let mut connection = script.accept().await;
            connection.send(answer).await;
            drop(connection);
            if answer != [0x20, 3, 0, 0x84, 0] {
                // Asked in the old version, and once more in ours.
                script.accept().await.send(&[0x20, 2, 0, 5]).await;
                script.accept().await.send(answer).await;
            }
            assert_eq!(node.disconnected().await, Fault::OldVersion, "{answer:?}");
            // Not for minutes, if nobody says that there is another one by now.
            node.link.renew();
            let mut connection = script.accept().await;
            connection.serve(&connack(&[])).await;
            node.ready().await;
            drop(connection);
            node.disconnected().await;
        }
    }
}

/// Whoever speaks MQTT 5 speaks MQTT 3.1.1, too, as a rule.
#[tokio::test]
async fn a_broker_that_was_slow_once_is_not_of_the_version_before_and_keeps_the_session() {
    for closes in [true, false] {
        let mut script = Script::start().await;
        let mut node = Node::start(config(script.port()));
        let unanswered = script.accept().await;
        assert_eq!((unanswered.client_id.as_str(), unanswered.clean_start), ("node", false));
        let kept = (!closes).then_some(unanswered);
        loop {
            let mut connection = script.accept().await;
            let is_node = connection.client_id == "node";
            assert!(!(is_node && connection.clean_start), "the node's session is thrown away");
            if is_node {
                connection.serve(&connack(&[])).await;
                let fault = node.disconnected().await;
                assert!(matches!(fault, Fault::Refused { .. } | Fault::Unreachable(_)), "{fault:?}");
                node.ready().await;
                break;
            }
            let answer = if connection.version == 5 { connack(&[]) } else { vec![0x20, 2, 0, 0] };
            connection.send(&answer).await;
        }
        drop(kept);
    }
}

/// It was about to start when it was looked at first.
#[tokio::test]
async fn a_broker_of_the_version_before_is_found_later_too() {
    let mut script = Script::start().await;
    let mut node = Node::start(config(script.port()));
    let mut asked = 0;
    for attempt in 0.. {
        assert!(attempt < 20, "it is not asked again");
        let mut connection = script.accept().await;
        asked += u32::from(connection.version == 4);
        if asked == 2 {
            connection.send(&[0x20, 2, 0, 0]).await;
            break;
        }
    }
    assert!(matches!(node.disconnected().await, Fault::Refused { .. }));
    drop(script.accept().await);
    assert_eq!(node.disconnected().await, Fault::OldVersion);
}
