//! Why there is no web server.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;

/// A web server that cannot be made.
#[derive(Debug, Error)]
pub enum WebError {
    /// Other machines could reach it.
    #[error("{0} is no loopback address: there is no login, so that nobody else may reach it")]
    NotLoopback(SocketAddr),
    /// The operating system refuses the address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}
