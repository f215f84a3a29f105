//! The control socket: what an operator asks of this node without a broker.
//!
//! ```text
//! promptd status ──▶ socket ──▶ connection ──▶ ControlCall ──▶ driver
//!                ◀── progress*, result or error ◀── ControlReply ──┘
//! ```
//! Lines of JSON both ways. A request is `{"verb":"load","model":"main"}`: a verb and its fields, as on the control
//! topics. Its answer is any number of `{"event":"progress",…}`, then one `{"event":"result",…}` or
//! `{"event":"error",…}`. A connection may ask several times, one request after the other.
//!
//! Who may open the socket may ask for everything: its owner and its group. Whatever a peer does is bounded: how many
//! connect, how long a line is and takes, how long an idle connection stays, how long an answer waits for its reader.

mod call;
mod connection;
mod error;
mod group;
mod limits;
mod lines;
mod server;
mod socket;
#[cfg(test)]
mod socket_tests;
#[cfg(test)]
mod tests;
mod wire;

pub use call::{ControlCall, ControlReply};
pub use error::ControlError;
pub use server::ControlServer;
