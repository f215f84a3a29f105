//! One engine child from its start to its end.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::bytes::Bytes;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::protocol::{BUILD, DELTA_CREDITS, FRAME_MAX, FromChild, Hello, ToChild};
use super::supervisor::{Command, EngineEvent, EngineSpec, Reports};
use super::{EngineError, process};
use crate::job::{ErrorCode, JobError, JobId};

/// Longest time that a child may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest time to wait for a process that is ending.
const GONE_TIMEOUT: Duration = Duration::from_secs(5);

/// Credits are given back in parcels of this size.
const CREDIT_PARCEL: u32 = DELTA_CREDITS / 4;

/// Longest line of a child's log that is read at once.
const LOG_LINE_MAX: u64 = 4096;

/// How a session ended.
pub(super) enum SessionEnd {
    /// The child is gone and was wanted.
    Failed {
        /// Why.
        error: EngineError,
        /// How long it served, if it ever did.
        served: Option<Duration>,
    },
    /// The driver let go of the engine.
    Released,
}

type Socket = Framed<UnixStream, LengthDelimitedCodec>;

/// A child that has said hello and was told what to load.
pub(super) struct Session {
    child: Child,
    socket: Socket,
    running: HashSet<JobId>,
    credits_due: u32,
    loaded_at: Option<Instant>,
    /// When the child counts as stalled.
    stalled_at: Instant,
    counter: Option<u64>,
}

impl Session {
    /// Starts a child and waits for its hello.
    pub(super) async fn start(spec: &EngineSpec, reports: &Reports) -> Result<Self, EngineError> {
        let descriptor = spec.file.descriptor().map_err(EngineError::Spawn)?;
        let (mut child, stream) = process::spawn(&spec.model, descriptor)?;
        if let Some(log) = child.stderr.take() {
            tokio::spawn(forward_log(log, spec.model.to_string()));
        }
        // The driver hears of a load at once, however large the model.
        reports.send(EngineEvent::Loading(0.0)).await;
        let codec = LengthDelimitedCodec::builder().max_frame_length(FRAME_MAX).new_codec();
        let mut socket = Framed::new(stream, codec);
        let hello = timeout(HELLO_TIMEOUT, socket.next()).await.map_err(|_| EngineError::Stalled(HELLO_TIMEOUT))?;
        let Some(hello) = hello else { return Err(ended(&mut child).await) };
        let hello: Hello = decode(&hello?)?;
        if hello != Hello::own() {
            let found = format!("{} (protocol {})", hello.build, hello.protocol);
            return Err(EngineError::WrongBuild { found, own: BUILD.to_owned() });
        }
        let mut session = Self {
            child,
            socket,
            running: HashSet::new(),
            credits_due: 0,
            loaded_at: None,
            stalled_at: Instant::now() + spec.heartbeat_timeout,
            counter: None,
        };
        session.send(&ToChild::Load(spec.load.clone()), spec).await?;
        Ok(session)
    }

    /// Serves until the child or the driver goes away. Every job that was running has then ended.
    pub(super) async fn run(
        mut self,
        spec: &EngineSpec,
        commands: &mut mpsc::Receiver<Command>,
        reports: &Reports,
    ) -> SessionEnd {
        let result = self.serve(spec, commands, reports).await;
        let Err(mut error) = result else { return SessionEnd::Released };
        // First of all: from now on this child gets no more jobs.
        reports.send(EngineEvent::Interrupted).await;
        if matches!(error, EngineError::Connection(_)) {
            error = ended(&mut self.child).await;
        }
        // A stalled child may be stopped or hang in a system call: only SIGKILL is certain.
        if let Err(e) = self.child.start_kill() {
            tracing::debug!("the engine process is gone already: {e}");
        }
        let _ = timeout(GONE_TIMEOUT, self.child.wait()).await;
        let failed = JobError::new(ErrorCode::EngineFailed, error.to_string());
        for job in self.running.drain() {
            reports.send(EngineEvent::Ended { job, result: Err(failed.clone()) }).await;
        }
        SessionEnd::Failed { error, served: self.loaded_at.map(|at| at.elapsed()) }
    }

    async fn serve(
        &mut self,
        spec: &EngineSpec,
        commands: &mut mpsc::Receiver<Command>,
        reports: &Reports,
    ) -> Result<(), EngineError> {
        let load_deadline = Instant::now() + spec.load_timeout;
        loop {
            let deadline = if self.is_loaded() { self.stalled_at } else { self.stalled_at.min(load_deadline) };
            tokio::select! {
                // Frames first: a heartbeat that waits to be read must win against the clock.
                biased;
                frame = self.socket.next() => {
                    let Some(frame) = frame else { return Err(ended(&mut self.child).await) };
                    self.receive(decode(&frame?)?, spec, reports).await?;
                }
                command = commands.recv() => match command {
                    None => return Ok(()),
                    Some(command) => self.obey(command, spec, reports).await?,
                },
                () = sleep_until(deadline) => {
                    let stalled = self.stalled_at <= Instant::now();
                    return Err(if stalled {
                        EngineError::Stalled(spec.heartbeat_timeout)
                    } else {
                        EngineError::LoadTimeout(spec.load_timeout)
                    });
                }
            }
        }
    }

