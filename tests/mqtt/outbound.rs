//! Messages from the node.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use promptd::mqtt::{Delivery, Fault, LinkConfig, PartHead, Publication};

use crate::broker::Broker;
use crate::client::{Client, text};
use crate::gate::Gate;
use crate::node::{Node, config, publication, until};
use crate::script::{Connection, Script, connack, puback};

#[tokio::test]
async fn results_survive_a_broker_that_is_killed() {
    let mut broker = Broker::open();
    let gate = Gate::to(broker.port()).await;
    let mut node = Node::connected(config(gate.port())).await;
    broker.freeze();
    let before = gate.carried();
    for number in 0..200 {
        node.link.try_reserve().unwrap().publish_tracked(publication("out", number.to_string()), number);
    }
    // Some are with the frozen broker, the others wait.
    until("in flight", || gate.carried() > before).await;
    assert_eq!(node.link.counters().published, 0);
    gate.shut();
    broker.kill();
    node.disconnected().await;
    broker.restart();
    let mut client = Client::connect(broker.port(), "client").await;
    client.subscribe("out").await;
    gate.open();
    let mut first = Vec::new();
    let mut seen = HashSet::new();
    while first.len() < 200 {
        let number: u64 = client.next_text().await.1.parse().unwrap();
        if seen.insert(number) {
            first.push(number);
        }
    }
    assert_eq!(first, (0..200).collect::<Vec<_>>());
    for expected in 0..200 {
        assert_eq!(node.settled().await, (expected, Delivery::Taken));
    }
    assert_eq!(node.link.counters().published, 200);
}

#[tokio::test]
async fn the_outbox_is_bounded_and_its_slots_come_back() {
    let mut broker = Broker::open();
    let mut node = Node::connected(LinkConfig { outbox_max: 40, ..config(broker.port()) }).await;
    broker.kill();
    node.disconnected().await;
    for number in 0..40 {
        node.publish("out", number.to_string());
    }
    assert!(node.link.try_reserve().is_none());
    broker.restart();
    let slot = node.link.reserve().await;
    drop(slot);
    until("all taken", || node.link.counters().published == 40).await;
    let slots: Vec<_> = (0..40).map(|_| node.link.try_reserve().unwrap()).collect();
    assert!(node.link.try_reserve().is_none());
    drop(slots);
}

#[tokio::test]
async fn deltas_precede_their_result() {
    let broker = Broker::open();
    let node = Node::connected(config(broker.port())).await;
    let mut client = Client::connect(broker.port(), "client").await;
    client.subscribe("out/#").await;
    for job in 0..50 {
        let slot = node.link.reserve().await;
        for delta in 0..20 {
            let delta = publication(&format!("out/{job}"), format!("delta {delta}"));
            // A test is faster than a model: wait for room instead of losing some.
            while !node.link.publish_transient(delta.clone()) {
                tokio::task::yield_now().await;
            }
        }
        slot.publish(publication(&format!("out/{job}"), "result"));
    }
    // mosquitto itself lets QoS 0 overtake QoS 1 when a subscriber is slow: the order holds within one job.
    let mut said: HashMap<String, Vec<String>> = HashMap::new();
    for _ in 0..50 * 21 {
        let (topic, payload) = client.next_text().await;
        said.entry(topic).or_default().push(payload);
    }
    let expected: Vec<String> = (0..20).map(|delta| format!("delta {delta}")).chain(["result".to_owned()]).collect();
    for job in 0..50 {
        assert_eq!(said[&format!("out/{job}")], expected);
    }
}

#[tokio::test]
async fn transients_are_dropped_without_a_connection_or_room() {
    let mut broker = Broker::open();
    let mut node = Node::connected(config(broker.port())).await;
    // The link gets no turn in between.
    let taken = (0..1000).filter(|_| node.link.publish_transient(publication("out", "x"))).count();
    assert_eq!(taken, 256);
    assert!(!node.link.publish_transient(publication("out/#", "x")));
    broker.kill();
    node.disconnected().await;
    assert!(!node.link.publish_transient(publication("out", "x")));
    assert_eq!(node.link.counters().dropped_transients, 746);
}

