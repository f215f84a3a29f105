//! What earlier runs have left.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::index::{Entry, Index, Stage};
use super::sessions::Sessions;
use super::space::{Space, pages};
use super::store::{Opened, ReadJob, ReadSession, Rows, Store};
use super::time::{Counter, Moment, Stamp};
use super::{JournalError, Settings, record, step};
use crate::job::{self, JobId, ModelName, ReplyTo, Request};

/// What a journal held when it was opened.
#[derive(Debug)]
pub struct Recovery {
    /// Jobs that have not ended, oldest first.
    pub open: Vec<OpenJob>,
    /// Jobs whose outcome the broker has not acknowledged, oldest first: they are to be fetched and published.
    pub unsettled: Vec<JobId>,
    /// The highest number of a job; new ones need higher ones.
    pub last: JobId,
    /// Where the file is that was damaged; a new one was begun.
    pub set_aside: Option<PathBuf>,
    /// Open jobs whose requests could not be read: they are gone, and nobody is told.
    pub unreadable: usize,
    /// Whether the last run ended as it should.
    pub clean: bool,
}

/// A job that has not ended.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenJob {
    /// Its number.
    pub job: JobId,
    /// What was asked.
    pub request: Request,
    /// Where the answer goes.
    pub reply: ReplyTo,
    /// The model that shall answer.
    pub model: ModelName,
    /// Tells a retry from another request under the same id.
    pub fingerprint: [u8; 32],
    /// Bytes that its outcome may take.
    pub outcome_max: u64,
    /// Time since it was received, as far as it counts.
    pub waited: Duration,
    /// Time until it is worthless.
    pub remaining: Duration,
    /// How often it was running when an engine crashed.
    pub crashes: u32,
    /// How often it was running when the daemon ended as it should not.
    pub deaths: u32,
    /// What has come of the steps of its work that are done, by their names.
    pub steps: BTreeMap<String, job::Outcome>,
    /// Whether the last run ended as it should not: then it starts only when the ticket of its start is committed.
    pub suspect: bool,
}

/// A journal that is ready to be written.
pub(super) struct Ready {
    pub store: Store,
    pub index: Index,
    pub sessions: Sessions,
    pub counter: Counter,
    pub recovery: Recovery,
}

/// Reads what is there and begins a run.
pub(super) fn recover(opened: Opened, settings: &Settings, now: Moment) -> Result<Ready, JournalError> {
    let Opened { mut store, rows: Rows { jobs, sessions: kept, last, clean }, set_aside } = opened;
    let name = store.name();
    let failed = |source| JournalError::of(&name, source);
    let counter = Counter::resume(last, now);
    let stamp = counter.stamp(now);
    let mut index = Index::new(Space::new(settings.size_max));
    let mut recovery = Recovery {
        open: Vec::new(),
        unsettled: Vec::new(),
        last: jobs.last().map_or(JobId(0), |row| row.job),
        set_aside,
        unreadable: 0,
        clean,
    };
    let mut unreadable = Vec::new();
    for row in jobs {
        let mut step_pages = 0;
        let stage = match row.ended {
            Some(settlement) => {
                recovery.unsettled.extend((settlement == super::Settlement::Unsettled).then_some(row.job));
                Stage::Ended { at: row.at.counted, settlement }
            }
            None => match read_open(&store, &row, stamp, !clean).map_err(failed)? {
                Ok((open, kept)) => {
                    step_pages = kept.pages;
                    recovery.open.push(open);
                    Stage::Open { outcome_max: row.reserve, suspect: !clean, steps: kept.count }
                }
                Err(reason) => {
                    tracing::error!(job = %row.job, "the request of a job in the journal cannot be read: {reason}");
                    unreadable.push(row.job);
                    continue;
                }
            },
        };
        let reserve = if row.ended.is_none() { pages(row.reserve) } else { 0 };
        let entry =
            Entry { key: row.key, fingerprint: row.fingerprint, pages: pages(row.text) + reserve + step_pages, stage };
        index.insert(row.job, entry);
    }
    let mut sessions = Sessions::default();
    for ReadSession { number, key, at, text } in kept {
        sessions.insert(number, key, at.counted, pages(text));
    }
    index.space.used += sessions.pages();
    recovery.unreadable = unreadable.len();
    store.begin(stamp, &unreadable).map_err(failed)?;
    Ok(Ready { store, index, sessions, counter, recovery })
}

/// What the steps of a job take.
struct KeptSteps {
    count: usize,
    pages: u64,
}

fn read_open(
    store: &Store,
    row: &ReadJob,
    now: Stamp,
    suspect: bool,
) -> rusqlite::Result<Result<(OpenJob, KeptSteps), &'static str>> {
    let rows = store.steps(row.job)?;
    let kept = KeptSteps {
        count: rows.len(),
        pages: rows.iter().map(|(name, record)| pages((name.len() + record.len()) as u64)).sum(),
    };
    // One that can't be read is done again.
    let steps = rows.into_iter().filter_map(|(name, record)| Some((name, step::read(&record)?))).collect();
    let text = store.request(row.job)?.unwrap_or_default();
    let (client, id) = row.key.as_ref().clone();
    Ok(record::read(client, id, &text).map(|(request, reply, model)| {
        let waited = now.since(row.at.counted);
        let ReadJob { job, fingerprint, reserve: outcome_max, crashes, deaths, .. } = *row;
        let remaining = request.deadline.saturating_sub(waited);
        let open = OpenJob {
            job,
            request,
            reply,
            model,
            fingerprint,
            outcome_max,
            waited,
            remaining,
            crashes,
            deaths,
            steps,
            suspect,
        };
        (open, kept)
    }))
}
