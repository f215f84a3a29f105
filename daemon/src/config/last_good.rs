//! The copy of the last configuration that was good.
//!
//! It holds the files themselves, not what was made of them: another version of promptd reads them by its own rules.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::source::{Source, TEXT_MAX};
use super::{Config, ConfigError, Loaded};
use crate::plan::Profile;

/// Most bytes of the copy. JSON writes what stands in a TOML file with at most twice as many, and a path is short.
const COPY_MAX: usize = 4 * TEXT_MAX;

/// The copy on disk.
#[derive(Debug, Clone)]
pub(super) struct LastGood {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Files {
    /// In the order of their effect; the first is the main file.
    files: Vec<Source>,
}

impl LastGood {
    /// The copy in this folder.
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join("last-good.json") }
    }

    /// Saves the files of a configuration; the old copy stays if that fails. A configuration without files leaves nothing to
    /// go back to and is not saved, nor is one that is there already.
    pub(super) fn save(&self, loaded: &Loaded) -> Result<(), ConfigError> {
        if loaded.sources.is_empty() {
            return Ok(());
        }
        let write = || {
            let copy = serde_json::to_vec_pretty(&Files { files: loaded.sources.clone() })?;
            if copy.len() > COPY_MAX {
                return Err(too_large());
            }
            if self.read().is_ok_and(|kept| kept == copy) { Ok(()) } else { self.replace(&copy) }
        };
        write().map_err(|source| ConfigError::Unwritable { path: self.path.clone(), source })
    }

    /// Reads the copy of the configuration whose main file is `main`.
    pub(super) fn load(&self, main: &Path, profile: &Profile) -> Result<Loaded, ConfigError> {
        let none = |reason: String| self.none(reason);
        let bytes = self.read().map_err(|error| none(error.to_string()))?;
        let Files { files: sources } =
            serde_json::from_slice(&bytes).map_err(|error| none(format!("it is damaged: {error}")))?;
        let first = sources.first().map(|source| source.path.as_path());
        if first != Some(main) {
            let first = first.unwrap_or(Path::new("nothing")).display();
            return Err(none(format!("it is of {first}, not of {}", main.display())));
        }
        match Config::from_sources(&sources, &Machine::this(profile)) {
            Ok(config) => Ok(Loaded { config, sources }),
            Err(error) => Err(none(format!("this version cannot use it: {error}"))),
        }
    }

    fn none(&self, reason: String) -> ConfigError {
        ConfigError::NoLastGood { path: self.path.clone(), reason }
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(&self.path)?.take(COPY_MAX as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > COPY_MAX { Err(too_large()) } else { Ok(bytes) }
    }

    /// A file of its own first, on disk before it takes the place of the old one: a power cut leaves one of the two.
    fn replace(&self, copy: &[u8]) -> io::Result<()> {
        let fresh = self.path.with_extension("json.new");
        // What a crash has left has modes of its own.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(copy)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
    }
}

fn too_large() -> io::Error {
    io::Error::other(format!("it has more than {COPY_MAX} bytes, the limit"))
}
