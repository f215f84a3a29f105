//! A device: publishes, subscribes, waits.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, PubAckReason, Publish, PublishProperties, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Client {
    requests: AsyncClient,
    messages: mpsc::Receiver<Publish>,
    acks: mpsc::Receiver<Packet>,
    task: JoinHandle<()>,
}

impl Client {
    pub async fn connect(port: u16, id: &str) -> Self {
        Self::connect_with(MqttOptions::new(id, "127.0.0.1", port)).await
    }

    /// As a user, with its name as the client's id.
    pub async fn log_in(port: u16, user: &str, password: &str) -> Self {
        let mut options = MqttOptions::new(user, "127.0.0.1", port);
        options.set_credentials(user, password);
        Self::connect_with(options).await
    }

    pub async fn connect_with(mut options: MqttOptions) -> Self {
        let mut network = rumqttc::NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network).set_max_packet_size(Some(4 << 20));
        let (client, event_loop) = AsyncClient::new(options, 1000);
        let (message_sender, messages) = mpsc::channel(10_000);
        let (ack_sender, mut acks) = mpsc::channel(10_000);
        let task = tokio::spawn(turn(event_loop, message_sender, ack_sender));
        let connack = timeout(PATIENCE, acks.recv()).await.expect("a CONNACK in time");
        assert!(matches!(connack, Some(Packet::ConnAck(_))), "{connack:?}");
        Self { requests: client, messages, acks, task }
    }

    /// Waits for the SUBACK.
    pub async fn subscribe(&mut self, filter: &str) {
        let filter = Filter { preserve_retain: true, ..Filter::new(filter, QoS::AtLeastOnce) };
        self.requests.subscribe_many([filter]).await.unwrap();
        match self.ack().await {
            Packet::SubAck(ack) => assert!(matches!(ack.return_codes[0], SubscribeReasonCode::Success(_))),
            other => panic!("no SUBACK: {other:?}"),
        }
    }

    /// At QoS 1; returns when the broker has it.
    pub async fn publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.try_publish(topic, payload).await;
    }

    /// At QoS 1; gives the broker's word.
    pub async fn try_publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>) -> PubAckReason {
        self.requests.publish(topic, QoS::AtLeastOnce, false, payload.into()).await.unwrap();
        match self.ack().await {
            Packet::PubAck(ack) => ack.reason,
            other => panic!("no PUBACK: {other:?}"),
        }
    }

    pub async fn publish_retained(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.requests.publish(topic, QoS::AtLeastOnce, true, payload.into()).await.unwrap();
        assert!(matches!(self.ack().await, Packet::PubAck(_)));
    }

    /// At QoS 1, without waiting.
    pub async fn send(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.requests.publish(topic, QoS::AtLeastOnce, false, payload.into()).await.unwrap();
    }

    /// At QoS 0.
    pub async fn toss(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.requests.publish(topic, QoS::AtMostOnce, false, payload.into()).await.unwrap();
    }

    pub async fn publish_with(&mut self, topic: &str, payload: &str, properties: PublishProperties) {
        self.requests
            .publish_with_properties(topic, QoS::AtLeastOnce, false, payload.to_owned(), properties)
            .await
            .unwrap();
        assert!(matches!(self.ack().await, Packet::PubAck(_)));
    }

    pub async fn next(&mut self) -> Publish {
        timeout(PATIENCE, self.messages.recv()).await.expect("a message in time").expect("a connection")
    }

    /// A message that has come already.
    pub fn now(&mut self) -> Option<Publish> {
        self.messages.try_recv().ok()
    }

    /// Topic and payload of the next message.
    pub async fn next_text(&mut self) -> (String, String) {
        let message = self.next().await;
        (text(&message.topic), text(&message.payload))
    }

    /// Takes messages until this one, which others may precede: at QoS 1 a message can come twice.
    pub async fn await_text(&mut self, payload: &str) {
        while self.next_text().await.1 != payload {}
    }

    async fn ack(&mut self) -> Packet {
        timeout(PATIENCE, self.acks.recv()).await.expect("an acknowledgement in time").expect("a connection")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Until the first error: these clients do not reconnect.
async fn turn(mut event_loop: EventLoop, messages: mpsc::Sender<Publish>, acks: mpsc::Sender<Packet>) {
    while let Ok(event) = event_loop.poll().await {
        let taken = match event {
            Event::Incoming(Packet::Publish(message)) => messages.send(message).await.is_ok(),
            Event::Incoming(ack @ (Packet::ConnAck(_) | Packet::SubAck(_) | Packet::PubAck(_))) => {
                acks.send(ack).await.is_ok()
            }
            _ => true,
        };
        if !taken {
            return;
        }
    }
}
