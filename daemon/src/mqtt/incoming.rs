//! What a session does with each packet.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rumqttc::Outgoing as Written;
use rumqttc::v5::Event;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Filter, Packet, PubAck, PubAckReason, Publish, RetainForwardRule, SubAck, SubscribeReasonCode,
};
use tokio::time::Instant;
use tracing::warn;

use super::connect::{UNACKNOWLEDGED_MAX, window};
use super::fault::words;
use super::session::{Phase, Session, Stop};
use super::{Delivery, Fault, InboundMessage, LinkEvent};

/// Filters in one SUBSCRIBE: some brokers allow no more.
const FILTERS_MAX: usize = 8;
/// How long the broker may take to close the connection after our DISCONNECT.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// After a reconnect a fleet republishes its documents within this time, not at one moment.
const REPUBLISH_JITTER: Duration = Duration::from_millis(250);

impl Session<'_> {
    pub(super) fn on_event(&mut self, event: Event) -> Result<(), Stop> {
        match event {
            Event::Incoming(packet) => {
                self.last_packet = Instant::now();
                match packet {
                    Packet::ConnAck(ack) => {
                        self.on_connack(&ack);
                        Ok(())
                    }
                    Packet::Publish(publish) => self.on_publish(publish),
                    Packet::PubAck(ack) => self.on_puback(&ack),
                    Packet::SubAck(ack) => self.on_suback(&ack),
                    // Pings are rumqttc's; a DISCONNECT comes again as the poller's error.
                    _ => Ok(()),
                }
            }
            Event::Outgoing(Written::Publish(packet_id)) => {
                self.last_publish = Some(Instant::now());
                let mut state = self.worker.shared.state();
                Ok(state.outbox.on_written(packet_id, std::time::Instant::now())?)
            }
            Event::Outgoing(Written::Disconnect) => {
                let until = Instant::now() + CLOSE_TIMEOUT;
                self.leaving_until = Some(self.closing.map_or(until, |deadline| deadline.min(until)));
                self.rearm = true;
                Ok(())
            }
            Event::Outgoing(_) => Ok(()),
        }
    }

    fn on_connack(&mut self, ack: &ConnAck) {
        self.up = Some(Instant::now());
        let properties = ack.properties.as_ref();
        if let Some(seconds) =
            properties.and_then(|properties| properties.server_keep_alive).filter(|seconds| *seconds > 0)
        {
            self.keep_alive = Duration::from_secs(seconds.into());
        }
        self.window = window(properties.and_then(|properties| properties.receive_max));
        let packet_max = properties.and_then(|properties| properties.max_packet_size).unwrap_or(0);
        self.worker.shared.packet_max.store(packet_max, Ordering::Relaxed);
        if properties.and_then(|properties| properties.retain_available) == Some(0) && self.worker.retain {
            warn!("the broker takes no retained messages: status documents are lost on whoever subscribes later");
            self.worker.retain = false;
        }
        let epoch = {
            let mut state = self.worker.shared.state();
            state.epoch += 1;
            state.epoch
        };
        self.worker.receipts.start(epoch);
        self.worker.connected(ack.session_present);
        self.worker.inbound.release(ack.session_present);
        self.subscribe();
    }

    /// Subscribes with Retain As Published, which shows retained requests, and without the replay of old ones.
    fn subscribe(&mut self) {
        self.subscribing = self.worker.config.subscriptions.chunks(FILTERS_MAX).map(<[String]>::to_vec).collect();
        let taken = self.subscribing.iter().try_for_each(|filters| {
            let wanted = filters.iter().map(|path| Filter {
                path: path.clone(),
                qos: QoS::AtLeastOnce,
                nolocal: false,
                preserve_retain: true,
                retain_forward_rule: RetainForwardRule::Never,
            });
            self.client.try_subscribe_many(wanted).map_err(drop)
        });
        self.note(&taken);
        let ended =
            self.worker.obsolete.drain(..).try_for_each(|filter| self.client.try_unsubscribe(filter).map_err(drop));
        self.note(&ended);
        self.phase = Phase::Subscribing;
        self.subscribed_at = Instant::now();
        self.rearm = true;
        if self.subscribing.is_empty() {
            self.on_subscribed();
        }
    }

    fn on_suback(&mut self, ack: &SubAck) -> Result<(), Stop> {
        let filters = self.subscribing.pop_front().unwrap_or_default();
        if filters.len() != ack.return_codes.len() {
            return Err(Fault::Protocol("a SUBACK fits no SUBSCRIBE".to_owned()).into());
        }
        for (filter, code) in filters.into_iter().zip(&ack.return_codes) {
            if let SubscribeReasonCode::Success(_) = code {
                self.worker.refused_filters.remove(&filter);
            } else {
                self.worker.subscription_refused(filter, words(&format!("{code:?}")));
            }
        }
        if self.subscribing.is_empty() {
            self.on_subscribed();
        }
        Ok(())
    }

    /// Only now are documents published: who reads `online` may send requests.
    fn on_subscribed(&mut self) {
        self.phase = Phase::Ready;
        self.worker.shared.connected.store(true, Ordering::Relaxed);
        let jitter = if self.worker.was_connected { REPUBLISH_JITTER.mul_f64(fastrand::f64()) } else { Duration::ZERO };
        self.worker.was_connected = true;
        self.republish_at = Some(Instant::now() + jitter);
        self.rearm = true;
    }

    fn on_publish(&mut self, publish: Publish) -> Result<(), Stop> {
        if self.phase == Phase::Leaving {
            // Too late to acknowledge it: the broker sends it again.
            return Ok(());
        }
        let ack = match publish.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce if self.has_room(&publish) => Some(self.worker.receipts.add(publish.pkid)),
            QoS::AtLeastOnce => {
                self.defer();
                return Ok(());
            }
            QoS::ExactlyOnce => return Err(Fault::Protocol("a message at QoS 2".to_owned()).into()),
        };
        self.worker.shared.tallies.received.one();
        self.worker.shared.tallies.redelivered.add(usize::from(publish.dup));
        let Ok(topic) = String::from_utf8(publish.topic.to_vec()) else {
            // No subscription of ours matches such a topic; a broker that sends it all the same gets it acknowledged.
            if let Some(token) = ack {
                self.worker.receipts.done(token);
            }
            return Ok(());
        };
        let properties = publish.properties.unwrap_or_default();
        let message = InboundMessage {
            topic,
            payload: publish.payload,
            qos: publish.qos as u8,
            retain: publish.retain,
            response_topic: properties.response_topic,
            correlation: properties.correlation_data,
            expiry: properties.message_expiry_interval.map(|seconds| Duration::from_secs(seconds.into())),
            received: std::time::Instant::now(),
            ack,
        };
        if !self.worker.tell(LinkEvent::Message(message)) {
            self.worker.shared.tallies.dropped_qos0.one();
        }
        Ok(())
    }

    /// Once one message did not fit, none does: what is sent again has to come in order.
    fn has_room(&self, publish: &Publish) -> bool {
        !self.renew
            && self.worker.receipts.open() < UNACKNOWLEDGED_MAX
            && self.worker.inbound.has_room(publish.topic.len() + publish.payload.len())
    }

    /// Leaves a message with the broker, which sends it again on the next connection: that is made as soon as all that
    /// came before is acknowledged.
    fn defer(&mut self) {
        self.worker.shared.tallies.deferred.one();
        if !self.renew {
            warn!("the broker sends more than receive_maximum allows; the rest is fetched with a new connection");
            self.renew = true;
        }
    }

    fn on_puback(&mut self, ack: &PubAck) -> Result<(), Stop> {
        let delivery = match ack.reason {
            PubAckReason::Success => Delivery::Taken,
            PubAckReason::NoMatchingSubscribers => Delivery::NoSubscribers,
            _ => Delivery::Refused,
        };
        let gone = self.worker.shared.state().outbox.on_ack(ack.pkid, delivery, self.window)?;
        let Some(gone) = gone else { return Ok(()) };
        if delivery == Delivery::Refused {
            self.worker.publication_refused(&gone, words(&format!("{:?}", ack.reason)));
        }
        self.worker.settle(&gone, delivery);
        Ok(())
    }
}
