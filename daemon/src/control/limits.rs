//! What a peer may take of us.

use std::time::Duration;

/// Of the control socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Bytes of a request's line, its end not counted.
    pub line: usize,
    /// From the first byte of a request to its last.
    pub line_time: Duration,
    /// From an answer to the first byte of the next request.
    pub idle: Duration,
    /// For a peer to take one line of an answer.
    pub write_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16,
            line: 64 * 1024,
            line_time: Duration::from_secs(10),
            idle: Duration::from_mins(1),
            write_time: Duration::from_secs(10),
        }
    }
}
