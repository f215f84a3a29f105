//! A connection that only looks: whether the broker lets us in, what it allows, and what it says to each topic.
//!
//! It is nobody's link: nothing is retried, nothing is kept, and the broker forgets it at its end.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnAckProperties, Filter, Packet, PubAckReason, Publish, PublishProperties, RetainForwardRule,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, Event};
use tokio::net::lookup_host;
use tokio::time::{Instant, timeout, timeout_at};

use super::fault::words;
use super::poller::Poller;
use super::{Fault, LinkConfig, connect, old_version};

/// How long a name server may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the broker may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the broker may take to close the connection after our DISCONNECT.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// A message that nobody has taken by then is not worth taking, such as by a daemon that comes back.
const EXPIRY_S: u32 = 10;

/// What a broker allows, as it says in its CONNACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerLimits {
    /// Bytes of the largest packet; none if it names no limit.
    pub packet_max: Option<u32>,
    /// The highest quality of service, 0 to 2.
    pub qos_max: u8,
    /// Whether it keeps retained messages.
    pub retain: bool,
    /// Whether filters may have wildcards.
    pub wildcards: bool,
    /// Whether subscriptions may be shared.
    pub shared: bool,
}

/// What a broker says to a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscribeAnswer {
    /// It is made, with this quality of service.
    Granted(u8),
    /// Its reason against it.
    Refused(String),
}

/// What a broker says to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishAnswer {
    /// It took it; perhaps nobody was subscribed.
    Taken,
    /// Its reason against it.
    Refused(String),
}

/// Why a look at the broker ended early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The host's name has no address.
    #[error("the name {host} has no address: {reason}")]
    NoAddress {
        /// The name.
        host: String,
        /// What the resolver says.
        reason: String,
    },
    /// Anything else that ends connections.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// The connection.
pub struct Probe {
    client: AsyncClient,
    poller: Poller,
    limits: BrokerLimits,
    /// Our own messages by topic: when the last was sent there, and how long it took to come back, if it has.
    sent: BTreeMap<String, (Instant, Option<Duration>)>,
}

impl Probe {
    /// Connects. `config` should name a client id of its own, no session and no will.
    pub async fn connect(config: &LinkConfig) -> Result<Self, ProbeError> {
        let (client, poller, ack) = let_in(config).await?;
        let limits = BrokerLimits::of(ack.properties.as_ref());
        Ok(Self { client, poller, limits, sent: BTreeMap::new() })
    }

    /// What the broker allows.
    pub fn limits(&self) -> &BrokerLimits {
        &self.limits
    }

    /// Subscribes one filter at QoS 1, without the replay of retained messages.
    pub async fn subscribe(&mut self, filter: &str) -> Result<SubscribeAnswer, Fault> {
        let filter = Filter {
            path: filter.to_owned(),
            qos: QoS::AtLeastOnce,
            nolocal: false,
            preserve_retain: true,
            retain_forward_rule: RetainForwardRule::Never,
        };
        self.client.try_subscribe_many([filter]).map_err(|_| Fault::Crashed)?;
        loop {
            if let Packet::SubAck(ack) = self.packet().await? {
                return Ok(match ack.return_codes.first() {
                    Some(SubscribeReasonCode::Success(qos)) => SubscribeAnswer::Granted(*qos as u8),
                    Some(code) => SubscribeAnswer::Refused(words(&format!("{code:?}"))),
                    None => return Err(Fault::Protocol("a SUBACK without a reason".to_owned())),
                });
            }
        }
    }