#[tokio::test]
async fn retained_documents_come_back_with_a_broker_that_lost_them() {
    let mut broker = Broker::open();
    let mut node = Node::start(config(broker.port()));
    node.link.set_retained("availability", "online");
    node.link.set_retained("status", "1");
    node.ready().await;
    until("published", || node.link.counters().published == 2).await;
    node.link.set_retained("status", "1");
    node.link.set_retained("status", "2");
    until("only the change", || node.link.counters().published == 3).await;
    broker.kill();
    broker.restart();
    node.ready().await;
    until("again", || node.link.counters().published == 5).await;
    let mut client = Client::connect(broker.port(), "client").await;
    client.subscribe("status").await;
    client.subscribe("availability").await;
    for (topic, payload) in [("status", "2"), ("availability", "online")] {
        let message = client.next().await;
        assert_eq!(
            (text(&message.topic).as_str(), text(&message.payload).as_str(), message.retain),
            (topic, payload, true)
        );
    }
}

#[tokio::test]
async fn properties_go_out() {
    let broker = Broker::open();
    let node = Node::connected(config(broker.port())).await;
    let mut client = Client::connect(broker.port(), "client").await;
    client.subscribe("out").await;
    node.link.try_reserve().unwrap().publish(Publication {
        content_type: Some("application/json".into()),
        correlation: Some(vec![0, 255]),
        ..publication("out", "{}")
    });
    let properties = client.next().await.properties.unwrap();
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(properties.correlation_data, Some(Bytes::from_static(&[0, 255])));
}

#[tokio::test]
async fn a_result_without_subscribers_counts_as_undelivered() {
    let broker = Broker::open();
    let mut node = Node::connected(config(broker.port())).await;
    node.link.try_reserve().unwrap().publish_tracked(publication("nobody", "x"), 7);
    assert_eq!(node.settled().await, (7, Delivery::NoSubscribers));
    assert_eq!((node.link.counters().published, node.link.counters().undelivered), (1, 1));
}

#[tokio::test]
async fn what_the_broker_s_acl_forbids_is_dropped_and_counted() {
    let acl = "topic write out/allowed\ntopic read #\ntopic write availability\n";
    let broker = Broker::start_with("allow_anonymous true\nacl_file {folder}/acl", &[("acl", acl)]);
    let mut node = Node::connected(config(broker.port())).await;
    node.link.try_reserve().unwrap().publish_tracked(publication("out/forbidden", "x"), 1);
    assert_eq!(node.settled().await, (1, Delivery::Refused));
    node.link.try_reserve().unwrap().publish_tracked(publication("out/allowed", "x"), 2);
    assert_eq!(node.settled().await, (2, Delivery::NoSubscribers));
    assert_eq!((node.link.counters().refused, node.link.counters().reconnects), (1, 0));
}

/// With `max_queued_messages 0` mosquitto 2.0.11 closes the connection after each publication that its ACL forbids.
#[tokio::test]
async fn a_broker_that_closes_the_connection_after_a_denial_is_no_other_client() {
    let acl = "topic write out/allowed\ntopic read #\n";
    let settings = "allow_anonymous true\nacl_file {folder}/acl\nmax_queued_messages 0";
    let broker = Broker::start_with(settings, &[("acl", acl)]);
    let mut node = Node::connected(config(broker.port())).await;
    for tag in 0..4 {
        node.link.reserve().await.publish_tracked(publication("out/forbidden", "x"), tag);
        assert_eq!(node.settled().await, (tag, Delivery::Refused));
        assert_eq!(node.disconnected().await, Fault::Closed);
        node.ready().await;
    }
    node.link.reserve().await.publish_tracked(publication("out/allowed", "x"), 9);
    assert_eq!(node.settled().await, (9, Delivery::NoSubscribers));
}

