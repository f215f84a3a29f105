//! `[limits]`: what clients may ask for.

use std::time::Duration;

use super::section::Section;
use super::unit::{Size, Span};

/// What clients may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the largest request.
    pub request: usize,
    /// Bytes of the largest answer.
    pub result: usize,
    /// Jobs that wait at once; fewer than `mqtt.outbox_max`.
    pub queue_jobs: usize,
    /// Of these, jobs of one client; at most `queue_jobs`.
    pub queue_jobs_per_client: usize,
    /// Tokens of an answer where the request names no number.
    pub max_tokens: u32,
    /// The largest number that a request may name; at least `max_tokens`.
    pub max_tokens_cap: u32,
    /// Texts of one request that has many.
    pub inputs: usize,
    /// Bytes of what holds an answer to a form: a schema, choices or a regular expression.
    pub schema: usize,
    /// Steps of one pipeline.
    pub pipeline_steps: usize,
    /// Items for each of which a step is done.
    pub for_each: usize,
    /// Time for a job where the request names none.
    pub deadline: Duration,
    /// The longest time that a request may name; at least `deadline`.
    pub deadline_cap: Duration,
}

impl Limits {
    pub(super) fn read(section: &mut Section<'_, '_, '_>) -> Self {
        let limits = Self {
            // Both ends fit into a frame to the engine, whose cap is 8 MiB.
            request: section.size("request", Size::kib(256), Size::kib(1)..=Size::mib(4)).bytes(),
            result: section.size("result", Size::kib(512), Size::kib(1)..=Size::mib(4)).bytes(),
            queue_jobs: section.number("queue_jobs", 256, 1..=65_536),
            queue_jobs_per_client: section.number("queue_jobs_per_client", 64, 1..=65_536),
            max_tokens: section.number("max_tokens", 256, 1..=1_048_576),
            max_tokens_cap: section.number("max_tokens_cap", 4096, 1..=1_048_576),
            schema: section.size("schema", Size::kib(16), Size(64)..=Size::kib(256)).bytes(),
            inputs: section.number("inputs", 64, 1..=1024),
            pipeline_steps: section.number("pipeline_steps", 32, 1..=256),
            for_each: section.number("for_each", 64, 1..=1024),
            deadline: section.span("deadline", Span::minutes(5), Span::millis(100)..=Span::days(7)),
            deadline_cap: section.span("deadline_cap", Span::hours(1), Span::millis(100)..=Span::days(7)),
        };
        let report = &mut *section.report;
        report.at_most(
            ("limits.queue_jobs_per_client", limits.queue_jobs_per_client),
            ("limits.queue_jobs", limits.queue_jobs),
        );
        report.at_most(("limits.max_tokens", limits.max_tokens), ("limits.max_tokens_cap", limits.max_tokens_cap));
        report.at_most(("limits.deadline", Span(limits.deadline)), ("limits.deadline_cap", Span(limits.deadline_cap)));
        limits
    }
}
