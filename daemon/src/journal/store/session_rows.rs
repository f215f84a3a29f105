//! The rows of sessions.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::batch::SessionRow;
use super::super::sessions::SessionKey;
use super::super::time::Stamp;
use super::rows::{signed, stamp, strange, unsigned};
use crate::job::{ClientName, SessionName};

/// A row without what it remembers.
pub(in super::super) struct ReadSession {
    pub number: u64,
    pub key: Arc<SessionKey>,
    pub at: Stamp,
    /// Bytes of its memory.
    pub text: u64,
}

/// Makes sessions what they shall be.
pub(super) fn write(connection: &Connection, sessions: &BTreeMap<u64, Option<SessionRow>>) -> rusqlite::Result<()> {
    for (number, row) in sessions {
        match row {
            Some(SessionRow { key, at, content }) => {
                let sql = "INSERT OR REPLACE INTO session (number, at, wall, client, name, memory)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                let (client, name) = key.as_ref();
                let values = params![
                    signed(*number),
                    signed(at.counted),
                    at.wall.map(signed),
                    client.as_str(),
                    name.as_str(),
                    content
                ];
                connection.execute(sql, values)?;
            }
            None => {
                connection.execute("DELETE FROM session WHERE number = ?1", [signed(*number)])?;
            }
        }
    }
    Ok(())
}

/// Everything but the memories.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Vec<ReadSession>> {
    let sql = "SELECT number, at, wall, client, name, length(memory) FROM session ORDER BY number";
    connection.prepare(sql)?.query_map([], read_session)?.collect()
}

fn read_session(row: &Row<'_>) -> rusqlite::Result<ReadSession> {
    let client = ClientName::new(row.get::<_, String>(3)?).map_err(|error| strange(3, error))?;
    let name = SessionName::new(row.get::<_, String>(4)?).map_err(|error| strange(4, error))?;
    let (number, text) = (unsigned(row, 0)?, unsigned(row, 5)?);
    Ok(ReadSession { number, key: Arc::new((client, name)), at: stamp(row, 1)?, text })
}

/// What a session remembers.
pub(super) fn content(connection: &Connection, number: u64) -> rusqlite::Result<Option<Vec<u8>>> {
    let sql = "SELECT memory FROM session WHERE number = ?1";
    connection.query_row(sql, [signed(number)], |row| row.get(0)).optional()
}
