//! What the journal has in its folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file in the folder.
pub(in super::super) const FILE: &str = "journal.db";

/// The write-ahead log has the name of its file with this at the end.
const WAL: &str = "-wal";

/// What damaged files are called, with a number.
const SET_ASIDE: &str = "journal.corrupt-";

/// The journal's files, whether they are there or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The file itself.
    pub journal: PathBuf,
    /// Its write-ahead log.
    pub log: PathBuf,
    /// Damaged ones that were moved away at a start, oldest first.
    pub set_aside: Vec<PathBuf>,
}

impl Files {
    /// Those of a folder. An error if it can't be listed.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let journal = folder.join(FILE);
        let mut numbers = set_aside(folder)?;
        numbers.sort_unstable();
        let set_aside = numbers.into_iter().map(|number| damaged(folder, number)).collect();
        Ok(Self { log: with_wal(&journal), journal, set_aside })
    }
}

/// The numbers of the damaged files in a folder.
pub(super) fn set_aside(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(SET_ASIDE)).and_then(|number| number.parse().ok());
        numbers.extend(number.filter(|number: &u64| *number < u64::MAX));
    }
    Ok(numbers)
}

/// What a damaged file is called.
pub(super) fn damaged(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{SET_ASIDE}{number}"))
}

/// The write-ahead log of a file.
pub(super) fn with_wal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(WAL);
    name.into()
}
