//! One peer: its requests in turn, and their answers.

use std::io;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::call::{Answers, ControlCall, ControlReply};
use super::limits::Limits;
use super::lines::{Line, Lines};
use super::wire::{self, Answer};
use crate::job::{ErrorCode, JobError};

pub(super) struct Connection {
    lines: Lines<OwnedReadHalf>,
    write: OwnedWriteHalf,
    calls: mpsc::Sender<ControlCall>,
    limits: Limits,
}

impl Connection {
    pub fn new(stream: UnixStream, calls: mpsc::Sender<ControlCall>, limits: Limits) -> Self {
        let (read, write) = stream.into_split();
        Self { lines: Lines::new(read, limits), write, calls, limits }
    }

    /// Serves until the peer goes, idles, or does not take its answers.
    pub async fn serve(mut self) {
        if let Err(error) = self.requests().await {
            tracing::debug!("a control connection broke: {error}");
        }
    }

    async fn requests(&mut self) -> io::Result<()> {
        loop {
            match self.lines.next().await {
                Line::Whole(line) => self.request(&line).await?,
                Line::TooLong => {
                    let text = format!("the line is too long; allowed are {} bytes", self.limits.line);
                    self.refuse(ErrorCode::TooLarge, &text).await?;
                }
                Line::Late => {
                    let text = format!("the line did not end within {:?}", self.limits.line_time);
                    return self.refuse(ErrorCode::InvalidRequest, &text).await;
                }
                Line::End => return Ok(()),
            }
        }
    }

    async fn request(&mut self, line: &[u8]) -> io::Result<()> {
        let control = match wire::read(line) {
            Ok(control) => control,
            Err(error) => return self.write(&Answer::error(&error)).await,
        };
        let verb = control.verb();
        let (reply, answers) = ControlReply::new();
        if self.calls.send(ControlCall { control, reply }).await.is_err() {
            return self.refuse(ErrorCode::Draining, "the node is stopping").await;
        }
        self.answer(verb, answers).await
    }

    async fn answer(&mut self, verb: &str, mut answers: Answers) -> io::Result<()> {
        let end = loop {
            tokio::select! {
                // What was said before the end comes before it.
                biased;
                Some(progress) = answers.progress.recv() => self.write(&Answer::progress(verb, &progress)).await?,
                end = &mut answers.end => break end,
            }
        };
        let lost = |_| Err(JobError::new(ErrorCode::Internal, "the request was dropped without an answer"));
        self.write(&Answer::end(verb, &end.unwrap_or_else(lost))).await
    }

    async fn refuse(&mut self, code: ErrorCode, text: &str) -> io::Result<()> {
        self.write(&Answer::error(&JobError::new(code, text))).await
    }

    async fn write(&mut self, answer: &Answer<'_>) -> io::Result<()> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the peer does not take its answer");
        timeout(self.limits.write_time, self.write.write_all(&answer.line())).await.map_err(late)?
    }
}
