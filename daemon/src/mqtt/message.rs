//! A message on its way in.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// A message that a client published.
pub struct InboundMessage {
    /// The topic it came on.
    pub topic: String,
    /// The message.
    pub payload: Bytes,
    /// 0 or 1: promptd never subscribes at 2.
    pub qos: u8,
    /// Published as a retained message, whether it is live or replayed.
    pub retain: bool,
    /// MQTT 5 Response Topic.
    pub response_topic: Option<String>,
    /// MQTT 5 Correlation Data.
    pub correlation: Option<Bytes>,
    /// What remains of its MQTT 5 Message Expiry Interval.
    pub expiry: Option<Duration>,
    /// When it came.
    pub received: Instant,
    /// To be given back when the message is safe; none if the broker waits for no acknowledgement.
    pub ack: Option<AckToken>,
}

impl InboundMessage {
    /// One that comes now with nothing but a payload, for tests.
    #[cfg(test)]
    pub(crate) fn plain(payload: impl Into<Vec<u8>>) -> Self {
        Self {
            topic: String::new(),
            payload: payload.into().into(),
            qos: 1,
            retain: false,
            response_topic: None,
            correlation: None,
            expiry: None,
            received: Instant::now(),
            ack: None,
        }
    }

    /// What it takes of the memory for waiting messages.
    pub(super) fn size(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

/// Sizes only: prompts do not belong in logs.
impl fmt::Debug for InboundMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InboundMessage({}, {} bytes, QoS {})", self.topic, self.payload.len(), self.qos)
    }
}

/// The right to acknowledge one message. Acknowledgements go out in the order of receipt, and the broker sends only so
/// many messages ahead of them: a token that is never given back stops them all.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a message that is never acknowledged stops all that follow it"]
pub struct AckToken {
    /// The connection that the message came on.
    pub(super) epoch: u64,
    /// Its number among the QoS 1 messages of that connection.
    pub(super) number: u64,
}
