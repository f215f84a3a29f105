//! The link under test, with the driver played by the test.

use std::sync::Arc;
use std::time::Duration;

use promptd::mqtt::{AckToken, Delivery, Fault, InboundMessage, Link, LinkConfig, LinkEvent, LinkHandle, Publication};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::client::PATIENCE;

pub struct Node {
    pub link: LinkHandle,
    pub events: mpsc::Receiver<LinkEvent>,
}

/// A node that reconnects fast.
pub fn config(port: u16) -> LinkConfig {
    LinkConfig {
        host: "127.0.0.1".to_owned(),
        port,
        tls: None,
        clock_synced: || true,
        client_id: "node".to_owned(),
        username: None,
        password: Arc::new(|| Ok(None)),
        keep_alive: Duration::from_secs(30),
        session_expiry: Duration::from_hours(1),
        receive_maximum: 16,
        packet_max: 1 << 20,
        outbox_max: 256,
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_millis(200),
        subscriptions: vec!["in/+".to_owned(), "in/+/+".to_owned()],
        will: Some(("availability".to_owned(), "offline (will)".into())),
    }
}

impl Node {
    pub fn start(config: LinkConfig) -> Self {
        let (link, events) = Link::spawn(config);
        Self { link, events }
    }

    /// Started and connected.
    pub async fn connected(config: LinkConfig) -> Self {
        let mut node = Self::start(config);
        node.ready().await;
        node
    }

    /// Waits for a connection with its subscriptions.
    pub async fn ready(&mut self) -> bool {
        let session_present = self
            .event(|event| match event {
                LinkEvent::Connected { session_present } => Some(session_present),
                _ => None,
            })
            .await;
        until("subscribed", || self.link.is_connected()).await;
        session_present
    }

    /// The first event that `pick` wants. Others are dropped.
    pub async fn event<T>(&mut self, mut pick: impl FnMut(LinkEvent) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let event = timeout_at(deadline, self.events.recv()).await.expect("an event in time").expect("a link");
            if let Some(found) = pick(event) {
                return found;
            }
        }
    }

    pub async fn message(&mut self) -> InboundMessage {
        self.event(|event| match event {
            LinkEvent::Message(message) => Some(message),
            _ => None,
        })
        .await
    }

    /// The payload of the next message, and the right to acknowledge it.
    pub async fn text(&mut self) -> (String, Option<AckToken>) {
        let message = self.message().await;
        (String::from_utf8(message.payload.to_vec()).unwrap(), message.ack)
    }

    /// The next message, acknowledged.
    pub async fn take(&mut self) -> String {
        let (text, token) = self.text().await;
        if let Some(token) = token {
            self.link.ack(token);
        }
        text
    }

    /// The end of a tracked message.
    pub async fn settled(&mut self) -> (u64, Delivery) {
        self.event(|event| match event {
            LinkEvent::Settled { tag, delivery } => Some((tag, delivery)),
            _ => None,
        })
        .await
    }

    pub async fn disconnected(&mut self) -> Fault {
        self.event(|event| match event {
            LinkEvent::Disconnected { reason } => Some(reason),
            _ => None,
        })
        .await
    }

    pub fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.link.try_reserve().expect("room in the outbox").publish(publication(topic, payload));
    }
}

pub fn publication(topic: &str, payload: impl Into<Vec<u8>>) -> Publication {
    Publication {
        topic: topic.to_owned(),
        payload: payload.into().into(),
        content_type: None,
        correlation: None,
        parts: None,
    }
}

/// Waits for something that has no event of its own.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut turn = tokio::time::interval(Duration::from_millis(2));
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        turn.tick().await;
    }
}
