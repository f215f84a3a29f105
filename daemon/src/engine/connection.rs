//! A child process and the frames to and from it.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::bytes::Bytes;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::log::forward_log;
use super::protocol::{BUILD, EngineLoad, FRAME_MAX, FromChild, Hello, ToChild};
use super::{EngineError, process};
use crate::job::ModelName;

/// Longest time that a child may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest time to wait for a process that is ending.
const GONE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a child is started with.
pub(super) struct Launch<'a> {
    /// The model's name, for the list of processes and the log.
    pub model: &'a ModelName,
    /// The model's file.
    pub file: OwnedFd,
    /// A file to write.
    pub output: Option<OwnedFd>,
    /// Longest time without progress.
    pub heartbeat_timeout: Duration,
}

/// A child that has said hello. Dropping it kills the child.
pub(super) struct Connection {
    child: Child,
    socket: Framed<UnixStream, LengthDelimitedCodec>,
    model: ModelName,
    heartbeat_timeout: Duration,
    /// When the child counts as stalled.
    stalled_at: Instant,
    /// When a heartbeat told of progress last.
    progress_at: Instant,
    counter: Option<u64>,
    /// Whether a heartbeat alone is no progress any more.
    strict: bool,
    /// Where the child's load is shown; nobody looks at that of a dry run.
    load: Option<watch::Sender<EngineLoad>>,
}

impl Connection {
    /// Starts a child and waits for its hello.
    pub(super) async fn open(launch: Launch<'_>) -> Result<Self, EngineError> {
        let Launch { model, file, output, heartbeat_timeout } = launch;
        let (mut child, stream) = process::spawn(model, file, output)?;
        if let Some(log) = child.stderr.take() {
            tokio::spawn(forward_log(log, model.to_string()));
        }
        let codec = LengthDelimitedCodec::builder().max_frame_length(FRAME_MAX).new_codec();
        let mut socket = Framed::new(stream, codec);
        let hello = timeout(HELLO_TIMEOUT, socket.next()).await.map_err(|_| EngineError::Stalled(HELLO_TIMEOUT))?;
        let Some(hello) = hello else { return Err(ended(&mut child).await) };
        let hello: Hello = decode(&hello?)?;
        if hello != Hello::own() {
            let found = format!("{} (protocol {})", hello.build, hello.protocol);
            return Err(EngineError::WrongBuild { found, own: BUILD.to_owned() });
        }
        let (model, progress_at) = (model.clone(), Instant::now());
        let stalled_at = progress_at + heartbeat_timeout;
        let (counter, strict, load) = (None, false, None);
        Ok(Self { child, socket, model, heartbeat_timeout, stalled_at, progress_at, counter, strict, load })
    }

    /// When a heartbeat told of progress last.
    pub(super) fn progress_at(&self) -> Instant {
        self.progress_at
    }

    /// The child's process id; none if it has ended.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Shows the child's load there from now on.
    pub(super) fn show_load(&mut self, load: watch::Sender<EngineLoad>) {
        self.load = Some(load);
    }

    /// From now on each heartbeat must tell of progress. Before, one system call may read a whole file: then a heartbeat is
    /// enough, and whoever waits has a time-out of their own.
    pub(super) fn expect_progress(&mut self) {
        self.strict = true;
    }

    /// A child that reads nothing for so long is stalled, like one that makes no progress.
    pub(super) async fn send(&mut self, message: &ToChild) -> Result<(), EngineError> {
        let frame = postcard::to_stdvec(message).map_err(std::io::Error::other)?;
        let sent = timeout(self.heartbeat_timeout, self.socket.send(Bytes::from(frame))).await;
        Ok(sent.map_err(|_| EngineError::Stalled(self.heartbeat_timeout))??)
    }

    /// The next message that is no heartbeat. May be given up without loss.
    pub(super) async fn receive(&mut self) -> Result<FromChild, EngineError> {
        loop {
            let message = tokio::select! {
                // A heartbeat that waits to be read must win against the clock.
                biased;
                frame = self.socket.next() => match frame {
                    Some(frame) => decode(&frame?)?,
                    None => return Err(ended(&mut self.child).await),
                },
                () = sleep_until(self.stalled_at) => return Err(EngineError::Stalled(self.heartbeat_timeout)),
            };
            if let (FromChild::Heartbeat { load, .. }, Some(shown)) = (&message, &self.load) {
                shown.send_replace(*load);
            }
            match message {
                FromChild::Heartbeat { phase, counter, .. } if self.strict && self.counter == Some(counter) => {
                    tracing::debug!(model = %self.model, ?phase, counter, "no progress");
                }
                FromChild::Heartbeat { counter, .. } => {
                    if self.counter.replace(counter) != Some(counter) {
                        self.progress_at = Instant::now();
                    }
                    self.stalled_at = Instant::now() + self.heartbeat_timeout;
                }
                message => return Ok(message),
            }
        }
    }

    /// What the child died of, where that tells more than the error that was noticed.
    pub(super) async fn explain(&mut self, error: EngineError) -> EngineError {
        if matches!(error, EngineError::Connection(_)) { ended(&mut self.child).await } else { error }
    }

    /// Ends the child and waits until it is gone, with its memory.
    pub(super) async fn end(mut self) {
        // A stalled child may be stopped or hang in a system call: only SIGKILL is certain.
        if let Err(e) = self.child.start_kill() {
            tracing::debug!("the engine process is gone already: {e}");
        }
        let _ = timeout(GONE_TIMEOUT, self.child.wait()).await;
    }
}

fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, EngineError> {
    postcard::from_bytes(frame).map_err(|e| EngineError::Connection(std::io::Error::other(e)))
}

/// How the child ended, in words; waits for it a moment.
async fn ended(child: &mut Child) -> EngineError {
    match timeout(GONE_TIMEOUT, child.wait()).await {
        Ok(Ok(status)) => match status.signal() {
            Some(SIGKILL) => EngineError::Killed,
            _ => EngineError::Ended(status.to_string()),
        },
        Ok(Err(e)) => EngineError::Connection(e),
        Err(_) => EngineError::Ended("it closed its socket and goes on running".to_owned()),
    }
}

/// What the out-of-memory killer sends.
const SIGKILL: i32 = 9;
