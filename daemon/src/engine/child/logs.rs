//! The child's log goes to standard error, which the daemon reads: one line an event, its priority in front as systemd
//! writes it (`<4>llama-cpp-2: text`).

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Starts logging. llama.cpp's chatter is kept at debug; the daemon decides what is shown.
pub fn init() {
    let subscriber = tracing_subscriber::fmt()
        .event_format(WithPriority)
        .with_writer(std::io::stderr)
        .with_max_level(Level::INFO)
        .finish();
    // Set once, first thing in the process.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

struct WithPriority;

impl<S, N> FormatEvent<S, N> for WithPriority
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let engine = metadata.target().starts_with("promptd");
        let priority = match *metadata.level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO if engine => 6,
            _ => 7,
        };
        write!(out, "<{priority}>")?;
        context.field_format().format_fields(out.by_ref(), event)?;
        writeln!(out)
    }
}
