//! A connection that is made anew on purpose, with other settings.

use std::sync::Arc;
use std::time::Duration;

use promptd::mqtt::{LinkConfig, LinkEvent};

use crate::broker::{Broker, free_port};
use crate::client::Client;
use crate::gate::Gate;
use crate::node::{Node, config, until};

#[tokio::test]
async fn the_same_broker_sees_no_will_and_loses_nothing() {
    let broker = Broker::open();
    let mut device = Client::connect(broker.port(), "device").await;
    device.subscribe("availability").await;
    device.subscribe("out").await;
    let mut node = Node::connected(config(broker.port())).await;
    node.link.set_retained("availability", "online");
    device.await_text("online").await;
    for round in 0..20 {
        // In both directions all the time: before, while, and after the connection changes.
        device.send("in/a", format!("{round} before")).await;
        node.publish("out", format!("{round} before"));
        let password = Arc::new(|| Ok(None));
        node.link.reconnect(LinkConfig { keep_alive: Duration::from_secs(20), password, ..config(broker.port()) });
        device.send("in/a", format!("{round} after")).await;
        node.publish("out", format!("{round} after"));
        for text in ["before", "after"] {
            let wanted = format!("{round} {text}");
            while node.take().await != wanted {}
        }
        until("it is connected again", || node.link.counters().reconnects == round + 1 && node.link.is_connected())
            .await;
    }
    let mut answers = Vec::new();
    while answers.len() < 40 {
        let (topic, text) = device.next_text().await;
        match topic.as_str() {
            "availability" => assert_eq!(text, "online"),
            _ if answers.contains(&text) => {}
            _ => answers.push(text),
        }
    }
}

#[tokio::test]
async fn another_broker_gets_what_waits_and_the_one_that_is_left_the_will() {
    let (old, new) = (Broker::open(), Broker::open());
    let mut behind = Client::connect(old.port(), "behind").await;
    let mut ahead = Client::connect(new.port(), "ahead").await;
    behind.subscribe("availability").await;
    for filter in ["availability", "out"] {
        ahead.subscribe(filter).await;
    }
    let gate = Gate::to(old.port()).await;
    let mut node = Node::connected(config(gate.port())).await;
    node.link.set_retained("availability", "online");
    behind.await_text("online").await;
    // Some of it is on its way, and never taken.
    old.freeze();
    let before = gate.carried();
    for number in 0..30 {
        node.publish("out", format!("{number}"));
    }
    until("some of it is on its way", || gate.carried() > before).await;
    node.link.reconnect(config(new.port()));
    assert!(!node.ready().await, "the new broker knows no session");
    let mut answers: Vec<String> = Vec::new();
    while answers.len() < 30 {
        let (topic, text) = ahead.next_text().await;
        if topic == "out" {
            answers.push(text);
        }
    }
    assert_eq!(answers, (0..30).map(|number| number.to_string()).collect::<Vec<_>>());
    old.thaw();
    behind.await_text("offline (will)").await;
    ahead.publish("in/a", "here").await;
    assert_eq!(node.take().await, "here");
}

#[tokio::test]
async fn a_pause_ends_when_the_settings_are_others() {
    let broker = Broker::open();
    let nowhere =
        LinkConfig { backoff_min: Duration::from_mins(1), backoff_max: Duration::from_mins(1), ..config(free_port()) };
    let mut node = Node::start(nowhere);
    node.publish("out", "early");
    node.disconnected().await;
    node.link.reconnect(config(broker.port()));
    // Long before the pause would have ended by itself.
    let next = node.event(Some).await;
    assert!(matches!(next, LinkEvent::Connected { .. }), "{next:?}");
    until("what waited is published", || node.link.counters().published == 1).await;
}

#[tokio::test]
async fn a_larger_outbox_takes_more() {
    let node = Node::start(LinkConfig { outbox_max: 2, ..config(free_port()) });
    let reserve = || (0..10).map_while(|_| node.link.try_reserve()).collect::<Vec<_>>();
    assert_eq!(reserve().len(), 2);
    node.link.grow_outbox(5);
    node.link.grow_outbox(3);
    let slots = reserve();
    assert_eq!((slots.len(), node.link.outbox_len()), (5, 5));
    drop(slots);
    assert_eq!(node.link.outbox_len(), 0);
}
