//! The server of the control socket.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::ControlError;
use super::call::ControlCall;
use super::connection::Connection;
use super::limits::Limits;
use super::socket::SocketFile;
use super::wire::Answer;
use crate::job::{ErrorCode, JobError};

/// How long nobody is let in after the operating system refused a connection, for want of descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves the control socket as long as it is kept; then every connection ends and the socket is removed.
#[derive(Debug)]
pub struct ControlServer {
    calls: mpsc::Receiver<ControlCall>,
    task: JoinHandle<()>,
    _socket: SocketFile,
}

impl ControlServer {
    /// Makes the socket `path`, mode 0660, and serves it. It gets `group` if there is a group of that name and this
    /// process may give it away, else it keeps the process' own group. A folder that is missing is made, mode 0755; one
    /// above it is not. A socket that a dead daemon left is replaced. Must be called within a runtime.
    pub async fn bind(path: &Path, group: Option<&str>) -> Result<Self, ControlError> {
        Self::bind_with(path, group, Limits::default()).await
    }

    pub(super) async fn bind_with(path: &Path, group: Option<&str>, limits: Limits) -> Result<Self, ControlError> {
        let (socket, listener) = SocketFile::create(path, group).await?;
        // A connection asks once at a time.
        let (sender, calls) = mpsc::channel(limits.connections);
        let task = tokio::spawn(accept(listener, sender, limits));
        Ok(Self { calls, task, _socket: socket })
    }

    /// The next request. The wait can be given up without loss.
    pub async fn next(&mut self) -> Option<ControlCall> {
        self.calls.recv().await
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: UnixListener, calls: mpsc::Sender<ControlCall>, limits: Limits) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < limits.connections => {
                connections.spawn(Connection::new(stream, calls.clone(), limits).serve());
            }
            Ok((stream, _)) => refuse(stream, limits.connections),
            Err(error) => {
                tracing::warn!("a control connection was refused: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One too many. A fresh socket has room for the line; whoever is gone already needs none.
fn refuse(stream: UnixStream, max: usize) {
    tracing::debug!(max, "a control connection was refused: too many are open");
    let error = JobError::new(ErrorCode::QueueFull, format!("{max} control connections are open, which is the limit"));
    let line = Answer::error(&error).line();
    if let Err(error) = stream.into_std().and_then(|mut stream| stream.write_all(&line)) {
        tracing::debug!("a refused control connection broke: {error}");
    }
}
