//! From a folder to an open journal: its file is made, or checked and brought to the latest version, or set aside.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::super::error::Meaning;
use super::super::space::{CHECKPOINT, LOG, PAGE, pages_max};
use super::super::{JournalError, Settings};
use super::files::{self, FILE, with_wal};
use super::{Rows, Store, rows, schema};
use crate::config::Durability;

/// So many damaged files stay for whoever wants to look at them.
const SET_ASIDE_MAX: u64 = 3;

/// Prompts and answers are in it.
const PRIVATE: u32 = 0o600;

/// A daemon that is being replaced is given so long to let go.
const PATIENCE: Duration = Duration::from_secs(2);

/// Memory for pages of the file.
const CACHE_KIB: i64 = 2048;

/// A journal that can be used.
pub(in super::super) struct Opened {
    pub store: Store,
    pub rows: Rows,
    /// Where the file is that could not be used.
    pub set_aside: Option<PathBuf>,
}

/// Opens the journal of a folder, or a new one in memory.
pub(in super::super) fn open(settings: &Settings) -> Result<Opened, JournalError> {
    if settings.durability == Durability::Memory {
        let name = PathBuf::from(":memory:");
        let connection = Connection::open_in_memory().map_err(|source| failed(&name, source))?;
        let (store, rows) = prepare(connection, None, settings)?;
        return Ok(Opened { store, rows, set_aside: None });
    }
    let path = settings.folder.join(FILE);
    fs::create_dir_all(&settings.folder).map_err(|source| refused(&settings.folder, source))?;
    make_file(&settings.folder, &path)?;
    match open_file(&path, settings) {
        Err(JournalError::Sqlite { source, .. }) if is_damage(&source) => {
            tracing::error!("the journal is damaged and is begun anew: {source}");
            let set_aside = set_aside(&settings.folder, &path)?;
            make_file(&settings.folder, &path)?;
            let (store, rows) = open_file(&path, settings)?;
            Ok(Opened { store, rows, set_aside: Some(set_aside) })
        }
        opened => opened.map(|(store, rows)| Opened { store, rows, set_aside: None }),
    }
}

/// Makes the file if it is missing, for its owner only. The log gets the same rights from SQLite.
fn make_file(folder: &Path, path: &Path) -> Result<(), JournalError> {
    match OpenOptions::new().read(true).write(true).create_new(true).mode(PRIVATE).open(path) {
        // What was written into a file helps only if the file is found.
        Ok(_) => File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| refused(path, source)),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            let file = OpenOptions::new().read(true).write(true).open(path).map_err(|source| refused(path, source))?;
            file.set_permissions(Permissions::from_mode(PRIVATE)).map_err(|source| refused(path, source))
        }
        Err(source) => Err(refused(path, source)),
    }
}

fn open_file(path: &Path, settings: &Settings) -> Result<(Store, Rows), JournalError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|source| failed(path, source))?;
    prepare(connection, Some(path.to_owned()), settings)
}

fn prepare(
    mut connection: Connection,
    path: Option<PathBuf>,
    settings: &Settings,
) -> Result<(Store, Rows), JournalError> {
    let name = path.clone().unwrap_or_else(|| ":memory:".into());
    let version = look(&connection).map_err(|source| failed(&name, source))?;
    if version > schema::VERSION {
        return Err(JournalError::Newer { path: name, found: version, known: schema::VERSION });
    }
    let ready = |connection: &mut Connection| {
        check(connection)?;
        set_up(connection, settings)?;
        schema::migrate(connection, schema::STEPS)?;
        rows::read(connection)
    };
    let rows = ready(&mut connection).map_err(|source| failed(&name, source))?;
    Ok((Store { connection, path, sync: true }, rows))
}

/// The first look changes nothing: a file of a later version stays as it is.
fn look(connection: &Connection) -> rusqlite::Result<u32> {
    connection.busy_timeout(PATIENCE)?;
    // Nobody else may open it, and the index of the log is in our memory and not in a third file.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    schema::version(connection)
}

/// Whether the pages lead to each other as they should. It reads the whole file, whose size is bounded.
fn check(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "cell_size_check", true)?;
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    // The kernel lets us write, so that it is the header that does not.
    if verdict == "ok" && !connection.is_readonly(c"main")? {
        return Ok(());
    }
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    Err(rusqlite::Error::SqliteFailure(code, Some(verdict)))
}

fn set_up(connection: &Connection, settings: &Settings) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", signed(PAGE))?;
    // It answers with the mode that it has taken: in memory another one. A file that can't have a log fails at the first write.
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", signed(LOG))?;
    connection.query_row(&format!("PRAGMA wal_autocheckpoint = {CHECKPOINT}"), [], |_| Ok(()))?;
    connection.query_row(&format!("PRAGMA max_page_count = {}", pages_max(settings.size_max)), [], |_| Ok(()))?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)
}

/// Moves a damaged file and its log away; gives the new name. Of more than a few the oldest goes.
fn set_aside(folder: &Path, path: &Path) -> Result<PathBuf, JournalError> {
    let failed = |source| refused(path, source);
    let numbers = files::set_aside(folder).map_err(failed)?;
    let next = numbers.iter().max().map_or(1, |last| last + 1);
    for old in numbers.into_iter().filter(|number| number + SET_ASIDE_MAX <= next) {
        let old = files::damaged(folder, old);
        for old in [with_wal(&old), old] {
            missing_is_fine(fs::remove_file(old)).map_err(failed)?;
        }
    }
    let target = files::damaged(folder, next);
    missing_is_fine(fs::rename(with_wal(path), with_wal(&target))).map_err(failed)?;
    fs::rename(path, &target).map_err(failed)?;
    Ok(target)
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

/// At the start a statement that the file does not understand is damage, too: its own words have been read wrongly.
fn is_damage(error: &rusqlite::Error) -> bool {
    Meaning::of(error) == Meaning::Corrupt
        || matches!(error, rusqlite::Error::SqlInputError { .. } | rusqlite::Error::QueryReturnedNoRows)
        || error.sqlite_error_code() == Some(rusqlite::ErrorCode::Unknown)
}

fn failed(path: &Path, source: rusqlite::Error) -> JournalError {
    JournalError::of(path, source)
}

fn refused(path: &Path, source: io::Error) -> JournalError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::ReadOnlyFilesystem
        | ErrorKind::StorageFull
        | ErrorKind::PermissionDenied
        | ErrorKind::QuotaExceeded => JournalError::Unwritable { path, reason: source.to_string() },
        _ => JournalError::File { path, source },
    }
}

fn signed(value: u64) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
