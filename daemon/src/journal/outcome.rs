//! What a job's end leaves behind.

use std::fmt;

use bytes::Bytes;

use crate::job::ErrorCode;

/// The end of a job: the one message for its client, as it is published.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Why there is no answer; none if there is one.
    pub error: Option<ErrorCode>,
    /// Where to.
    pub topic: String,
    /// The message.
    pub payload: Bytes,
    /// MQTT 5 Content Type.
    pub content_type: Option<String>,
    /// MQTT 5 Correlation Data.
    pub correlation: Option<Vec<u8>>,
    /// What each of its parts begins with, if it may go out in parts.
    pub part_head: Option<Bytes>,
}

impl Outcome {
    /// Bytes that it takes, besides what each job takes.
    pub fn size(&self) -> u64 {
        let properties = self.content_type.as_ref().map_or(0, String::len)
            + self.correlation.as_ref().map_or(0, Vec::len)
            + self.part_head.as_ref().map_or(0, Bytes::len);
        (self.topic.len() + properties + self.payload.len()) as u64
    }
}

/// Sizes only: answers do not belong in logs.
impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outcome({:?}, {} bytes)", self.error, self.payload.len())
    }
}

/// What has become of an outcome's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settlement {
    /// The broker has not acknowledged it.
    Unsettled,
    /// The broker has taken it.
    Delivered,
    /// The broker has taken it and nobody was subscribed, or has refused it: it can be fetched.
    Missed,
}
