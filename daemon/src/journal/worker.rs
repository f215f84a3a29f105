//! The thread that owns the file.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::batch::Batch;
use super::event::Progress;
use super::mailbox::{Mailbox, Question, Work};
use super::sessions::SessionKey;
use super::store::Store;
use super::throttle::Throttle;
use super::time::Stamp;
use super::{Outcome, remembering};
use crate::job::{JobId, Memory};

/// First pause before what could not be written is tried again, doubled up to the last.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// An answer to a question.
pub(super) enum Answer {
    Outcome(JobId, Option<Outcome>),
    Session(SessionKey, Option<Memory>),
}

pub(super) struct Worker {
    pub mailbox: Arc<Mailbox>,
    pub store: Store,
    pub throttle: Throttle,
    pub progress: watch::Sender<Progress>,
    /// Has a place for each question that may be asked.
    pub answers: mpsc::Sender<Answer>,
    pub retry: Option<Retry>,
}

/// What is known of a disk that takes nothing.
#[derive(Clone, Copy)]
pub(super) struct Retry {
    at: Instant,
    pause: Duration,
}

impl Worker {
    /// Writes until there is nothing more to come.
    pub fn run(mut self) {
        loop {
            let Work { batch, questions, closing } =
                self.mailbox.take(&self.throttle, self.retry.map(|retry| retry.at));
            let last = batch.note;
            if !batch.is_empty() {
                self.write(batch);
            }
            self.answer(questions);
            if closing {
                self.end(last);
                return;
            }
        }
    }

    fn write(&mut self, batch: Batch) {
        let number = batch.last;
        self.throttle.begins(Instant::now(), batch.sync);
        let ready = if self.retry.is_some() { self.store.checkpoint() } else { Ok(()) };
        match ready.and_then(|()| self.store.write(&batch)) {
            Ok(()) => {
                self.mailbox.written();
                if self.retry.take().is_some() {
                    tracing::info!("the journal is written again");
                }
                self.progress.send_modify(|progress| {
                    progress.written = progress.written.max(number);
                    progress.trouble = None;
                });
            }
            Err(error) => self.failed(batch, &error),
        }
    }

    fn failed(&mut self, batch: Batch, error: &rusqlite::Error) {
        let reason = format!("{}: {error}", self.store.name().display());
        if self.retry.is_none() {
            tracing::error!("the journal cannot be written: {reason}");
        }
        self.mailbox.put_back(batch);
        let pause = self.retry.map_or(RETRY_MIN, |retry| (retry.pause * 2).min(RETRY_MAX));
        self.retry = Some(Retry { at: Instant::now() + pause, pause });
        self.progress.send_if_modified(|progress| {
            let news = progress.trouble.as_ref() != Some(&reason);
            progress.trouble = Some(reason);
            news
        });
    }

    fn answer(&self, questions: VecDeque<Question>) {
        for question in questions {
            let answer = match question {
                Question::Outcome(job) => Answer::Outcome(job, self.outcome(job)),
                Question::Session(number, key) => Answer::Session(key, self.memory(number)),
            };
            // Nobody listens when the daemon is stopping.
            let _ = self.answers.try_send(answer);
        }
    }

    fn outcome(&self, job: JobId) -> Option<Outcome> {
        let outcome = self.store.outcome(job).unwrap_or_else(|error| {
            tracing::error!(%job, "an outcome cannot be read from the journal: {error}");
            None
        });
        outcome.or_else(|| self.mailbox.outcome(job))
    }

    fn memory(&self, number: u64) -> Option<Memory> {
        let content = self.mailbox.session(number).or_else(|| {
            self.store.session(number).unwrap_or_else(|error| {
                tracing::error!("a session cannot be read from the journal: {error}");
                None
            })
        });
        content.and_then(|content| remembering::read(&content))
    }

    fn end(self, last: Option<Stamp>) {
        let result = match last {
            _ if self.retry.is_some() => return tracing::error!("what the journal could not write is lost"),
            Some(stamp) => self.store.end(stamp),
            None => Ok(()),
        };
        if let Err(error) = result {
            tracing::error!("the journal was not closed as it should be: {error}");
        }
    }
}
