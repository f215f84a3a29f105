//! A message on its way out.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::PartHead;
use super::parts::Parts;

/// A message to publish. Its quality of service follows from how it is handed to the link.
#[derive(Clone, PartialEq, Eq)]
pub struct Publication {
    /// Where to.
    pub topic: String,
    /// The message.
    pub payload: Bytes,
    /// MQTT 5 Content Type.
    pub content_type: Option<Cow<'static, str>>,
    /// MQTT 5 Correlation Data.
    pub correlation: Option<Vec<u8>>,
    /// How its parts begin, if it may go out in parts to a broker that does not take it whole; only of what goes out at QoS 1.
    pub parts: Option<PartHead>,
}

impl Publication {
    /// The size of its packet at QoS 1: what a broker's Maximum Packet Size is compared with.
    pub fn packet_size(&self) -> usize {
        let property = |length: usize| 3 + length;
        let properties = self.content_type.as_ref().map_or(0, |text| property(text.len()))
            + self.correlation.as_ref().map_or(0, |data| property(data.len()));
        // Topic with its length, packet id, properties with their length, payload.
        let remaining = 2 + self.topic.len() + 2 + varint(properties) + properties + self.payload.len();
        1 + varint(remaining) + remaining
    }

    /// Whether it can be sent to a broker with this Maximum Packet Size, whole or in parts.
    pub fn can_be_sent(&self, packet_max: u32) -> bool {
        let packet_max = packet_max as usize;
        self.packet_size() <= packet_max || Parts::cut(self, packet_max).is_some()
    }
}

/// Bytes of MQTT's variable-length integer.
fn varint(value: usize) -> usize {
    match value {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    }
}

/// Sizes only: answers do not belong in logs.
impl fmt::Debug for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Publication({}, {} bytes)", self.topic, self.payload.len())
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};

    use super::*;

    #[test]
    fn the_size_is_rumqttc_s() {
        for payload in [0, 1, 100, 116, 117, 118, 119, 120, 127, 128, 16_000, 16_383, 16_384, 2_097_152] {
            for (content_type, correlation) in
                [(None, None), (Some("application/json"), None), (Some("text/plain"), Some(vec![1; 200]))]
            {
                let publication = Publication {
                    topic: "a/bc".to_owned(),
                    payload: vec![0; payload].into(),
                    content_type: content_type.map(Cow::Borrowed),
                    correlation,
                    parts: None,
                };
                let properties = PublishProperties {
                    content_type: publication.content_type.clone().map(Cow::into_owned),
                    correlation_data: publication.correlation.clone().map(Bytes::from),
                    ..PublishProperties::default()
                };
                let mut packet = Publish::new("a/bc", QoS::AtLeastOnce, publication.payload.clone(), Some(properties));
                packet.pkid = 1;
                assert_eq!(publication.packet_size(), packet.size(), "{payload}");
            }
        }
    }
}
