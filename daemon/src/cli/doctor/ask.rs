//! Asks the daemon on this machine.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;

use promptd::doctor::Daemon;
use serde_json::Value;

use crate::cli::Failure;
use crate::cli::node::socket::{Node, Question};

/// What it says, or why it says nothing.
pub fn daemon(socket: &Path) -> Daemon {
    match UnixStream::connect(socket) {
        Ok(_) => answers(socket).unwrap_or_else(|failure| Daemon::Broken(failure.text())),
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Daemon::Absent,
            ErrorKind::PermissionDenied => Daemon::Forbidden,
            _ => Daemon::Broken(format!("cannot connect to {}: {error}", socket.display())),
        },
    }
}

fn answers(socket: &Path) -> Result<Daemon, Failure> {
    let mut node = Node::connect(socket)?;
    let mut ask = |verb: &'static str| -> Result<Value, Failure> { node.ask(&Question::of(verb), |_, _| {}) };
    Ok(Daemon::Answers { status: ask("status")?, info: ask("info")?, models: ask("models")? })
}
