//! The child's log goes to standard error, which the daemon reads: one line an event, its priority in front as systemd
//! writes it (`<4>llama-cpp-2: text`).

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Whether llama.cpp has been told to leave a step: what it then calls an error is none.
static LEAVING: AtomicBool = AtomicBool::new(false);

/// The first thing that llama.cpp called an error: what follows are its consequences.
static FIRST_ERROR: OnceLock<String> = OnceLock::new();

/// Longest text of an error that is kept.
const ERROR_MAX: usize = 300;

/// What llama.cpp called an error first, if it has.
pub fn first_error() -> Option<&'static str> {
    FIRST_ERROR.get().map(String::as_str)
}

/// Says that llama.cpp's errors are expected from now on, or no longer.
pub fn expect_abort(expected: bool) {
    LEAVING.store(expected, Ordering::Relaxed);
}

/// Starts logging. llama.cpp's chatter is kept at debug; the daemon decides what is shown.
pub fn init() {
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
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
            _ if !engine && LEAVING.load(Ordering::Relaxed) => 7,
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO if engine => 6,
            _ => 7,
        };
        let mut text = String::new();
        context.field_format().format_fields(Writer::new(&mut text), event)?;
        if priority == 3 && !engine {
            // The message comes first, then fields with the place in the source.
            let message = text.split(" module=").next().unwrap_or_default();
            FIRST_ERROR.get_or_init(|| message[..message.floor_char_boundary(ERROR_MAX)].trim().to_owned());
        }
        writeln!(out, "<{priority}>{text}")
    }
}
