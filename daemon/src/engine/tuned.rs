//! What `promptd tune` has found best, kept for the daemon: one small file for each model file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::derive::LLAMA;
use crate::plan::Tuning;

/// The folder of these files, in the daemon's state.
pub const TUNED: &str = "tuned";

/// Longest file that is read; ours have half a kilobyte.
const SIZE_MAX: u64 = 16 * 1024;

/// The best settings of a model file on a machine, and what they gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    /// SHA-256 of the file, lower-case hex.
    pub sha256: String,
    /// The machine that it was measured on: on another one it means nothing.
    pub machine: String,
    /// Build of llama.cpp that was measured.
    pub llama: String,
    /// Threads that compute.
    pub threads: u32,
    /// The other settings.
    pub tuning: Tuning,
}

impl Tuned {
    /// Of this build.
    pub fn new(sha256: &str, machine: &str, threads: u32, tuning: Tuning) -> Self {
        let (sha256, machine, llama) = (sha256.to_owned(), machine.to_owned(), LLAMA.to_owned());
        Self { sha256, machine, llama, threads, tuning }
    }

    /// What was found for a file on this machine with this build, if anything was. A file that cannot be read, or that makes no
    /// sense, is none: the defaults serve as well.
    pub fn find(folder: &Path, sha256: &str, machine: &str) -> Option<Self> {
        let path = path(folder, sha256);
        let size = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?.len();
        let bytes = (size <= SIZE_MAX).then(|| fs::read(&path).ok())??;
        let tuned: Self = serde_json::from_slice(&bytes).ok()?;
        let is_it = tuned.sha256 == sha256 && tuned.machine == machine && tuned.llama == LLAMA;
        let makes_sense = (1..=512).contains(&tuned.threads) && (64..=4096).contains(&tuned.tuning.batch);
        (is_it && makes_sense).then_some(tuned)
    }

    /// Keeps it, in place of what was found before.
    pub fn keep(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let path = path(folder, &self.sha256);
        let unfinished = path.with_extension("json.part");
        fs::write(&unfinished, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&unfinished, &path)
    }
}

fn path(folder: &Path, sha256: &str) -> PathBuf {
    // A hash is a good name; anything else must not lead out of the folder.
    let name: String = sha256.chars().filter(char::is_ascii_hexdigit).collect();
    folder.join(format!("{name}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_found_on_the_same_machine_only() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("tuned");
        let tuned = Tuned::new("00ff", "a board", 3, Tuning { batch: 256, ..Tuning::default() });
        assert_eq!(Tuned::find(&folder, "00ff", "a board"), None);
        tuned.keep(&folder).unwrap();
        tuned.keep(&folder).unwrap();
        assert_eq!(Tuned::find(&folder, "00ff", "a board"), Some(tuned.clone()));
        assert_eq!(Tuned::find(&folder, "00ff", "another board"), None);
        assert_eq!(Tuned::find(&folder, "00fe", "a board"), None);
        let other_build = Tuned { llama: "another".to_owned(), ..tuned.clone() };
        let senseless = Tuned { threads: 0, ..tuned };
        for wrong in [other_build, senseless] {
            wrong.keep(&folder).unwrap();
            assert_eq!(Tuned::find(&folder, "00ff", "a board"), None, "{wrong:?}");
        }
        fs::write(folder.join("00ff.json"), "{").unwrap();
        assert_eq!(Tuned::find(&folder, "00ff", "a board"), None);
    }
}