    fn is_loaded(&self) -> bool {
        self.loaded_at.is_some()
    }

    async fn obey(&mut self, command: Command, spec: &EngineSpec, reports: &Reports) -> Result<(), EngineError> {
        match command {
            Command::Submit(job) if self.is_loaded() => {
                self.running.insert(job.id);
                self.send(&ToChild::Submit(job), spec).await
            }
            // It was meant for the child that served before this one.
            Command::Submit(job) => {
                reports.send(EngineEvent::Returned(job.id)).await;
                Ok(())
            }
            Command::Cancel(job) if self.running.contains(&job) => self.send(&ToChild::Cancel(job), spec).await,
            Command::Cancel(_) => Ok(()),
        }
    }

    async fn receive(&mut self, message: FromChild, spec: &EngineSpec, reports: &Reports) -> Result<(), EngineError> {
        let event = match message {
            FromChild::Heartbeat { phase, counter } => {
                // While it loads, one system call may read a whole file: then a heartbeat is enough, and the load has a
                // time-out of its own.
                if self.counter == Some(counter) && self.is_loaded() {
                    tracing::debug!(model = %spec.model, ?phase, counter, "no progress");
                } else {
                    self.counter = Some(counter);
                    self.stalled_at = Instant::now() + spec.heartbeat_timeout;
                }
                return Ok(());
            }
            FromChild::LoadProgress(share) => EngineEvent::Loading(share),
            FromChild::Loaded(report) => {
                self.loaded_at = Some(Instant::now());
                EngineEvent::Ready(report)
            }
            FromChild::LoadFailed(reason) => return Err(EngineError::Refused(reason)),
            FromChild::Delta { job, text } => {
                reports.send(EngineEvent::Delta { job, text }).await;
                return self.give_credit(spec).await;
            }
            FromChild::Finished { job, answer } => {
                self.running.remove(&job);
                EngineEvent::Ended { job, result: Ok(answer) }
            }
            FromChild::Failed { job, code, message } => {
                self.running.remove(&job);
                EngineEvent::Ended { job, result: Err(JobError::new(code, message)) }
            }
        };
        // The driver outlives its engines; without it nobody waits for this.
        reports.send(event).await;
        Ok(())
    }

    async fn give_credit(&mut self, spec: &EngineSpec) -> Result<(), EngineError> {
        self.credits_due += 1;
        if self.credits_due < CREDIT_PARCEL {
            return Ok(());
        }
        let credits = std::mem::take(&mut self.credits_due);
        self.send(&ToChild::Credit(credits), spec).await
    }

    /// A child that reads nothing for so long is stalled, like one that makes no progress.
    async fn send(&mut self, message: &impl Serialize, spec: &EngineSpec) -> Result<(), EngineError> {
        let frame = postcard::to_stdvec(message).map_err(std::io::Error::other)?;
        let sent = timeout(spec.heartbeat_timeout, self.socket.send(Bytes::from(frame))).await;
        Ok(sent.map_err(|_| EngineError::Stalled(spec.heartbeat_timeout))??)
    }
}

fn decode<T: serde::de::DeserializeOwned>(frame: &[u8]) -> Result<T, EngineError> {
    postcard::from_bytes(frame).map_err(|e| EngineError::Connection(std::io::Error::other(e)))
}

/// How the child ended, in words; waits for it a moment.
async fn ended(child: &mut Child) -> EngineError {
    match timeout(GONE_TIMEOUT, child.wait()).await {
        Ok(Ok(status)) => EngineError::Ended(status.to_string()),
        Ok(Err(e)) => EngineError::Connection(e),
        Err(_) => EngineError::Ended("it closed its socket and goes on running".to_owned()),
    }
}

/// Writes a child's log to the daemon's, line by line; lines without a priority come from a dying library.
async fn forward_log(log: impl AsyncRead + Unpin, model: String) {
    let mut log = BufReader::new(log);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut log).take(LOG_LINE_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        let (priority, text) = split_priority(text);
        match priority {
            0..=3 => tracing::error!(target: "promptd::engine", %model, "{text}"),
            4 => tracing::warn!(target: "promptd::engine", %model, "{text}"),
            5 | 6 => tracing::info!(target: "promptd::engine", %model, "{text}"),
            _ => tracing::debug!(target: "promptd::engine", %model, "{text}"),
        }
    }
}

fn split_priority(line: &str) -> (u8, &str) {
    let prefixed = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    match prefixed.and_then(|(digit, rest)| digit.parse().ok().map(|priority| (priority, rest))) {
        Some(found) => found,
        None => (3, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_carry_their_priority_and_others_are_errors() {
        assert_eq!(split_priority("<6>text"), (6, "text"));
        assert_eq!(split_priority("GGML_ASSERT(x) failed"), (3, "GGML_ASSERT(x) failed"));
        assert_eq!(split_priority("<x>text"), (3, "<x>text"));
    }
}
