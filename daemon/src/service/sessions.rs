//! Sessions: jobs of one run one after the other, each with what the session remembers.
//!
//! A job that is not the first of its session is held in the queue, and the first one until it is known what the session
//! remembers. That is asked for as soon as a job is the first, so that it does not lose its turn over it.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::driver::Driver;
use super::operator::Answer;
use super::policy;
use crate::engine::protocol::{EngineJob, SessionNumber, SessionUse};
use crate::job::{
    ClientName, ErrorCode, JobError, JobId, Memory, Message, Output, Recalled, Request, Session, SessionName,
    SessionReport, Task,
};
use crate::journal::{Recall, Turn};

type Key = (ClientName, SessionName);

/// The sessions that have open jobs.
#[derive(Default)]
pub(super) struct Sessions {
    lines: HashMap<Key, Line>,
    /// Makes the numbers by which engines know them, which are others in each run.
    numbers: RandomState,
}

/// The open jobs of a session.
#[derive(Default)]
struct Line {
    /// In the order of their arrival.
    jobs: BTreeSet<JobId>,
    /// For the first of them.
    memory: Knowledge,
    /// Turns that the first of them goes without.
    dropped: usize,
    /// What the session remembers with the answer of the first of them.
    next: Option<Memory>,
}

/// What is known of a session's memory.
#[derive(Default)]
enum Knowledge {
    #[default]
    Unknown,
    /// It is to be asked for when questions are taken again.
    Wanted,
    Asked,
    Known(Memory),
}

impl Sessions {
    fn line(&mut self, request: &Request) -> Option<&mut Line> {
        self.lines.get_mut(&key(request)?)
    }

    /// The job for an engine that takes so many bytes of text: a turn of a session with what that remembers.
    pub(super) fn recalled(&mut self, job: EngineJob, request: &Request, bytes_max: usize) -> EngineJob {
        let nothing = Memory::default();
        let (Some(line), Task::Chat { messages }) = (self.line(request), &job.task) else { return job };
        let known = if let Knowledge::Known(memory) = &line.memory { memory } else { &nothing };
        let is_reset = request.session.as_ref().is_some_and(|session| session.reset);
        let Recalled { messages, memory, dropped } =
            (if is_reset { &nothing } else { known }).recall(messages, bytes_max);
        line.dropped = dropped;
        EngineJob { task: Task::Chat { messages }, memory, ..job }
    }

    /// The session of a request as engines know it, where it goes on with one.
    pub(super) fn of_engines(&self, request: &Request, keep: Duration) -> Option<SessionUse> {
        let session = request.session.as_ref()?;
        let client = self.client_number(&request.client);
        Some(SessionUse { number: SessionNumber { client, session: self.session_number(&session.name) }, keep })
    }

    fn client_number(&self, client: &ClientName) -> u64 {
        self.numbers.hash_one(client)
    }

    fn session_number(&self, session: &SessionName) -> u64 {
        self.numbers.hash_one(session)
    }

    /// The job in front of a session, and whether what it needs to know is on its way.
    fn first(&self, key: &Key) -> Option<(JobId, bool)> {
        let line = self.lines.get(key)?;
        Some((*line.jobs.first()?, matches!(line.memory, Knowledge::Wanted | Knowledge::Asked)))
    }
}

fn key(request: &Request) -> Option<Key> {
    let session = request.session.as_ref()?;
    Some((request.client.clone(), session.name.clone()))
}

fn messages(request: &Request) -> &[Message] {
    match &request.task {
        Task::Chat { messages } => messages,
        _ => &[],
    }
}

impl Driver {
    /// Refuses a turn of a session that its client may not have, or that is too large for one.
    pub(super) fn check_session(&self, request: &Request) -> Result<(), JobError> {
        if request.session.is_none() {
            return Ok(());
        }
        if let Some(policy) = self.config.policy_of(&request.client).filter(|policy| policy.sessions == Some(0)) {
            return Err(policy::no_sessions(policy));
        }
        let max = self.config.session.size_max;
        Memory::fits(messages(request), max).map_err(|size| {
            let text = format!("the turn has {size} bytes; a session may have {max} (session.size_max)");
            JobError::new(ErrorCode::TooLarge, text)
        })
    }

    /// A job of the queue joins its session, if it has one.
    pub(super) fn join_session(&mut self, id: JobId) {
        let Some(key) = self.jobs.get(id).and_then(|job| key(&job.request)) else { return };
        self.sessions.lines.entry(key.clone()).or_default().jobs.insert(id);
        self.hold(id);
        if self.sessions.first(&key) == Some((id, false)) {
            self.remembers(id);
        }
    }

    /// A job that joins a queue waits there for its session.
    pub(super) fn hold(&mut self, id: JobId) {
        let Some(key) = self.jobs.get(id).and_then(|job| key(&job.request)) else { return };
        if self.sessions.first(&key) != Some((id, false)) {
            self.queue.hold(id);
        }
    }

    /// Whether a job whose turn has come can start. If not, it is held until what its session remembers is known.
    pub(super) fn remembers(&mut self, id: JobId) -> bool {
        let Some(job) = self.jobs.get(id) else { return true };
        let Some(line) = self.sessions.line(&job.request) else { return true };
        let Some(Session { name, .. }) = &job.request.session else { return true };
        let asked = match &line.memory {
            Knowledge::Known(_) => return true,
            Knowledge::Wanted | Knowledge::Asked => {
                self.queue.hold(id);
                return false;
            }
            Knowledge::Unknown => self.recorder.journal.recall(&job.request.client, name),
        };
        line.memory = match asked {
            Recall::Nothing => Knowledge::Known(Memory::default()),
            Recall::Asked => Knowledge::Asked,
            Recall::Later => Knowledge::Wanted,
        };
        let known = matches!(line.memory, Knowledge::Known(_));
        if !known {
            self.queue.hold(id);
        }
        known
    }

