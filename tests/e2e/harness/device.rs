//! An MQTT 5 client as a device would be one.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Broker, PATIENCE};

/// A connected device. It reconnects by itself and keeps its session.
pub struct Device {
    pub name: String,
    client: AsyncClient,
    messages: mpsc::Receiver<Reply>,
    subscribed: mpsc::Receiver<()>,
    /// How often it has connected.
    connections: watch::Receiver<u64>,
    poller: JoinHandle<()>,
}

/// A message that came.
#[derive(Debug, Clone)]
pub struct Reply {
    pub topic: String,
    pub payload: Bytes,
    /// The payload, or null if it is no JSON.
    pub json: Value,
    pub correlation: Option<Bytes>,
    pub content_type: Option<String>,
    pub retain: bool,
    pub qos: u8,
}

/// A message to send.
pub struct Send<'a> {
    pub topic: &'a str,
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
    pub properties: PublishProperties,
}

impl<'a> Send<'a> {
    /// At QoS 1, without properties.
    pub fn new(topic: &'a str, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            topic,
            payload: payload.into(),
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: PublishProperties::default(),
        }
    }
}

impl Device {
    /// Connects and subscribes to the replies of this client. Logs in if the broker has a password for a user of its name.
    pub async fn connect(broker: &Broker, name: &str) -> Self {
        Self::connect_as(broker, name, &format!("device-{name}-{}", fastrand::u32(..)), broker.port).await
    }

    /// The same with an id that it may have had before, so that the broker knows its session, and on another port that leads to
    /// the broker.
    pub async fn connect_as(broker: &Broker, name: &str, id: &str, port: u16) -> Self {
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_keep_alive(Duration::from_secs(5)).set_clean_start(false);
        options.set_session_expiry_interval(Some(600)).set_max_packet_size(Some(4 * 1024 * 1024));
        if let Some(password) = broker.password(name) {
            options.set_credentials(name, password);
        }
        let (client, mut events) = AsyncClient::new(options, 1000);
        let (to_messages, messages) = mpsc::channel(100_000);
        let (to_subscribed, subscribed) = mpsc::channel(100);
        let (connected, connections) = watch::channel(0);
        let poller = tokio::spawn(async move {
            let mut retry = tokio::time::interval(Duration::from_millis(50));
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        let properties = publish.properties.unwrap_or_default();
                        let reply = Reply {
                            topic: String::from_utf8(publish.topic.to_vec()).unwrap(),
                            json: serde_json::from_slice(&publish.payload).unwrap_or_default(),
                            payload: publish.payload,
                            correlation: properties.correlation_data,
                            content_type: properties.content_type,
                            retain: publish.retain,
                            qos: publish.qos as u8,
                        };
                        if to_messages.send(reply).await.is_err() {
                            return;
                        }
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => to_subscribed.send(()).await.unwrap_or_default(),
                    Ok(Event::Incoming(Packet::ConnAck(_))) => connected.send_modify(|count| *count += 1),
                    Ok(_) => {}
                    // The broker is away: the next turn connects again.
                    Err(_) => _ = retry.tick().await,
                }
            }
        });
        let mut device = Self { name: name.to_owned(), client, messages, subscribed, connections, poller };
        device.subscribe(&format!("promptd/gw/response/{name}/#")).await;
        device
    }

    /// Subscribes and waits for the broker's word. A SUBSCRIBE that was lost with its connection is sent again on the next.
    pub async fn subscribe(&mut self, filter: &str) {
        while self.subscribed.try_recv().is_ok() {}
        self.connections.mark_unchanged();
        let subscribed = async {
            loop {
                self.client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
                tokio::select! {
                    word = self.subscribed.recv() => return word.unwrap(),
                    next = self.connections.changed() => next.unwrap(),
                }
            }
        };
        timeout(PATIENCE, subscribed).await.expect("the broker answers");
    }

    /// Publishes a request of a task.
    pub async fn ask(&self, task: &str, request: &Value) {
        let topic = format!("promptd/gw/request/{task}/{}", self.name);
        self.send(Send::new(&topic, request.to_string())).await;
    }

    /// Publishes any message.
    pub async fn send(&self, message: Send<'_>) {
        let Send { topic, payload, qos, retain, properties } = message;
        self.client.publish_with_properties(topic, qos, retain, payload, properties).await.unwrap();
    }

    /// The next message, if one comes in time.
    pub async fn try_next(&mut self) -> Option<Reply> {
        timeout(PATIENCE, self.messages.recv()).await.ok().flatten()
    }

    /// The next message, if one comes within a few seconds.
    pub async fn soon(&mut self) -> Option<Reply> {
        timeout(Duration::from_secs(5), self.messages.recv()).await.ok().flatten()
    }

    /// A message that has come already.
    pub fn now(&mut self) -> Option<Reply> {
        self.messages.try_recv().ok()
    }

    /// The next message.
    pub async fn next(&mut self) -> Reply {
        self.try_next().await.unwrap_or_else(|| panic!("nothing came for {}", self.name))
    }

    /// The next message about a request that is neither `delta` nor `accepted`.
    pub async fn outcome(&mut self, id: &str) -> Value {
        loop {
            let reply = self.next().await;
            let event = reply.json["event"].as_str().unwrap_or_default();
            if reply.json["id"] == id && matches!(event, "result" | "error") {
                return reply.json;
            }
        }
    }

    /// The next message that ends any request.
    pub async fn outcome_of_any(&mut self) -> Value {
        loop {
            let reply = self.next().await;
            if matches!(reply.json["event"].as_str(), Some("result" | "error")) {
                return reply.json;
            }
        }
    }

    /// Asks and waits for the one message that ends the request.
    pub async fn answer(&mut self, task: &str, request: Value) -> Value {
        let id = request["id"].as_str().expect("the request has an id").to_owned();
        self.ask(task, &request).await;
        self.outcome(&id).await
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.poller.abort();
    }
}
