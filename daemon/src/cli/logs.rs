//! Where the log goes: to journald with structured fields when standard error is connected to it, else to standard error,
//! with colours on a terminal.

use std::env;
use std::io::{IsTerminal, stderr};

use promptd::config::LogLevel;
use promptd::service::SetLogLevel;
use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::log_rate::LogRate;

/// Overrides `service.log_level`, in the syntax of tracing's filters (`debug`, `promptd::mqtt=trace`).
const VARIABLE: &str = "PROMPTD_LOG";

/// Starts logging; gives what changes the level later.
pub fn init(level: LogLevel) -> SetLogLevel {
    let (filter, handle) = reload::Layer::new(filter_of(level));
    let subscriber = tracing_subscriber::registry().with(output()).with(LogRate::default()).with(filter);
    // Set once, at the start of the process.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Box::new(move |level| {
        if let Err(e) = handle.reload(filter_of(level)) {
            tracing::error!("the log level stays as it is: {e}");
        }
    })
}

fn filter_of(level: LogLevel) -> EnvFilter {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let filter = env::var(VARIABLE).ok().and_then(|text| {
        EnvFilter::try_new(&text).inspect_err(|e| eprintln!("promptd: {VARIABLE}={text:?} is no filter: {e}")).ok()
    });
    // rumqttc prints topics and whole packets at debug; its errors come back to us as values.
    let quiet = "rumqttc=off".parse().expect("a valid directive");
    filter.unwrap_or_else(|| EnvFilter::new(level)).add_directive(quiet)
}

fn output() -> Box<dyn Layer<Registry> + Send + Sync> {
    if stderr_is_journal() {
        match tracing_journald::layer() {
            Ok(journal) => return journal.with_field_prefix(None).boxed(),
            Err(e) => eprintln!("promptd: cannot reach journald, logging to standard error: {e}"),
        }
    }
    plain()
}

fn plain<S: Subscriber + for<'a> LookupSpan<'a>>() -> Box<dyn Layer<S> + Send + Sync> {
    let layer = tracing_subscriber::fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal());
    layer.with_target(false).boxed()
}

/// systemd names the device and inode of the stream it connected: `JOURNAL_STREAM=dev:inode`.
fn stderr_is_journal() -> bool {
    let Ok(expected) = env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(stderr()).is_ok_and(|stat| expected == format!("{}:{}", stat.st_dev, stat.st_ino))
}
