//! `[load]` and `[engine]`: how models are brought up and run.

use std::time::Duration;

use super::section::Section;
use super::unit::{Size, Span};
use crate::plan::Bytes;

/// Loading of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// A load that makes no progress for so long is given up.
    pub timeout: Duration,
    /// A model that is not pinned is unloaded when it has had no job for so long. None is never.
    pub idle_unload: Option<Duration>,
}

/// The engine children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// Longest time that a new prompt may delay the next token of a running answer.
    pub max_stall: Duration,
    /// A child that makes no progress for so long is replaced; more than `max_stall`.
    pub heartbeat_timeout: Duration,
    /// A job that was running in so many crashes of the engine is not tried again.
    pub crash_quarantine: u32,
    /// The same answer alone and under load, at the cost of speed.
    pub reproducible: bool,
    /// Whether fewer threads compute while other programs want the processors.
    pub adapt_threads: bool,
    /// Most memory of each engine for what is kept of prompts, and most disk for that of all. 0 keeps nothing.
    pub prefix_cache: Bytes,
}

impl Load {
    pub(super) fn read(section: &mut Section<'_, '_, '_>) -> Self {
        Self {
            timeout: section.span("timeout", Span::minutes(10), Span::seconds(10)..=Span::days(1)),
            idle_unload: section.span_or_never("idle_unload", Span::seconds(10)..=Span::days(7)),
        }
    }
}

impl Engine {
    pub(super) fn read(section: &mut Section<'_, '_, '_>) -> Self {
        let engine = Self {
            max_stall: section.span("max_stall", Span::millis(250), Span::millis(10)..=Span::seconds(10)),
            heartbeat_timeout: section.span("heartbeat_timeout", Span::seconds(30), Span::seconds(1)..=Span::hours(1)),
            crash_quarantine: section.number("crash_quarantine", 2, 1..=10),
            reproducible: section.flag("reproducible", false),
            adapt_threads: section.flag("adapt_threads", true),
            prefix_cache: section.size("prefix_cache", Size::mib(64), Size::kib(0)..=Size::gib(64)).into(),
        };
        section.report.below(
            ("engine.max_stall", Span(engine.max_stall)),
            ("engine.heartbeat_timeout", Span(engine.heartbeat_timeout)),
        );
        engine
    }
}
