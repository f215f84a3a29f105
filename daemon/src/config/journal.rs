//! `[journal]`: what is kept of jobs.

use std::time::Duration;

use crate::plan::Bytes;

use super::section::Section;
use super::unit::{Size, Span};

/// The journal of jobs and their outcomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// Whether it is on disk.
    pub durability: Durability,
    /// So long after a commit what comes is written together.
    pub commit_window: Duration,
    /// How long outcomes stay.
    pub keep: Duration,
    /// Most bytes that it may take.
    pub size_max: Bytes,
    /// What happens to new work when it can't be written.
    pub on_unwritable: OnUnwritable,
}

/// Where the journal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk: accepted jobs outlive the daemon and a loss of power.
    Full,
    /// In memory: accepted jobs end with the daemon, and nothing is written.
    Memory,
}

/// What happens to new work when the journal can't be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnwritable {
    /// It is refused.
    Refuse,
    /// It is accepted and kept in memory.
    Memory,
}

impl Journal {
    pub(super) fn read(section: &mut Section<'_, '_, '_>) -> Self {
        let durability = [("full", Durability::Full), ("memory", Durability::Memory)];
        let on_unwritable = [("refuse", OnUnwritable::Refuse), ("memory", OnUnwritable::Memory)];
        Self {
            durability: section.choice("durability", Durability::Full, &durability),
            // A lone job meets a quiet disk and does not wait. What comes while the disk is busy is one write anyway.
            commit_window: section.span("commit_window", Span::millis(2), Span::millis(0)..=Span::seconds(1)),
            // As long as the broker keeps our session and a request may wait: until then a retry is to be expected.
            keep: section.span("keep", Span::hours(1), Span::minutes(1)..=Span::days(30)),
            // The default holds a full queue of the largest requests and answers, twice. Each outcome costs 4 KiB at least
            // and some memory: the upper end is a million of them.
            size_max: section.size("size_max", Size::mib(256), Size::mib(16)..=Size::gib(4)).into(),
            on_unwritable: section.choice("on_unwritable", OnUnwritable::Refuse, &on_unwritable),
        }
    }
}
