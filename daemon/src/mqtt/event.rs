//! What the link tells the driver.

use std::time::Duration;

use super::{Fault, InboundMessage};

/// Something that happened on the link.
#[derive(Debug)]
pub enum LinkEvent {
    /// The broker accepted the connection.
    Connected {
        /// The broker remembers the session: messages that were not acknowledged come again.
        session_present: bool,
    },
    /// The connection was lost, or could not be made for a reason that has not been reported yet.
    Disconnected {
        /// Why.
        reason: Fault,
    },
    /// A message came.
    Message(InboundMessage),
    /// The broker refused a subscription: requests on it will never arrive.
    SubscriptionRefused {
        /// The filter.
        filter: String,
        /// The broker's reason.
        reason: String,
    },
    /// The broker takes no message on a topic. Told once for each connection, topic and reason; ids of requests do not
    /// count as different topics.
    PublicationRefused {
        /// The topic of the first such message.
        topic: String,
        /// The broker's reason.
        reason: String,
    },
    /// Another client uses our client id: two nodes would throw each other out for ever.
    DuplicateClient {
        /// How long the link leaves the broker alone.
        pause: Duration,
    },
    /// A message from [`Slot::publish_tracked`](super::Slot::publish_tracked) has come to its end.
    Settled {
        /// Its tag.
        tag: u64,
        /// Its end.
        delivery: Delivery,
    },
}

/// The end of a message at QoS 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The broker took it.
    Taken,
    /// The broker took it and nobody was subscribed.
    NoSubscribers,
    /// The broker refused it, or would have: it is dropped.
    Refused,
}

/// How a shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownEnd {
    /// The broker took everything, and the will was withdrawn.
    Clean,
    /// The time was up: the connection was cut, and the broker publishes the will.
    TimedOut,
    /// There was no connection.
    NotConnected,
}