    /// What a session remembers is known.
    pub(super) fn on_recalled(&mut self, client: ClientName, session: SessionName, memory: Option<Memory>) {
        let key = (client, session);
        let line = self.sessions.lines.get_mut(&key).filter(|line| matches!(line.memory, Knowledge::Asked));
        // Otherwise it was forgotten meanwhile, and what there is by now is another one.
        if let Some(line) = line {
            let (client, session) = &key;
            if memory.is_none() && self.recorder.journal.forget_sessions(client, Some(session)) > 0 {
                tracing::error!(%client, %session, "a session cannot be read and is forgotten");
            }
            line.memory = Knowledge::Known(memory.unwrap_or_default());
            self.release_first(&key);
        }
        self.recall_others();
    }

    /// Asks for memories for which there was no place.
    pub(super) fn recall_others(&mut self) {
        let wanted = |(_, line): &(&Key, &Line)| matches!(line.memory, Knowledge::Wanted);
        let wanted: Vec<Key> = self.sessions.lines.iter().filter(wanted).map(|(key, _)| key.clone()).collect();
        for key in wanted {
            if let Some(line) = self.sessions.lines.get_mut(&key) {
                line.memory = Knowledge::Unknown;
            }
            // Its turn comes again at once: then it is asked for.
            self.release_first(&key);
        }
        self.dispatch();
    }

    fn release_first(&mut self, key: &Key) {
        if let Some((first, false)) = self.sessions.first(key) {
            self.queue.release(first);
        }
    }

    /// What becomes of a session with an answer; `dropped` turns were left out by the engine. An error if turn and answer are
    /// too much for it: then the answer is none.
    pub(super) fn answered_in_session(
        &mut self,
        request: &Request,
        output: &Output,
        dropped: u32,
    ) -> Result<Option<Box<SessionReport>>, JobError> {
        let max = self.config.session.size_max;
        let (Some(session), Output::Text(answer) | Output::Json(answer)) = (&request.session, output) else {
            return Ok(None);
        };
        let Some(line) = self.sessions.line(request) else { return Ok(None) };
        let nothing = Memory::default();
        let before = match &line.memory {
            Knowledge::Known(memory) if !session.reset => memory,
            _ => &nothing,
        };
        let next = before.with(messages(request), answer, max).map_err(|size| {
            let text = format!("turn and answer have {size} bytes; a session may have {max} (session.size_max)");
            JobError::new(ErrorCode::ResultTooLarge, text)
        })?;
        let dropped = line.dropped + dropped as usize;
        let report = SessionReport { name: session.name.clone(), turns: next.turns(), dropped };
        line.next = Some(next);
        Ok(Some(Box::new(report)))
    }

    /// What a session remembers with the answer of a job, for the journal.
    pub(super) fn turn_of(&mut self, request: &Request) -> Option<Turn> {
        let memory = self.sessions.line(request)?.next.take()?;
        let of_policy = self.config.policy_of(&request.client).and_then(|policy| policy.sessions);
        let per_client = self.config.session.per_client;
        let per_client = of_policy.map_or(per_client, |most| most.min(per_client));
        Some(Turn { session: request.session.as_ref()?.name.clone(), memory, per_client })
    }

    /// A job has ended: the next one of its session may start.
    pub(super) fn leave_session(&mut self, id: JobId, request: &Request) {
        let Some(key) = key(request) else { return };
        let Some(line) = self.sessions.lines.get_mut(&key) else { return };
        let was_first = line.jobs.first() == Some(&id);
        line.jobs.remove(&id);
        if line.jobs.is_empty() {
            self.sessions.lines.remove(&key);
        } else if was_first {
            // It is read again with what has just been written.
            *line = Line { jobs: std::mem::take(&mut line.jobs), ..Line::default() };
            self.release_first(&key);
            if let Some((first, _)) = self.sessions.first(&key) {
                self.remembers(first);
            }
            self.steps_wait = true;
        }
    }

    /// Forgets a client's sessions, or one, also where a job is just going on with it.
    pub(super) fn forget_sessions(&mut self, client: &ClientName, session: Option<&SessionName>) -> Answer {
        // Also of a session of which the journal knows nothing yet, or no more.
        self.forget_in_engines(
            self.sessions.client_number(client),
            session.map(|session| self.sessions.session_number(session)),
        );
        let forgotten = self.recorder.journal.forget_sessions(client, session);
        if let (Some(session), 0) = (session, forgotten) {
            let text = format!("no session {session} of the client {client}");
            return Err(JobError::new(ErrorCode::NotFound, text));
        }
        let meant = |key: &Key| key.0 == *client && session.is_none_or(|session| key.1 == *session);
        let lines = self.sessions.lines.iter_mut().filter(|(key, _)| meant(key));
        let released: Vec<Key> = lines
            .map(|(key, line)| {
                line.memory = Knowledge::Known(Memory::default());
                key.clone()
            })
            .collect();
        for key in &released {
            self.release_first(key);
        }
        self.dispatch();
        Ok(serde_json::json!({ "forgotten": forgotten }))
    }
}
