//! A model that comes from elsewhere: written beside its place, checked, and given its name as the last step.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::EngineError;
use super::derive::{DeriveError, Partial, available, folder_of, sync_folder};
use super::model_file::hex;
use crate::gguf::{Gguf, ModelFacts};
use crate::plan::Bytes;

/// For the service's own user and its group: what a model says is nobody else's business.
const MODE: u32 = 0o640;

/// After so many bytes it is looked whether others fill the disk.
const LOOK_EVERY: u64 = 64 * 1024 * 1024;

/// What is to be imported, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportSpec {
    /// The file to make. Its folder must exist; the file belongs to whom the folder belongs to, if that can be done.
    pub target: PathBuf,
    /// Its size in bytes, where it is known before.
    pub size: Option<u64>,
    /// What its content must hash to.
    pub sha256: Option<[u8; 32]>,
    /// Whether it may take the place of another file.
    pub replace: bool,
    /// What stays free on the disk.
    pub reserve: Bytes,
}

/// A model that was imported.
#[derive(Debug, Clone)]
pub struct Imported {
    /// Where it is.
    pub path: PathBuf,
    /// Its SHA-256, lower-case hex.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// What its header tells.
    pub facts: ModelFacts,
}

/// An import that is under way. Dropping it leaves nothing.
pub struct Import {
    spec: ImportSpec,
    partial: Partial,
    hasher: Sha256,
    written: u64,
    look_at: u64,
}

impl Import {
    /// Makes the unfinished file, if there is room for the whole of it.
    pub fn create(spec: ImportSpec) -> Result<Self, EngineError> {
        may_write(&spec)?;
        let partial = Partial::create(&spec.target, MODE)?;
        let import = Self { spec, partial, hasher: Sha256::new(), written: 0, look_at: LOOK_EVERY };
        let needed = Bytes(import.spec.size.unwrap_or(0));
        let free = available(import.folder())?;
        if free.0 < needed.0.saturating_add(import.spec.reserve.0) {
            let folder = import.folder().to_owned();
            return Err(DeriveError::NoSpace { folder, needed, reserve: import.spec.reserve, available: free }.into());
        }
        Ok(import)
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Adds the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        self.partial.write_at(bytes, self.written)?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        if let Some(size) = self.spec.size.filter(|size| self.written > *size) {
            return Err(EngineError::WrongSize { found: self.written, expected: size });
        }
        if self.written >= self.look_at {
            self.look_at = self.written + LOOK_EVERY;
            let (free, reserve) = (available(self.folder())?, self.spec.reserve);
            if free < reserve {
                let folder = self.folder().to_owned();
                return Err(DeriveError::DiskLow { folder, reserve, available: free }.into());
            }
        }
        Ok(())
    }

    /// Checks the whole and gives it its name.
    pub fn finish(self) -> Result<Imported, EngineError> {
        let Self { spec, partial, hasher, written, .. } = self;
        let path = spec.target.clone();
        if let Some(expected) = spec.size.filter(|size| written != *size) {
            return Err(EngineError::WrongSize { found: written, expected });
        }
        let found: [u8; 32] = hasher.finalize().into();
        if let Some(expected) = spec.sha256.filter(|expected| *expected != found) {
            return Err(EngineError::WrongHash { path, found: hex(&found), expected: hex(&expected) });
        }
        let file = File::from(partial.descriptor().map_err(|source| unreadable(&path, source))?);
        let facts = Gguf::read(&file, written).and_then(|gguf| gguf.facts());
        let facts = facts.map_err(|source| EngineError::Malformed { path: path.clone(), source })?;
        give_to_owner_of(folder_of(&path), file.into());
        partial.sync()?;
        // Somebody may have made it meanwhile.
        may_write(&spec)?;
        partial.rename()?;
        sync_folder(folder_of(&path))?;
        Ok(Imported { path, sha256: hex(&found), size: written, facts })
    }

    fn folder(&self) -> &Path {
        folder_of(&self.spec.target)
    }
}

fn unreadable(path: &Path, source: std::io::Error) -> EngineError {
    EngineError::Unreadable { path: path.to_owned(), source }
}

fn may_write(spec: &ImportSpec) -> Result<(), DeriveError> {
    match spec.target.try_exists() {
        Ok(exists) if exists && !spec.replace => Err(DeriveError::Exists(spec.target.clone())),
        Ok(_) => Ok(()),
        Err(source) => Err(DeriveError::File { path: spec.target.clone(), source }),
    }
}

/// The service runs as the user whom the folder belongs to, and an import as root. Who may not give files away is that user.
pub(super) fn give_to_owner_of(folder: &Path, file: OwnedFd) {
    let given = folder.metadata().and_then(|owner| fchown(file, Some(owner.uid()), Some(owner.gid())));
    if let Err(e) = given {
        tracing::debug!("a file stays with the user who made it: {e}");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::gguf::GgufError;

    fn spec(folder: &Path) -> ImportSpec {
        let target = folder.join("model.gguf");
        ImportSpec { target, size: None, sha256: None, replace: false, reserve: Bytes(0) }
    }

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn what_is_no_model_is_refused_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut import = Import::create(spec(folder.path())).unwrap();
        import.write(b"<html>404</html>").unwrap();
        assert_eq!(import.written(), 16);
        let error = import.finish().unwrap_err();
        assert!(matches!(error, EngineError::Malformed { source: GgufError::NotGguf { .. }, .. }), "{error}");
        assert_eq!(files(folder.path()), 0);
    }

    #[test]
    fn size_and_hash_must_be_what_was_promised() {
        let folder = tempfile::tempdir().unwrap();
        let mut short = Import::create(ImportSpec { size: Some(5), ..spec(folder.path()) }).unwrap();
        short.write(b"four").unwrap();
        let error = short.finish().unwrap_err();
        assert!(matches!(error, EngineError::WrongSize { found: 4, expected: 5 }), "{error}");
        let mut long = Import::create(ImportSpec { size: Some(3), ..spec(folder.path()) }).unwrap();
        let error = long.write(b"four").unwrap_err();
        assert!(matches!(error, EngineError::WrongSize { found: 4, expected: 3 }), "{error}");
        drop(long);
        let mut other = Import::create(ImportSpec { sha256: Some([0; 32]), ..spec(folder.path()) }).unwrap();
        other.write(b"four").unwrap();
        assert!(matches!(other.finish().unwrap_err(), EngineError::WrongHash { .. }));
        assert_eq!(files(folder.path()), 0);
    }

    #[test]
    fn a_disk_without_room_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let error = Import::create(ImportSpec { size: Some(1 << 60), ..spec(folder.path()) }).err().unwrap();
        assert!(matches!(error, EngineError::Derive(DeriveError::NoSpace { .. })), "{error}");
        assert_eq!(files(folder.path()), 0);
    }

    #[test]
    fn another_model_is_replaced_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("model.gguf"), "another").unwrap();
        let error = Import::create(spec(folder.path())).err().unwrap();
        assert!(matches!(error, EngineError::Derive(DeriveError::Exists(_))), "{error}");
        assert!(Import::create(ImportSpec { replace: true, ..spec(folder.path()) }).is_ok());
    }
}
