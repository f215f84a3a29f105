//! Messages to the node.

use std::time::Duration;

use promptd::mqtt::LinkEvent;
use rumqttc::v5::mqttbytes::v5::PublishProperties;

use crate::broker::Broker;
use crate::client::Client;
use crate::gate::Gate;
use crate::node::{Node, config, publication, until};

#[tokio::test]
async fn sixteen_clients_get_their_echo() {
    let broker = Broker::open();
    let mut node = Node::connected(config(broker.port())).await;
    let link = node.link.clone();
    let echo = tokio::spawn(async move {
        loop {
            let message = node.message().await;
            let client = message.topic.rsplit('/').next().unwrap().to_owned();
            link.reserve().await.publish(publication(&format!("out/{client}"), message.payload.to_vec()));
            link.ack(message.ack.unwrap());
        }
    });
    let mut clients = Vec::new();
    for number in 0..16 {
        let port = broker.port();
        clients.push(tokio::spawn(async move {
            let mut client = Client::connect(port, &format!("client{number}")).await;
            client.subscribe(&format!("out/{number}")).await;
            for round in 0..50 {
                client.send(&format!("in/echo/{number}"), format!("{number}:{round}")).await;
            }
            for round in 0..50 {
                assert_eq!(client.next_text().await.1, format!("{number}:{round}"));
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    echo.abort();
}

#[tokio::test]
async fn properties_arrive() {
    let broker = Broker::open();
    let mut node = Node::connected(config(broker.port())).await;
    let mut client = Client::connect(broker.port(), "client").await;
    let properties = PublishProperties {
        response_topic: Some("out/1".to_owned()),
        correlation_data: Some(vec![0, 255].into()),
        message_expiry_interval: Some(100),
        ..PublishProperties::default()
    };
    client.publish_with("in/a", "hi", properties).await;
    let message = node.message().await;
    assert_eq!((message.topic.as_str(), message.qos, message.retain), ("in/a", 1, false));
    assert_eq!(message.response_topic.as_deref(), Some("out/1"));
    assert_eq!(message.correlation.as_deref(), Some(&[0, 255][..]));
    let expiry = message.expiry.unwrap();
    assert!(expiry > Duration::from_secs(90) && expiry <= Duration::from_secs(100), "{expiry:?}");
    node.link.ack(message.ack.unwrap());
}

#[tokio::test]
async fn retained_messages_show_and_are_not_replayed() {
    let broker = Broker::open();
    let mut client = Client::connect(broker.port(), "client").await;
    client.publish_retained("in/old", "before").await;
    let mut node = Node::connected(config(broker.port())).await;
    client.publish_retained("in/live", "now").await;
    let message = node.message().await;
    assert_eq!((message.topic.as_str(), message.retain), ("in/live", true), "the old one was not replayed");
    node.link.ack(message.ack.unwrap());
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_after_a_reconnect() {
    let broker = Broker::open();
    let gate = Gate::to(broker.port()).await;
    let mut node = Node::connected(config(gate.port())).await;
    let mut client = Client::connect(broker.port(), "client").await;
    for text in ["1", "2", "3"] {
        client.publish("in/a", text).await;
    }
    let mut tokens = Vec::new();
    for expected in ["1", "2", "3"] {
        let (text, token) = node.text().await;
        assert_eq!(text, expected);
        tokens.push(token.unwrap());
    }
    let mut tokens = tokens.into_iter();
    let (first, second, third) = (tokens.next().unwrap(), tokens.next().unwrap(), tokens.next().unwrap());
    node.link.ack(first);
    node.link.ack(third);
    // The broker has the first acknowledgement when it has what was sent after it.
    client.subscribe("out").await;
    node.publish("out", "first marker");
    client.await_text("first marker").await;
    gate.cut(&mut node).await;
    assert!(node.ready().await, "the broker kept the session");
    node.link.ack(second);
    assert_eq!(node.take().await, "2", "acknowledgements go out in order: the third waited for the second");
    assert_eq!(node.take().await, "3");
    node.publish("out", "second marker");
    client.await_text("second marker").await;
    gate.cut(&mut node).await;
    node.ready().await;
    client.publish("in/a", "4").await;
    assert_eq!(node.take().await, "4", "nothing else comes again");
}

#[tokio::test]
async fn messages_that_the_driver_has_not_taken_survive_a_broker_that_forgets_them() {
    let mut broker = Broker::open();
    let mut node = Node::connected(config(broker.port())).await;
    let mut client = Client::connect(broker.port(), "client").await;
    // More than the channel to the driver holds, so that some wait in the link.
    for number in 0..16 {
        client.publish("in/a", number.to_string()).await;
        node.link.set_retained("x", number.to_string());
    }
    for number in 16..40 {
        client.send("in/a", number.to_string()).await;
    }
    until("received", || node.link.counters().received >= 16).await;
    broker.kill();
    broker.restart();
    let mut texts = Vec::new();
    let mut connects = 0;
    while connects == 0 || texts.len() < 16 {
        node.event(|event| {
            match event {
                LinkEvent::Message(message) => texts.push(String::from_utf8(message.payload.to_vec()).unwrap()),
                LinkEvent::Connected { session_present } => {
                    assert!(!session_present);
                    connects += 1;
                }
                _ => {}
            }
            Some(())
        })
        .await;
    }
    texts.sort_by_key(|text| text.parse::<u32>().unwrap());
    assert_eq!(texts, (0..16).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_flood_at_qos_1_arrives_in_order() {
    let broker = Broker::open();
    let mut node = Node::connected(config(broker.port())).await;
    let client = Client::connect(broker.port(), "client").await;
    for number in 0..500 {
        client.send("in/a", number.to_string()).await;
    }
    until("a full window", || node.link.counters().received == 16).await;
    for number in 0..500 {
        assert_eq!(node.take().await, number.to_string());
    }
    assert_eq!((node.link.counters().dropped_qos0, node.link.counters().reconnects), (0, 0));
}

/// mosquitto 2.0.11 answers each acknowledgement with up to `receive_maximum` messages more.
#[tokio::test]
async fn a_flood_that_does_not_fit_is_fetched_with_a_new_connection() {
    let broker = Broker::open();
    let mut node = Node::connected(config(broker.port())).await;
    let mut client = Client::connect(broker.port(), "client").await;
    client.subscribe("availability").await;
    for number in 0..100_u32 {
        client.publish("in/a", number.to_be_bytes().repeat(50_000)).await;
    }
    for number in 0..100_u32 {
        let message = node.message().await;
        assert_eq!(message.payload[..4], number.to_be_bytes());
        node.link.ack(message.ack.unwrap());
        if number == 4 {
            until("more than fits", || node.link.counters().deferred > 0).await;
        }
    }
    assert!(node.link.counters().reconnects > 0);
    client.publish("availability", "marker").await;
    assert_eq!(client.next_text().await.1, "marker", "the will did not speak");
}

#[tokio::test]
async fn a_flood_at_qos_0_is_dropped_and_counted() {
    let broker = Broker::open();
    let mut node = Node::connected(config(broker.port())).await;
    let mut client = Client::connect(broker.port(), "client").await;
    for number in 0..1000 {
        client.toss("in/a", number.to_string()).await;
    }
    client.publish("in/a", "last").await;
    until("all received", || node.link.counters().received == 1001).await;
    let dropped = node.link.counters().dropped_qos0;
    assert!((1..1000).contains(&dropped), "{dropped}");
    let mut taken = 0;
    while node.take().await != "last" {
        taken += 1;
    }
    assert_eq!(taken + dropped, 1000);
}

#[tokio::test]
async fn a_message_above_packet_max_does_not_reach_the_node_and_does_no_harm() {
    let broker = Broker::open();
    let mut node = Node::connected(promptd::mqtt::LinkConfig { packet_max: 20_000, ..config(broker.port()) }).await;
    let mut client = Client::connect(broker.port(), "client").await;
    client.publish("in/a", vec![b'x'; 20_000]).await;
    client.publish("in/a", vec![b'y'; 19_900]).await;
    assert!(node.take().await.starts_with('y'), "above rumqttc's own default of 10 KiB");
    assert_eq!(node.link.counters().reconnects, 0);
}
