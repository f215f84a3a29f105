//! Tests of the room as a whole, on real files.

mod bounds;
mod clocks;
mod crash;
mod damage;
mod disk;
mod killed;
mod life;
mod model;
mod sessions;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::*;
use crate::job::{
    ClientName, Constraint, ErrorCode, JobId, ModelName, OutputLimits, Priority, ReplyFormat, ReplyTo, Request,
    RequestId, Sampling, Task,
};

/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_mins(1);

const KEEP: Duration = Duration::from_hours(1);

/// 2026-01-02.
const WALL: Duration = Duration::from_hours(490_920);

/// A clock that a test sets.
#[derive(Clone)]
struct TestClock(Arc<Mutex<Moment>>);

impl TestClock {
    fn new(wall: Option<Duration>) -> Self {
        Self(Arc::new(Mutex::new(Moment { running: Duration::ZERO, wall })))
    }

    fn clock(&self) -> Clock {
        let moment = Arc::clone(&self.0);
        Box::new(move || *moment.lock().unwrap())
    }

    fn pass(&self, time: Duration) {
        let mut moment = self.0.lock().unwrap();
        moment.running += time;
        moment.wall = moment.wall.map(|wall| wall + time);
    }
}

fn settings(folder: &Path) -> Settings {
    Settings {
        folder: folder.to_owned(),
        durability: Durability::Full,
        commit_window: Duration::ZERO,
        size_max: Bytes(64 << 20),
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// A journal in a folder of its own, and who waits for it.
struct Bench {
    folder: TempDir,
    clock: TestClock,
    runtime: Runtime,
    journal: Journal,
    last: u64,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = TestClock::new(Some(WALL));
        let (journal, recovery) = Journal::open(&settings(folder.path()), clock.clock()).unwrap();
        assert!(recovery.open.is_empty() && recovery.unsettled.is_empty() && recovery.clean);
        Self { folder, clock, runtime: runtime(), journal, last: 0 }
    }

    /// Ends the run as it should end and begins another.
    fn reopen(self) -> (Self, Recovery) {
        let clock = self.clock.clone();
        self.reopen_with(clock)
    }

    fn reopen_with(self, clock: TestClock) -> (Self, Recovery) {
        let Self { folder, runtime, journal, last, .. } = self;
        close(&runtime, journal);
        let (journal, recovery) = Journal::open(&settings(folder.path()), clock.clock()).unwrap();
        (Self { folder, clock, runtime, journal, last }, recovery)
    }

    /// The run is cut off: another begins with what is on the disk now.
    fn cut_off(self) -> (Self, Recovery) {
        let clock = self.clock.clone();
        self.cut_off_with(clock)
    }

    fn cut_off_with(self, clock: TestClock) -> (Self, Recovery) {
        let folder = copy(self.folder.path());
        let (journal, recovery) = Journal::open(&settings(folder.path()), clock.clock()).unwrap();
        (Self { folder, clock, runtime: runtime(), journal, last: self.last }, recovery)
    }

    fn accept(&mut self, name: &str) -> (JobId, Ticket) {
        self.last += 1;
        let job = JobId(self.last);
        let ticket = accept(&mut self.journal, job, name).unwrap();
        (job, ticket)
    }

    fn event(&mut self) -> Event {
        next(&self.runtime, &mut self.journal)
    }

    fn commit(&mut self, ticket: Ticket) {
        committed(&self.runtime, &mut self.journal, ticket);
    }

    fn fetched(&mut self, job: JobId) -> Option<Outcome> {
        assert!(self.journal.fetch(job));
        loop {
            if let Event::Fetched { job: other, outcome } = self.event() {
                assert_eq!(other, job);
                return outcome;
            }
        }
    }

    /// A job that has ended.
    fn ended(&mut self, name: &str) -> JobId {
        let (job, _) = self.accept(name);
        let ticket = self.journal.finish(job, outcome(name)).unwrap().unwrap();
        self.commit(ticket);
        job
    }
}

fn close(runtime: &Runtime, journal: Journal) {
    runtime.block_on(async { timeout(PATIENCE, journal.close()).await.unwrap() });
}

fn next(runtime: &Runtime, journal: &mut Journal) -> Event {
    runtime.block_on(async { timeout(PATIENCE, journal.next_event()).await.unwrap() })
}

fn committed(runtime: &Runtime, journal: &mut Journal, ticket: Ticket) {
    while !journal.is_committed(ticket) {
        let event = next(runtime, journal);
        assert!(matches!(event, Event::Committed(_)), "{event:?}");
    }
}

fn accept(journal: &mut Journal, job: JobId, name: &str) -> Result<Ticket, Refused> {
    let (request, reply, model) = (request(name), reply(name), model());
    let fingerprint = fingerprint(name);
    let waited = Duration::ZERO;
    journal.accept(
        job,
        NewJob {
            request: &request,
            reply: &reply,
            model: &model,
            fingerprint,
            waited,
            outcome_max: 10_000,
            session_max: None,
        },
    )
}

fn client(name: &str) -> ClientName {
    let (client, _) = name.split_once('/').unwrap_or(("c", name));
    ClientName::new(client).unwrap()
}

fn id(name: &str) -> RequestId {
    let (_, id) = name.split_once('/').unwrap_or(("c", name));
    RequestId::new(id).unwrap()
}

fn model() -> ModelName {
    ModelName::new("main").unwrap()
}

fn fingerprint(name: &str) -> [u8; 32] {
    let mut fingerprint = [7; 32];
    for (byte, from) in fingerprint.iter_mut().zip(name.bytes()) {
        *byte = from;
    }
    fingerprint
}

fn request(name: &str) -> Request {
    Request {
        id: id(name),
        client: client(name),
        defined: None,
        task: Task::Generate { prompt: format!("a secret of {name}") },
        model: None,
        session: None,
        sampling: Sampling { seed: Some(7), ..Sampling::default() },
        output: OutputLimits {
            max_bytes: Some(9),
            stop: vec!["\n".to_owned()],
            constraint: Some(Constraint::Choices(vec!["yes".to_owned(), "no".to_owned()])),
            logprobs: Some(0),
            ..OutputLimits::tokens(5)
        },
        priority: Priority::High,
        deadline: Duration::from_mins(5),
        stream: true,
        ack: true,
    }
}

fn reply(name: &str) -> ReplyTo {
    let echo = serde_json::json!({ "x_shift": { "n": 1.5 } });
    ReplyTo {
        topic: format!("promptd/n/response/c/{name}"),
        correlation: Some(vec![0, 1, 255]),
        reference: Some("r".to_owned()),
        echo: echo.as_object().unwrap().clone(),
        format: ReplyFormat::Json,
        parts: true,
        errors: true,
    }
}

fn outcome(name: &str) -> Outcome {
    Outcome {
        error: None,
        topic: format!("promptd/n/response/c/{name}"),
        payload: format!("{{\"output\":\"an answer to {name}\"}}").into(),
        content_type: Some("application/json".to_owned()),
        correlation: Some(vec![0, 1, 255]),
        part_head: Some("{\"event\":\"part\"}".into()),
    }
}

/// The files of a folder as a loss of power would leave them now, while they are written: the log after the file, and both
/// anew if the log began anew meanwhile. What a checkpoint has moved by then is in the log as well.
fn copy(folder: &Path) -> TempDir {
    let (file, log) = (folder.join("journal.db"), folder.join("journal.db-wal"));
    let salt = |log: &[u8]| log.get(12..24).map(<[u8]>::to_vec);
    let read = |path: &Path| std::fs::read(path).unwrap_or_default();
    loop {
        let before = salt(&read(&log));
        let (main, frames) = (read(&file), read(&log));
        if salt(&frames) == before && salt(&read(&log)) == before {
            let copy = tempfile::tempdir().unwrap();
            std::fs::write(copy.path().join("journal.db"), main).unwrap();
            std::fs::write(copy.path().join("journal.db-wal"), frames).unwrap();
            return copy;
        }
    }
}
