//! Strategies that failed, kept over a restart so that the next boot does not walk into the same wall first.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::job::ModelName;
use crate::plan::Strategy;

/// Most failures that are kept; the oldest make room.
const RECORDS_MAX: usize = 64;

/// Longest file that is read.
const FILE_MAX: u64 = 256 * 1024;

/// A strategy that failed in this run or an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub strategy: Strategy,
    /// Why.
    pub reason: String,
    /// When it is worth another try; none if only another file or version changes it.
    pub until: Option<Instant>,
    /// Whether it is from an earlier run: then it is the last thing to try, not lost.
    pub earlier: bool,
}

/// A failure as it is kept. It holds for this file and this version of promptd only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    model: ModelName,
    strategy: Strategy,
    sha256: String,
    version: String,
    reason: String,
    /// Whether it was for memory, of which there may be more at another time.
    memory: bool,
}

/// The kept failures of all models.
#[derive(Debug)]
pub struct Failures {
    path: PathBuf,
    records: Vec<Record>,
}

impl Failures {
    /// Reads what is kept in the state folder. A file that can't be read is as good as none.
    pub fn load(state_dir: &Path) -> Self {
        let path = state_dir.join("failures.json");
        let records = match read(&path) {
            Ok(records) => records,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => {
                tracing::warn!("{} is not used: {e}", path.display());
                Vec::new()
            }
        };
        Self { path, records }
    }

    /// Those of a model's file. Those for memory hold until then.
    pub fn of(&self, model: &ModelName, sha256: &str, until: Instant) -> Vec<Failure> {
        let version = env!("CARGO_PKG_VERSION");
        let matching = self.records.iter().filter(|r| r.model == *model && r.sha256 == sha256 && r.version == version);
        matching
            .map(|record| Failure {
                strategy: record.strategy,
                reason: format!("failed in an earlier run: {}", record.reason),
                until: record.memory.then_some(until),
                earlier: true,
            })
            .collect()
    }

    /// Keeps a failure.
    pub fn remember(&mut self, model: &ModelName, strategy: Strategy, sha256: &str, reason: &str, memory: bool) {
        self.records.retain(|r| !(r.model == *model && r.strategy == strategy));
        if self.records.len() >= RECORDS_MAX {
            self.records.remove(0);
        }
        self.records.push(Record {
            model: model.clone(),
            strategy,
            sha256: sha256.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            reason: reason.to_owned(),
            memory,
        });
        self.save();
    }

    /// Forgets those of a model, of one strategy or of all; gives how many there were.
    pub fn forget(&mut self, model: Option<&ModelName>, strategy: Option<Strategy>) -> usize {
        let before = self.records.len();
        self.records.retain(|record| {
            let named = model.is_none_or(|model| record.model == *model);
            let meant = strategy.is_none_or(|strategy| record.strategy == strategy);
            !(named && meant)
        });
        let forgotten = before - self.records.len();
        if forgotten > 0 {
            self.save();
        }
        forgotten
    }

    fn save(&self) {
        if let Err(e) = write(&self.path, &self.records) {
            tracing::warn!("failures are forgotten at the next start: cannot write {}: {e}", self.path.display());
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<Record>> {
    let size = fs::metadata(path)?.len();
    if size > FILE_MAX {
        return Err(io::Error::other(format!("it has {size} bytes; the limit is {FILE_MAX}")));
    }
    let records: Vec<Record> = serde_json::from_slice(&fs::read(path)?)?;
    Ok(records.into_iter().take(RECORDS_MAX).collect())
}

/// A file of its own first, so that a crash leaves the old one.
fn write(path: &Path, records: &[Record]) -> io::Result<()> {
    let fresh = path.with_extension("json.new");
    let mut file = fs::File::create(&fresh)?;
    file.write_all(&serde_json::to_vec_pretty(records)?)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Precision;
    use crate::plan::Placement;

    const STRATEGY: Strategy = Strategy::new(Placement::Cpu, Precision::Int8);

    fn model() -> ModelName {
        ModelName::new("main").unwrap()
    }

    #[test]
    fn a_failure_outlives_a_restart_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        Failures::load(folder.path()).remember(&model(), STRATEGY, "abc", "golden prompt", false);
        let mut failures = Failures::load(folder.path());
        let now = Instant::now();
        let found = failures.of(&model(), "abc", now);
        assert!(
            found.len() == 1
                && found[0].earlier
                && found[0].until.is_none()
                && found[0].reason.contains("golden prompt"),
            "{found:?}"
        );
        assert!(failures.of(&model(), "another file", now).is_empty());
        assert_eq!(failures.forget(Some(&model()), Some(STRATEGY)), 1);
        assert!(Failures::load(folder.path()).of(&model(), "abc", now).is_empty());
    }

    #[test]
    fn a_broken_file_is_as_good_as_none_and_the_number_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("failures.json"), "{").unwrap();
        let mut failures = Failures::load(folder.path());
        for number in 0..RECORDS_MAX + 10 {
            failures.remember(&ModelName::new(format!("m{number}")).unwrap(), STRATEGY, "abc", "x", true);
        }
        assert_eq!(Failures::load(folder.path()).records.len(), RECORDS_MAX);
    }

    #[test]
    fn a_folder_that_can_not_be_written_is_no_error() {
        let mut failures = Failures::load(Path::new("/proc/none"));
        failures.remember(&model(), STRATEGY, "abc", "x", true);
        let until = Instant::now();
        let found = failures.of(&model(), "abc", until);
        assert!(found.len() == 1 && found[0].until == Some(until), "{found:?}");
    }
}
