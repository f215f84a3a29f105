//! Everything MQTT: topics, wire types and the link to the broker. rumqttc's types do not leave this room.
//!
//! ```text
//! broker ──▶ rumqttc ──▶ poller ──▶ session ──▶ inbound ──▶ LinkEvent ──▶ driver
//!    ▲                                │ receipts                            │
//!    └────── rumqttc ◀────────────────┴── outbox ◀──── Slot, LinkHandle ◀───┘
//! ```
//! The worker makes one session after the other. Each has its own rumqttc, so that nothing of a broken connection is
//! left in it; what must survive is in the outbox.
//!
//! Invariants: the poller never waits for the driver; a message at QoS 1 leaves the outbox only on its PUBACK, and a
//! received one is acknowledged only when the driver says so; every queue is bounded.

mod address;
mod body;
mod bound;
mod config;
mod connect;
mod constraint;
#[cfg(test)]
mod constraint_tests;
mod contract;
mod control;
#[cfg(test)]
mod control_tests;
mod counters;
mod defined;
#[cfg(test)]
mod defined_tests;
mod documents;
mod error;
mod event;
mod fault;
mod fields;
mod filter;
mod fleet_topics;
mod handle;
mod inbound;
mod incoming;
mod inputs;
mod kind;
mod link;
mod message;
mod old_version;
mod outbox;
#[cfg(test)]
mod outbox_parts_tests;
#[cfg(test)]
mod outbox_tests;
mod output;
mod pacing;
mod parts;
mod pipeline;
mod poller;
mod probe;
mod publication;
mod reader;
mod receipts;
mod reply;
mod reply_policy;
#[cfg(test)]
mod reply_tests;
mod request;
#[cfg(test)]
mod request_tests;
mod sent;
mod session;
mod strict;
mod suspicion;
mod texts;
#[cfg(test)]
mod texts_tests;
mod tls;
mod topic;
mod worker;

pub use body::Asked;
pub use config::{LinkConfig, PasswordSource};
pub use contract::{addressed_fields, reply_schemas, request_schemas, sent_object, text_tasks};
pub use control::AcceptedControl;
pub use counters::Counters;
pub use error::TopicError;
pub use event::{Delivery, LinkEvent, ShutdownEnd};
pub use fault::Fault;
pub use filter::TopicFilter;
pub use fleet_topics::{FleetTopics, NodeTopic};
pub use handle::{LinkHandle, Slot};
pub use link::Link;
pub use message::{AckToken, InboundMessage};
pub use output::{logprobs_bytes, output_bytes, output_value};
pub use parts::{PARTS_MAX, PartHead};
pub use probe::{BrokerLimits, Probe, ProbeError, PublishAnswer, SubscribeAnswer};
pub use publication::Publication;
pub use reader::{Reader, ReaderEvent};
pub use reply::Replies;
pub use reply_policy::ReplyPolicy;
pub use request::{Accepted, Rejected, RequestLimits, RequestReader, StepRequest, parse_cancel};
pub use strict::{JsonLimits, parse_object};
pub use tls::{CertificateFile, CertificateKind, certificates};
pub use topic::{InboundTopic, Topics};