    /// Publishes at QoS 1, not retained, soon to expire.
    pub async fn publish(&mut self, topic: &str, payload: impl Into<Bytes>) -> Result<PublishAnswer, Fault> {
        let properties = PublishProperties { message_expiry_interval: Some(EXPIRY_S), ..PublishProperties::default() };
        self.sent.insert(topic.to_owned(), (Instant::now(), None));
        let taken = self.client.try_publish_with_properties(topic, QoS::AtLeastOnce, false, payload.into(), properties);
        taken.map_err(|_| Fault::Crashed)?;
        loop {
            if let Packet::PubAck(ack) = self.packet().await? {
                return Ok(match ack.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => PublishAnswer::Taken,
                    reason => PublishAnswer::Refused(words(&format!("{reason:?}"))),
                });
            }
        }
    }

    /// Waits for a message that was published here to come back to a subscription of ours; gives how long it was under way.
    pub async fn arrival(&mut self, topic: &str, wait: Duration) -> Result<Option<Duration>, Fault> {
        let until = Instant::now() + wait;
        loop {
            if let Some((_, Some(took))) = self.sent.get(topic) {
                return Ok(Some(*took));
            }
            match timeout_at(until, self.next()).await {
                Ok(packet) => _ = packet?,
                Err(_) => return Ok(None),
            }
        }
    }

    /// Says good-bye.
    pub async fn leave(mut self) {
        if self.client.try_disconnect().is_ok() {
            let closed = async { while self.poller.next().await.is_some() {} };
            // The broker has our word; whether it closes in time makes no difference.
            let _ = timeout(LEAVE_TIMEOUT, closed).await;
        }
    }

    async fn packet(&mut self) -> Result<Packet, Fault> {
        timeout(ANSWER_TIMEOUT, self.next()).await.unwrap_or(Err(Fault::Silent(ANSWER_TIMEOUT)))
    }

    /// The next packet. Messages are acknowledged, and forgotten unless they are ours: clients of the node sent the others.
    async fn next(&mut self) -> Result<Packet, Fault> {
        loop {
            match self.poller.next().await {
                Some(Event::Incoming(Packet::Publish(publish))) => {
                    self.take(&publish)?;
                    return Ok(Packet::Publish(Publish::default()));
                }
                Some(Event::Incoming(packet)) => return Ok(packet),
                Some(Event::Outgoing(_)) => {}
                None => return Err(self.poller.fault(true).await),
            }
        }
    }

    fn take(&mut self, publish: &Publish) -> Result<(), Fault> {
        if let Some((sent, took)) = std::str::from_utf8(&publish.topic).ok().and_then(|topic| self.sent.get_mut(topic))
        {
            took.get_or_insert_with(|| sent.elapsed());
        }
        if publish.qos == QoS::AtMostOnce { Ok(()) } else { self.client.try_ack(publish).map_err(|_| Fault::Crashed) }
    }
}

impl BrokerLimits {
    /// What is left out of a CONNACK is allowed.
    fn of(properties: Option<&ConnAckProperties>) -> Self {
        let allowed = |value: fn(&ConnAckProperties) -> Option<u8>| properties.and_then(value) != Some(0);
        Self {
            packet_max: properties.and_then(|properties| properties.max_packet_size),
            qos_max: properties.and_then(|properties| properties.max_qos).unwrap_or(2),
            retain: allowed(|properties| properties.retain_available),
            wildcards: allowed(|properties| properties.wildcard_subscription_available),
            shared: allowed(|properties| properties.shared_subscription_available),
        }
    }
}

/// Connects without a session, and tells why not as well as can be found out.
pub(super) async fn let_in(config: &LinkConfig) -> Result<(AsyncClient, Poller, ConnAck), ProbeError> {
    look_up(config).await?;
    let (client, mut poller) = connect::open(config, true, true).await?;
    loop {
        match poller.next().await {
            Some(Event::Incoming(Packet::ConnAck(ack))) => return Ok((client, poller, ack)),
            Some(_) => {}
            None => {
                let fault = poller.fault(false).await;
                return Err(old_version::look(config, fault).await.into());
            }
        }
    }
}

/// Before rumqttc does, whose error does not tell a name from a connection.
async fn look_up(config: &LinkConfig) -> Result<(), ProbeError> {
    let failed = |reason: String| Err(ProbeError::NoAddress { host: config.host.clone(), reason });
    match timeout(LOOKUP_TIMEOUT, lookup_host(connect::address(config))).await {
        Err(_) => failed(format!("no answer within {LOOKUP_TIMEOUT:?}")),
        Ok(Err(error)) => failed(error.to_string()),
        Ok(Ok(_)) => Ok(()),
    }
}
