//! What the journal holds.

use super::node::float;
use super::{Writer, measured, one, plain};
use crate::telemetry::Snapshot;

pub(super) fn write(to: &mut Writer<'_>, now: &Snapshot) -> std::fmt::Result {
    let usage = now.journal.usage;
    to.gauge(plain("journal_writable", "1 if what is accepted reaches the disk"), one(now.journal.writable))?;
    to.gauge(plain("journal_open_jobs", "Jobs in the journal that have not ended"), usage.open as f64)?;
    to.gauge(plain("journal_sessions", "Conversations that are remembered"), usage.sessions as f64)?;
    to.gauge(plain("journal_outcomes", "Outcomes that are kept"), usage.outcomes as f64)?;
    let help = "What jobs and outcomes take, and what is set aside for outcomes";
    to.gauge(measured("journal_used", "bytes", help), float(usage.used.0))?;
    to.gauge(measured("journal_limit", "bytes", "What they may take"), float(usage.max.0))?;
    to.gauge(measured("journal_waiting", "bytes", "What waits for the disk"), float(usage.waiting.0))
}
