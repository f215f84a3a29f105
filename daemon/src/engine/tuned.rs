//! What `promptd tune` has found best, kept for the daemon: one small file for each model file.

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::EngineError;
use super::derive::{LLAMA, PRIVATE, Partial};
use super::import::give_to_owner_of;
use crate::plan::Tuning;

/// The folder of these files, in the daemon's state.
const FOLDER: &str = "tuned";

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

    /// What was found for a file, if anything was: on this machine with this build, or else why it is not used. A file that
    /// cannot be read or makes no sense is as good as none: the defaults serve as well.
    pub fn find(state_dir: &Path, sha256: &str, machine: &str) -> Option<Result<Self, String>> {
        let path = path(&state_dir.join(FOLDER), sha256);
        let size = match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return None,
            found => found.ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len()),
        };
        let bytes = size.filter(|size| *size <= SIZE_MAX).and_then(|_| fs::read(&path).ok());
        let tuned = bytes.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        Some(match tuned.filter(|tuned| tuned.sha256 == sha256 && tuned.makes_sense()) {
            None => Err(format!("{} cannot be read or makes no sense", path.display())),
            Some(tuned) if tuned.machine != machine => {
                Err(format!("it was measured on \"{}\", and this is \"{machine}\"", tuned.machine))
            }
            Some(tuned) if tuned.llama != LLAMA => {
                Err(format!("it was measured with {}, and this is {LLAMA}", tuned.llama))
            }
            Some(tuned) => Ok(tuned),
        })
    }

    fn makes_sense(&self) -> bool {
        (1..=512).contains(&self.threads) && (64..=4096).contains(&self.tuning.batch)
    }

    /// Keeps it, in place of what was found before. Whoever measures as root gives it to the user whom the folder belongs to,
    /// as whom the daemon runs.
    pub fn keep(&self, state_dir: &Path) -> Result<(), EngineError> {
        let folder = Self::make_folder(state_dir)?;
        let partial = Partial::create(&path(&folder, &self.sha256), PRIVATE)?;
        let failed = |source| EngineError::Unreadable { path: folder.clone(), source };
        partial.write_at(&serde_json::to_vec_pretty(self).map_err(|e| failed(e.into()))?, 0)?;
        give_to_owner_of(state_dir, partial.descriptor().map_err(failed)?);
        partial.sync()?;
        Ok(partial.rename()?)
    }

    /// Makes the folder in which it is kept, so that whoever may not finds that out before measuring.
    pub fn make_folder(state_dir: &Path) -> Result<PathBuf, EngineError> {
        let folder = state_dir.join(FOLDER);
        let failed = |source| EngineError::Unreadable { path: folder.clone(), source };
        match DirBuilder::new().mode(0o750).create(&folder) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(failed(e)),
            Err(_) => {}
            Ok(()) => give_to_owner_of(state_dir, File::open(&folder).map_err(failed)?.into()),
        }
        Ok(folder)
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
        let state = tempfile::tempdir().unwrap();
        let state = state.path();
        let find = |sha256, machine| Tuned::find(state, sha256, machine);
        let tuned = Tuned::new("00ff", "a board", 3, Tuning { batch: 256, ..Tuning::default() });
        assert_eq!(find("00ff", "a board"), None);
        tuned.keep(state).unwrap();
        tuned.keep(state).unwrap();
        assert_eq!(find("00ff", "a board"), Some(Ok(tuned.clone())));
        assert_eq!(find("00fe", "a board"), None);
        assert!(find("00ff", "another").unwrap().unwrap_err().contains("\"a board\", and this is \"another\""));
        let other_build = Tuned { llama: "another".to_owned(), ..tuned.clone() };
        let senseless = Tuned { threads: 0, ..tuned };
        for (wrong, reason) in [(other_build, "measured with another"), (senseless, "makes no sense")] {
            wrong.keep(state).unwrap();
            assert!(find("00ff", "a board").unwrap().unwrap_err().contains(reason), "{wrong:?}");
        }
        let file = state.join(FOLDER).join("00ff.json");
        fs::write(&file, "{").unwrap();
        assert!(find("00ff", "a board").unwrap().is_err());
        // Nobody is led elsewhere by a link that waits there.
        let (elsewhere, link) = (state.join("elsewhere"), state.join(FOLDER).join("00ff.json.partial"));
        fs::write(&elsewhere, "precious").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        let tuned = Tuned::new("00ff", "a board", 3, Tuning::default());
        assert!(tuned.keep(state).is_err() || find("00ff", "a board") == Some(Ok(tuned)));
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "precious");
    }
}
