//! The rows of the tables.

use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use super::super::batch::{Change, NewRow, Stage};
use super::super::index::Key;
use super::super::time::Stamp;
use super::super::{Outcome, Settlement};
use super::session_rows::{self, ReadSession};
use crate::job::{ClientName, ErrorCode, JobId, RequestId};

/// What stands in the column `stage`. From 2 on, because SQLite writes 0 and 1 in no byte and all of these in one: a change
/// of the stage alone is made in its place, and a long request or outcome is not written again for it.
mod stage {
    pub const WAITING: i64 = 2;
    pub const RUNNING: i64 = 3;
    pub const UNSETTLED: i64 = 4;
    pub const DELIVERED: i64 = 5;
    pub const MISSED: i64 = 6;
}

/// A row without its texts.
pub(in super::super) struct ReadJob {
    pub job: JobId,
    pub key: Arc<Key>,
    pub fingerprint: [u8; 32],
    pub at: Stamp,
    pub reserve: u64,
    pub crashes: u32,
    pub deaths: u32,
    /// None while it is open.
    pub ended: Option<Settlement>,
    /// Bytes of all texts of the row.
    pub text: u64,
}

/// What a file holds.
pub(in super::super) struct Rows {
    pub jobs: Vec<ReadJob>,
    pub sessions: Vec<ReadSession>,
    pub last: Stamp,
    /// Whether the last run ended as it should.
    pub clean: bool,
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    Begun,
    Ended,
}

/// Writes jobs. SQL is read once for all of a transaction.
pub(super) struct Writer<'c> {
    accept: Statement<'c>,
    stage: Statement<'c>,
    finish: Statement<'c>,
    settle: Statement<'c>,
    remove: Statement<'c>,
    step: Statement<'c>,
    forget_steps: Statement<'c>,
}

impl<'c> Writer<'c> {
    pub fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            accept: connection.prepare(
                "INSERT OR REPLACE INTO job (number, stage, crashes, deaths, at, wall, reserve, client, id, fingerprint, request)
                 VALUES (?1, ?2, 0, 0, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?,
            stage: connection.prepare("UPDATE job SET stage = ?2, crashes = ?3 WHERE number = ?1")?,
            finish: connection.prepare(
                "UPDATE job SET stage = ?2, at = ?3, wall = ?4, request = NULL, error = ?5, topic = ?6, content_type = ?7,
                 correlation = ?8, payload = ?9, part_head = ?10 WHERE number = ?1",
            )?,
            settle: connection.prepare("UPDATE job SET stage = ?2 WHERE number = ?1")?,
            remove: connection.prepare("DELETE FROM job WHERE number = ?1")?,
            step: connection.prepare("INSERT OR REPLACE INTO step (number, name, outcome) VALUES (?1, ?2, ?3)")?,
            forget_steps: connection.prepare("DELETE FROM step WHERE number = ?1")?,
        })
    }

    pub fn write(&mut self, job: JobId, change: &Change) -> rusqlite::Result<()> {
        let Change { accept, stage, steps, forget_steps, finish, settle, remove } = change;
        if *forget_steps {
            self.forget_steps.execute([number(job)])?;
        }
        if *remove {
            self.remove.execute([number(job)])?;
            return Ok(());
        }
        if let Some(row) = accept {
            self.accept(job, row)?;
        }
        if let Some(Stage { running, crashes }) = stage {
            let stage = if *running { stage::RUNNING } else { stage::WAITING };
            self.stage.execute(params![number(job), stage, crashes])?;
        }
        for (name, record) in steps {
            self.step.execute(params![number(job), name, record])?;
        }
        if let Some((at, outcome)) = finish {
            self.finish(job, *at, outcome)?;
        }
        if let Some(settlement) = settle {
            self.settle.execute(params![number(job), stage_of(*settlement)])?;
        }
        Ok(())
    }

    fn accept(&mut self, job: JobId, row: &NewRow) -> rusqlite::Result<()> {
        let NewRow { key, fingerprint, at, reserve, record } = row;
        let (client, id) = key.as_ref();
        let values = params![
            number(job),
            stage::WAITING,
            signed(at.counted),
            at.wall.map(signed),
            signed(*reserve),
            client.as_str(),
            id.as_str(),
            fingerprint,
            record
        ];
        self.accept.execute(values).map(|_| ())
    }

    fn finish(&mut self, job: JobId, at: Stamp, outcome: &Outcome) -> rusqlite::Result<()> {
        let Outcome { error, topic, payload, content_type, correlation, part_head } = outcome;
        let values = params![
            number(job),
            stage::UNSETTLED,
            signed(at.counted),
            at.wall.map(signed),
            error.map(ErrorCode::as_str),
            topic,
            content_type,
            correlation,
            payload.as_ref(),
            part_head.as_deref()
        ];
        self.finish.execute(values).map(|_| ())
    }
}

