//! A connection that only reads what nodes tell: retained documents first, then what comes.
//!
//! Like a [`Probe`](super::Probe) it is nobody's link: when it ends, whoever reads makes another. It subscribes at QoS 0, for
//! brokers cut a replay of documents at QoS 1 where their queue for a client ends (mosquitto: 1000), and do not say so.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Filter, Packet, Publish, RetainForwardRule, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event};
use tokio::time::{Instant, timeout_at};

use super::fault::words;
use super::poller::Poller;
use super::{Fault, LinkConfig, ProbeError, connect, probe};

/// Silences of this many keep-alives end the connection: rumqttc's pings bring an answer in each.
const SILENCE_MAX: u32 = 2;

/// Something that was read.
#[derive(Debug)]
pub enum ReaderEvent {
    /// A message.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload; empty when a document was removed.
        payload: Bytes,
        /// It was kept by the broker from before the subscription.
        replayed: bool,
    },
    /// The broker has answered a subscription. It may still be replaying documents.
    Answered {
        /// The filter.
        filter: String,
        /// The broker's reason, if it refuses it.
        refused: Option<String>,
    },
}

/// The connection. Dropped, it is cut; it has no session and no will.
pub struct Reader {
    client: AsyncClient,
    poller: Poller,
    keep_alive: Duration,
    /// Filters that the broker has not answered, oldest first.
    asked: VecDeque<String>,
    last_packet: Instant,
}

impl Reader {
    /// Connects. `config` should name a client id of its own, no session and no will; its subscriptions are not made.
    pub async fn connect(config: &LinkConfig) -> Result<Self, ProbeError> {
        let (client, poller, ack) = probe::let_in(config).await?;
        let last_packet = Instant::now();
        Ok(Self { client, poller, keep_alive: keep_alive(config, &ack), asked: VecDeque::new(), last_packet })
    }

    /// Subscribes a filter; documents that the broker keeps are replayed.
    pub fn subscribe(&mut self, filter: &str) -> Result<(), Fault> {
        let wanted = Filter {
            path: filter.to_owned(),
            qos: QoS::AtMostOnce,
            nolocal: false,
            preserve_retain: false,
            retain_forward_rule: RetainForwardRule::OnEverySubscribe,
        };
        self.client.try_subscribe_many([wanted]).map_err(|_| Fault::Crashed)?;
        self.asked.push_back(filter.to_owned());
        Ok(())
    }

    /// Gives a subscription up.
    pub fn unsubscribe(&mut self, filter: &str) -> Result<(), Fault> {
        self.client.try_unsubscribe(filter).map_err(|_| Fault::Crashed)
    }

    /// Whether every subscription has been answered.
    pub fn is_answered(&self) -> bool {
        self.asked.is_empty()
    }

    /// The next event. May be cancelled. After an error the connection has ended.
    pub async fn next(&mut self) -> Result<ReaderEvent, Fault> {
        loop {
            let until = self.last_packet + SILENCE_MAX * self.keep_alive;
            let Ok(event) = timeout_at(until, self.poller.next()).await else {
                return Err(Fault::Silent(self.last_packet.elapsed()));
            };
            let Some(event) = event else { return Err(self.poller.fault(true).await) };
            let Event::Incoming(packet) = event else { continue };
            self.last_packet = Instant::now();
            if let Some(event) = self.on_packet(packet)? {
                return Ok(event);
            }
        }
    }

    fn on_packet(&mut self, packet: Packet) -> Result<Option<ReaderEvent>, Fault> {
        match packet {
            Packet::Publish(publish) => Self::on_publish(publish),
            Packet::SubAck(ack) => {
                let filter = self.asked.pop_front().unwrap_or_default();
                let refused = match ack.return_codes.first() {
                    Some(SubscribeReasonCode::Success(_)) => None,
                    Some(code) => Some(words(&format!("{code:?}"))),
                    None => return Err(Fault::Protocol("a SUBACK without a reason".to_owned())),
                };
                Ok(Some(ReaderEvent::Answered { filter, refused }))
            }
            _ => Ok(None),
        }
    }

    fn on_publish(publish: Publish) -> Result<Option<ReaderEvent>, Fault> {
        if publish.qos != QoS::AtMostOnce {
            return Err(Fault::Protocol("a message above the quality of service that was asked for".to_owned()));
        }
        // No topic of a node is anything but text.
        let Ok(topic) = String::from_utf8(publish.topic.to_vec()) else { return Ok(None) };
        Ok(Some(ReaderEvent::Message { topic, payload: publish.payload, replayed: publish.retain }))
    }
}

/// The broker's own value wins; 0 would mean that it expects none.
fn keep_alive(config: &LinkConfig, ack: &ConnAck) -> Duration {
    let broker = ack.properties.as_ref().and_then(|properties| properties.server_keep_alive);
    let broker = broker.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds.into()));
    broker.unwrap_or_else(|| connect::keep_alive(config))
}
