//! The link against a real mosquitto, and against a scripted broker for what mosquitto does not do.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod acl;
mod authority;
mod bridge;
mod broker;
mod certificates;
mod client;
mod faults;
mod fleet;
mod fleet_tls;
mod gate;
mod inbound;
mod lifecycle;
mod node;
mod outbound;
mod probe;
mod renewal;
mod script;
mod tls;
