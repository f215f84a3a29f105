//! The control socket from the other side: one question, its progress, its answer.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use promptd::job::{ClientName, ModelName, RequestId, SessionName};
use promptd::plan::Strategy;
use serde::Serialize;
use serde_json::Value;

use crate::cli::Failure;
use crate::cli::client::refused;

/// How long the daemon may take for what it only has to look up; for a look at itself it takes 30 s at most.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(40);

/// Longest line of an answer in bytes: thousands of documents.
const ANSWER_MAX: u64 = 16 << 20;

/// What is asked, as it goes over the socket.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Question<'a> {
    /// One of `promptd::job::Control::verbs`.
    pub verb: &'static str,
    /// Which model, if the verb takes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<&'a ModelName>,
    /// With which strategy, if the verb takes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Whose jobs, if the verb is about jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<&'a ClientName>,
    /// Which job of that client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<&'a RequestId>,
    /// Which session of that client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<&'a SessionName>,
    /// Every job there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
}

impl Question<'_> {
    /// The verb alone.
    pub fn of(verb: &'static str) -> Self {
        Self { verb, model: None, strategy: None, client: None, job: None, session: None, all: None }
    }

    /// How long an answer may take; what changes something takes as long as it takes.
    pub fn timeout(&self) -> Option<Duration> {
        matches!(self.verb, "status" | "info" | "models" | "jobs" | "tasks" | "diagnose").then_some(LOOKUP_TIMEOUT)
    }
}

/// Takes what a node says about a question: hands a step to `progress`, or gives the end.
pub fn heard(answer: &Value, progress: &mut impl FnMut(&str, Option<f64>)) -> Option<Result<Value, Failure>> {
    match answer["event"].as_str() {
        Some("progress") => {
            progress(answer["step"].as_str().unwrap_or_default(), answer["progress"].as_f64());
            None
        }
        Some("result") => Some(Ok(answer["output"].clone())),
        Some("error") => Some(Err(refused(answer))),
        // Of a later version.
        _ => None,
    }
}

/// A connection to the daemon on this machine.
pub struct Node {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Node {
    /// Connects to the socket `path`.
    pub fn connect(path: &Path) -> Result<Self, Failure> {
        Self::find(path)?.ok_or_else(|| {
            Failure::unavailable(anyhow!("no daemon listens at {}: is promptd running?", path.display()))
        })
    }

    /// Connects to the socket `path`, if a daemon listens there.
    pub fn find(path: &Path) -> Result<Option<Self>, Failure> {
        let shown = path.display();
        match UnixStream::connect(path) {
            Ok(stream) => Ok(Some(Self { path: path.to_owned(), stream: BufReader::new(stream) })),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => Ok(None),
                ErrorKind::PermissionDenied => Err(Failure::unavailable(anyhow!(
                    "{shown} may not be opened by this user: are you in the group promptd?"
                ))),
                _ => Err(Failure::unavailable(anyhow!("cannot connect to {shown}: {error}"))),
            },
        }
    }

    /// Asks, hands each step of progress with the share that is done to `progress`, and gives the output.
    pub fn ask(
        &mut self,
        question: &Question<'_>,
        mut progress: impl FnMut(&str, Option<f64>),
    ) -> Result<Value, Failure> {
        let mut line = serde_json::to_vec(question).map_err(Failure::software)?;
        line.push(b'\n');
        self.stream.get_ref().set_read_timeout(question.timeout()).map_err(Failure::software)?;
        // A daemon that has no room for us says so and closes: its word counts more than that we could not write.
        let sent = self.stream.get_mut().write_all(&line);
        loop {
            let answer = match self.answer() {
                Ok(answer) => answer,
                Err(error) => return Err(self.broken(sent.as_ref().err().unwrap_or(&error))),
            };
            if let Some(end) = heard(&answer, &mut progress) {
                return end;
            }
        }
    }

    fn answer(&mut self) -> io::Result<Value> {
        let mut line = Vec::new();
        self.stream.by_ref().take(ANSWER_MAX).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "it closed the connection"));
        }
        serde_json::from_slice(&line).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    }

    fn broken(&self, error: &io::Error) -> Failure {
        let path = self.path.display();
        Failure::unavailable(match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                anyhow!("the daemon at {path} did not answer within {LOOKUP_TIMEOUT:?}")
            }
            _ => anyhow!("the connection to the daemon at {path} broke: {error}"),
        })
    }
}
