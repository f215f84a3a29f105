//! A small web server for this machine: pages that others make, to be read and not to be changed.
//!
//! ```text
//! browser, Prometheus ──▶ server ──▶ guard ──▶ Pages ──▶ Page
//! ```
//! It answers GET and HEAD, one request a connection. There is no login: only a loopback address is served, and only under
//! its own names, so that no page of the web can read it through a browser here (DNS rebinding). Whatever a peer does is
//! bounded: how many connect, how large a request is, and how long a connection lasts.

mod error;
mod guard;
mod page;
mod server;
#[cfg(test)]
mod tests;

pub use error::WebError;
pub use page::{Ask, Page, Pages};
pub use server::WebServer;