#[tokio::test]
async fn what_is_above_the_broker_s_maximum_is_not_even_sent() {
    let broker = Broker::start("allow_anonymous true\nmax_packet_size 2000");
    let mut node = Node::connected(config(broker.port())).await;
    assert_eq!(node.link.broker_packet_max(), Some(2000));
    let large = publication("out", vec![b'x'; 2000]);
    assert!(large.packet_size() > 2000 && !node.link.publish_transient(large.clone()));
    node.link.try_reserve().unwrap().publish_tracked(large, 1);
    assert_eq!(node.settled().await, (1, Delivery::Refused));
    let mut client = Client::connect(broker.port(), "client").await;
    client.subscribe("out").await;
    let fitting = publication("out", vec![b'y'; 2000 - publication("out", "").packet_size() - 1]);
    assert_eq!(fitting.packet_size(), 2000);
    node.link.try_reserve().unwrap().publish(fitting);
    assert_eq!(client.next().await.payload[0], b'y');
    assert_eq!(node.link.counters().reconnects, 0);
}

/// mosquitto answers a message above its `message_size_limit`, which it does not announce, with a reason code that
/// rumqttc cannot read: the connection ends, and ended each time that the message was sent again.
#[tokio::test]
async fn a_message_that_ends_each_connection_is_dropped_and_the_others_arrive() {
    let broker = Broker::start("allow_anonymous true\nmessage_size_limit 1000");
    let mut node = Node::connected(config(broker.port())).await;
    let mut client = Client::connect(broker.port(), "client").await;
    client.subscribe("out").await;
    for tag in 0..10_u8 {
        let size = if tag == 4 { 1001 } else { 1000 };
        node.link.try_reserve().unwrap().publish_tracked(publication("out", vec![b'0' + tag; size]), tag.into());
    }
    let mut deliveries = Vec::new();
    while deliveries.len() < 10 {
        deliveries.push(node.settled().await);
    }
    deliveries.sort_by_key(|(tag, _)| *tag);
    for (tag, delivery) in deliveries {
        assert_eq!(delivery, if tag == 4 { Delivery::Refused } else { Delivery::Taken }, "{tag}");
    }
    let mut arrived = HashSet::new();
    while arrived.len() < 9 {
        arrived.insert(client.next().await.payload[0] - b'0');
    }
    assert!(!arrived.contains(&4));
}

/// A broker that takes this many bytes of a packet.
fn takes(packet_max: u32) -> Vec<u8> {
    connack(&[&[0x27], &packet_max.to_be_bytes()[..]].concat())
}

/// The number of a part, of how many, and its packet id.
async fn part(connection: &mut Connection) -> (u64, u64, u16) {
    let body = connection.packet(0x32).await;
    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let id = u16::from_be_bytes([body[2 + topic], body[3 + topic]]);
    // After the packet id and the length of no properties.
    let part: serde_json::Value = serde_json::from_slice(&body[5 + topic..]).unwrap();
    assert_eq!(part["event"], "part");
    (part["seq"].as_u64().unwrap(), part["of"].as_u64().unwrap(), id)
}

#[tokio::test]
async fn parts_wait_for_each_other_and_begin_anew_with_the_connection() {
    let mut script = Script::start().await;
    let mut node = Node::start(config(script.port()));
    let mut first = script.accept().await;
    first.serve(&takes(500)).await;
    node.ready().await;
    let parts = Some(PartHead::new(r#"{"event":"part"}"#));
    let large = Publication { parts, ..publication("out", vec![b'x'; 1000]) };
    node.link.try_reserve().unwrap().publish_tracked(large, 7);
    let (seq, of, id) = part(&mut first).await;
    assert_eq!((seq, of), (0, 3));
    first.nothing_more().await;
    first.send(&puback(id)).await;
    assert_eq!(part(&mut first).await.0, 1);
    drop(first);
    node.disconnected().await;

    let mut second = script.accept().await;
    second.serve(&takes(300)).await;
    for expected in 0..5 {
        let (seq, of, id) = part(&mut second).await;
        assert_eq!((seq, of), (expected, 5), "smaller ones, from the first");
        second.send(&puback(id)).await;
    }
    assert_eq!(node.settled().await, (7, Delivery::Taken));
    assert_eq!(node.link.counters().published, 1);
}