/// Keeps a moment.
pub(super) fn note(connection: &Connection, stamp: Stamp, run: Run) -> rusqlite::Result<()> {
    let values = params![signed(stamp.counted), stamp.wall.map(signed), run == Run::Ended];
    connection.execute("UPDATE node SET at = ?1, wall = ?2, clean = ?3", values).map(|_| ())
}

pub(super) fn stop_running(connection: &Connection, deaths: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE job SET stage = ?1, deaths = deaths + ?3 WHERE stage = ?2";
    connection.execute(sql, params![stage::WAITING, stage::RUNNING, deaths]).map(|_| ())
}

/// Everything but the texts, by rising number.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Rows> {
    // SQLite knows the length of a column without reading it.
    let sql = "SELECT number, stage, crashes, deaths, at, wall, reserve, client, id, fingerprint,
               ifnull(length(request), 0) + ifnull(length(topic), 0) + ifnull(length(content_type), 0)
               + ifnull(length(correlation), 0) + ifnull(length(payload), 0) + ifnull(length(part_head), 0) FROM job ORDER BY number";
    let jobs = connection.prepare(sql)?.query_map([], read_job)?.collect::<Result<Vec<_>, _>>()?;
    let (noted, clean) = connection
        .query_row("SELECT at, wall, clean FROM node", [], |row| Ok((stamp(row, 0)?, row.get::<_, i64>(2)? == 1)))?;
    let sessions = session_rows::read(connection)?;
    let used = sessions.iter().map(|session| session.at);
    let last =
        jobs.iter().map(|job| job.at).chain(used).chain([noted]).max_by_key(|stamp| stamp.counted).unwrap_or(noted);
    Ok(Rows { jobs, sessions, last, clean })
}

fn read_job(row: &Row<'_>) -> rusqlite::Result<ReadJob> {
    let stage: i64 = row.get(1)?;
    let ended = match stage {
        stage::WAITING | stage::RUNNING => None,
        stage::UNSETTLED => Some(Settlement::Unsettled),
        stage::DELIVERED => Some(Settlement::Delivered),
        stage::MISSED => Some(Settlement::Missed),
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(1, other)),
    };
    let client = ClientName::new(row.get::<_, String>(7)?).map_err(|error| strange(7, error))?;
    let id = RequestId::new(row.get::<_, String>(8)?).map_err(|error| strange(8, error))?;
    Ok(ReadJob {
        job: JobId(unsigned(row, 0)?),
        key: Arc::new((client, id)),
        fingerprint: row.get(9)?,
        at: stamp(row, 4)?,
        reserve: unsigned(row, 6)?,
        crashes: row.get(2)?,
        // Nothing is running when a run has ended as it should.
        deaths: row.get::<_, u32>(3)?.saturating_add(u32::from(stage == stage::RUNNING)),
        ended,
        text: unsigned(row, 10)?,
    })
}

/// The request of an open job.
pub(super) fn request(connection: &Connection, job: JobId) -> rusqlite::Result<Option<Vec<u8>>> {
    connection.query_row("SELECT request FROM job WHERE number = ?1", [number(job)], |row| row.get(0))
}

/// The steps of an open job that are done.
pub(super) fn steps(connection: &Connection, job: JobId) -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
    let mut statement = connection.prepare("SELECT name, outcome FROM step WHERE number = ?1")?;
    statement.query_map([number(job)], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

pub(super) fn outcome(connection: &Connection, job: JobId) -> rusqlite::Result<Option<Outcome>> {
    let sql =
        "SELECT error, topic, content_type, correlation, payload, part_head FROM job WHERE number = ?1 AND stage >= ?2";
    let read = |row: &Row<'_>| {
        let error: Option<String> = row.get(0)?;
        let code = |text: String| ErrorCode::ALL.iter().copied().find(|code| code.as_str() == text);
        Ok(Outcome {
            // One that a later version has is none that this one knows.
            error: error.map(|text| code(text).unwrap_or(ErrorCode::Internal)),
            topic: row.get(1)?,
            content_type: row.get(2)?,
            correlation: row.get(3)?,
            payload: row.get::<_, Vec<u8>>(4)?.into(),
            part_head: row.get::<_, Option<Vec<u8>>>(5)?.map(Into::into),
        })
    };
    connection.query_row(sql, params![number(job), stage::UNSETTLED], read).optional()
}

fn stage_of(settlement: Settlement) -> i64 {
    match settlement {
        Settlement::Unsettled => stage::UNSETTLED,
        Settlement::Delivered => stage::DELIVERED,
        Settlement::Missed => stage::MISSED,
    }
}

pub(super) fn stamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Stamp> {
    let wall: Option<i64> = row.get(column + 1)?;
    Ok(Stamp { counted: unsigned(row, column)?, wall: wall.and_then(|wall| wall.try_into().ok()) })
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    value.try_into().map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

pub(super) fn number(job: JobId) -> i64 {
    signed(job.0)
}

/// Numbers of jobs and milliseconds never come near the end of i64.
pub(super) fn signed(value: u64) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

pub(super) fn strange(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
