//! `[service]`: the daemon itself.

use std::time::Duration;

use super::section::Section;
use super::unit::Span;

/// The daemon itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// How long a stop waits for running jobs.
    pub drain_timeout: Duration,
    /// What is logged.
    pub log_level: LogLevel,
}

/// How much is logged; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What an operator must act on.
    Error,
    /// What an operator should look at.
    Warn,
    /// What happened.
    Info,
    /// Why it happened.
    Debug,
    /// Every step.
    Trace,
}

impl LogLevel {
    const WORDS: [(&str, Self); 5] = [
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

impl Service {
    pub(super) fn read(section: &mut Section<'_, '_, '_>) -> Self {
        Self {
            drain_timeout: section.span("drain_timeout", Span::seconds(30), Span::seconds(0)..=Span::minutes(10)),
            log_level: section.choice("log_level", LogLevel::Info, &LogLevel::WORDS),
        }
    }
}
