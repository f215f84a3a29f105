//! `[service]`: the daemon itself.

use std::path::PathBuf;
use std::time::Duration;

use super::machine::Machine;
use super::section::Section;
use super::unit::Span;
use super::value;

/// Linux's `sun_path`, unix(7), less the NUL at its end.
const SOCKET_PATH_MAX: usize = 107;

/// The daemon itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// How long a stop waits for running jobs.
    pub drain_timeout: Duration,
    /// What is logged.
    pub log_level: LogLevel,
    /// The folder for what must last: derived models, and what earlier loads have taught.
    pub state_dir: PathBuf,
    /// The Unix socket for the local command line. One that a file sets has at most 107 bytes.
    pub control_socket: PathBuf,
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
    pub(super) fn read(section: &mut Section<'_, '_, '_>, machine: &Machine) -> Self {
        let folder = section.folder_of("state_dir");
        let state_dir = section.optional("state_dir", |value| value::path(value, folder));
        let folder = section.folder_of("control_socket");
        let control_socket = section.optional("control_socket", |value| socket(value::path(value, folder)?));
        Self {
            drain_timeout: section.span("drain_timeout", Span::seconds(30), Span::seconds(0)..=Span::minutes(10)),
            log_level: section.choice("log_level", LogLevel::Info, &LogLevel::WORDS),
            state_dir: state_dir.unwrap_or_else(|| machine.state_dir()),
            control_socket: control_socket.unwrap_or_else(|| machine.control_socket()),
        }
    }
}

/// The whole path counts, with the folder that a relative one starts from.
fn socket(path: PathBuf) -> Result<PathBuf, String> {
    match path.as_os_str().len() {
        1..=SOCKET_PATH_MAX => Ok(path),
        bytes => Err(format!("has {bytes} bytes; allowed are 1 to {SOCKET_PATH_MAX}")),
    }
}
