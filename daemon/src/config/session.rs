//! `[session]`: what is remembered of conversations.

use std::time::Duration;

use super::section::Section;
use super::unit::{Size, Span};

/// Sessions: conversations that the node remembers for its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// How long one stays that nobody goes on with.
    pub keep: Duration,
    /// Most sessions of one client.
    pub per_client: usize,
    /// Bytes of the largest one.
    pub size_max: usize,
}

impl Session {
    pub(super) fn read(section: &mut Section<'_, '_, '_>) -> Self {
        Self {
            keep: section.span("keep", Span::days(1), Span::seconds(1)..=Span::days(365)),
            per_client: section.number("per_client", 8, 1..=1024),
            // The default is more than a context of 16384 tokens holds. Each turn writes the whole session anew, and a job keeps
            // so much of the journal free for it.
            size_max: section.size("size_max", Size::kib(64), Size::kib(1)..=Size::mib(1)).bytes(),
        }
    }
}
