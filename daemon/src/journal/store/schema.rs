//! The tables, and how those of earlier versions become them.

use rusqlite::{Connection, TransactionBehavior};

/// Each step leads from one version to the next, the first from an empty file. A released step is never changed.
///
/// One row for a job from its receipt to the end of `journal.keep`: in one table, its changes touch one page. Numbers come
/// first: to read them costs no look at long texts. There is no index: what is looked up is in memory.
pub(super) const STEPS: &[&str] = &["
    CREATE TABLE job (
        number INTEGER PRIMARY KEY,
        -- One of `rows::stage`.
        stage INTEGER NOT NULL,
        -- Engine crashes while it was running, and runs of the daemon that were cut off meanwhile.
        crashes INTEGER NOT NULL,
        deaths INTEGER NOT NULL,
        -- When it was received; of an ended one, when it ended: in milliseconds that count, and in those since 1970 if the
        -- clock was right.
        at INTEGER NOT NULL,
        wall INTEGER,
        -- Bytes that its outcome may take.
        reserve INTEGER NOT NULL,
        client TEXT NOT NULL,
        id TEXT NOT NULL,
        fingerprint BLOB NOT NULL,
        -- Of an open one.
        request BLOB,
        -- Of an ended one; no error if it was answered.
        error TEXT,
        topic TEXT,
        content_type TEXT,
        correlation BLOB,
        payload BLOB
    ) STRICT;
    -- One row: the last moment that was kept, and whether the last run has ended as it should. Time is counted from 2^40
    -- milliseconds on, so that there is room for what was received before the first run.
    CREATE TABLE node (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        at INTEGER NOT NULL,
        wall INTEGER,
        clean INTEGER NOT NULL
    ) STRICT;
    INSERT INTO node VALUES (1, 1099511627776, NULL, 1);
", "
    -- What the node remembers of conversations. One row for each, as `job` has it: what is looked up is in memory.
    CREATE TABLE session (
        number INTEGER PRIMARY KEY,
        -- When it was used last, as in `job`.
        at INTEGER NOT NULL,
        wall INTEGER,
        client TEXT NOT NULL,
        name TEXT NOT NULL,
        memory BLOB NOT NULL
    ) STRICT;
", "
    -- What has come of the steps of an open job that is done in several: gone when the job has ended.
    CREATE TABLE step (
        number INTEGER NOT NULL,
        name TEXT NOT NULL,
        outcome BLOB NOT NULL,
        PRIMARY KEY (number, name)
    ) STRICT, WITHOUT ROWID;
", "
    -- Of an outcome that may go out in parts: what each of them begins with.
    ALTER TABLE job ADD COLUMN part_head BLOB;
"];

/// The latest version.
pub(super) const VERSION: u32 = 4;
const _: () = assert!(STEPS.len() == VERSION as usize);

/// The version of a file; 0 if it is empty.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Takes the steps that are missing, each whole or not at all.
pub(super) fn migrate(connection: &mut Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let version = version(connection)?;
    for (step, number) in steps.iter().zip(1..).skip(version as usize) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::*;
    use crate::job::JobId;

    fn memory() -> Connection {
        Connection::open_in_memory().unwrap()
    }

    #[test]
    fn an_empty_file_gets_the_tables_and_a_second_time_changes_nothing() {
        let mut connection = memory();
        migrate(&mut connection, STEPS).unwrap();
        assert_eq!(version(&connection).unwrap(), VERSION);
        migrate(&mut connection, STEPS).unwrap();
        let rows: u32 = connection.query_row("SELECT count(*) FROM node", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1);
    }

    #[test]
    fn an_older_file_takes_only_the_steps_that_it_lacks() {
        let mut connection = memory();
        connection.execute_batch("CREATE TABLE a (x); INSERT INTO a VALUES (7); PRAGMA user_version = 1").unwrap();
        let steps = ["this is no SQL", "ALTER TABLE a ADD COLUMN y DEFAULT 8", "UPDATE a SET x = x + y"];
        migrate(&mut connection, &steps).unwrap();
        assert_eq!(version(&connection).unwrap(), 3);
        assert_eq!(connection.query_row("SELECT x FROM a", [], |row| row.get::<_, i64>(0)).unwrap(), 15);
    }

    #[test]
    fn outcomes_of_the_third_version_have_no_parts() {
        let mut connection = memory();
        migrate(&mut connection, &STEPS[..3]).unwrap();
        let ended =
            "INSERT INTO job (number, stage, crashes, deaths, at, reserve, client, id, fingerprint, topic, payload)
                     VALUES (1, 6, 0, 0, 0, 0, 'c', 'i', zeroblob(32), 't', X'7B7D')";
        connection.execute_batch(ended).unwrap();
        migrate(&mut connection, STEPS).unwrap();
        let outcome = rows::outcome(&connection, JobId(1)).unwrap().unwrap();
        assert_eq!((outcome.payload.as_ref(), outcome.part_head), (&b"{}"[..], None));
        assert_eq!(rows::read(&connection).unwrap().jobs[0].text, 3);
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before_it() {
        let mut connection = memory();
        let steps = ["CREATE TABLE a (x)", "CREATE TABLE b (x); INSERT INTO nowhere VALUES (1)"];
        migrate(&mut connection, &steps).unwrap_err();
        assert_eq!(version(&connection).unwrap(), 1);
        assert!(connection.prepare("SELECT * FROM a").is_ok() && connection.prepare("SELECT * FROM b").is_err());
    }
}
