//! What the link needs to know.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::config::Tls;

/// Reads the password before each connect, so that a new one needs no restart.
pub type PasswordSource = Arc<dyn Fn() -> Result<Option<String>, String> + Send + Sync>;

/// How to reach the broker, and as whom.
#[derive(Clone)]
pub struct LinkConfig {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The files for TLS; none for a connection without.
    pub tls: Option<Tls>,
    /// Whether the clock of this machine is known to be right. Must answer at once.
    pub clock_synced: fn() -> bool,
    /// Stable: the broker's session hangs on it.
    pub client_id: String,
    /// User name.
    pub username: Option<String>,
    /// Must answer at once.
    pub password: PasswordSource,
    /// Longest silence, 5 s to 18 h; the broker's own value wins.
    pub keep_alive: Duration,
    /// How long the broker keeps requests while we are away.
    pub session_expiry: Duration,
    /// Most requests that the broker may send ahead of their acknowledgements.
    pub receive_maximum: u16,
    /// Largest packet that the broker may send.
    pub packet_max: u32,
    /// Most messages that wait for the broker to take them.
    pub outbox_max: usize,
    /// First pause before a new connect.
    pub backoff_min: Duration,
    /// Longest pause.
    pub backoff_max: Duration,
    /// Filters to subscribe.
    pub subscriptions: Vec<String>,
    /// What the broker publishes, retained, when we are gone: topic and payload.
    pub will: Option<(String, Bytes)>,
}

impl LinkConfig {
    /// Whether both lead to the same broker.
    pub(super) fn is_same_broker(&self, other: &Self) -> bool {
        (&self.host, self.port) == (&other.host, other.port)
    }
}

/// Without the password.
impl fmt::Debug for LinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkConfig({}:{} as {})", self.host, self.port, self.client_id)
    }
}
