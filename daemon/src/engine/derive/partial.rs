//! A file that is being written: locked, and gone unless it becomes a whole one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::DeriveError;

/// Appended to the name that the file will have.
pub(super) const SUFFIX: &str = ".partial";

/// Bytes that are written to learn whether the disk is full.
static PROBE: [u8; 64 * 1024] = [0; 64 * 1024];

/// Bits of a new file's mode for everybody; the umask takes away from them.
pub(super) const PUBLIC: u32 = 0o666;

/// Bits of a new file's mode for its owner only.
pub(in crate::engine) const PRIVATE: u32 = 0o600;

/// An unfinished file. Dropping it removes it. The lock ends with the last descriptor, however that process ends, so that
/// one without a lock is what a crash has left.
#[derive(Debug)]
pub struct Partial {
    file: File,
    path: PathBuf,
    target: PathBuf,
    renamed: bool,
}

impl Partial {
    /// Creates `target` with another name. What a crash has left of it is removed.
    pub fn create(target: &Path, mode: u32) -> Result<Self, DeriveError> {
        let path = partial_name(target);
        let failed = |source| DeriveError::File { path: path.clone(), source };
        if !remove_abandoned(&path).map_err(failed)? {
            return Err(DeriveError::Busy(target.to_owned()));
        }
        let mut options = OpenOptions::new();
        let file = match options.read(true).write(true).create_new(true).mode(mode).open(&path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(DeriveError::Busy(target.to_owned())),
            file => file.map_err(failed)?,
        };
        // Between the two calls another process may take it for abandoned.
        let ours = try_lock(&file).and_then(|locked| Ok(locked && is_at(&file, &path)?));
        if !ours.map_err(failed)? {
            return Err(DeriveError::Busy(target.to_owned()));
        }
        Ok(Self { file, path, target: target.to_owned(), renamed: false })
    }

    /// Where it is now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it will be.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// A descriptor for a child. It shares the lock.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned()
    }

    /// Bytes that have been written.
    pub fn written(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Why nothing more can be written, if that is so: a failed child can't tell. Spoils the file.
    pub fn full(&self) -> Option<DeriveError> {
        let end = self.written().ok()?;
        let error = self.file.write_all_at(&PROBE, end).and_then(|()| self.file.sync_all()).err()?;
        is_full(&error).then(|| self.error(error))
    }

    /// Writes at an offset.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DeriveError> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.error(error))
    }

    /// Waits until the disk has it.
    pub fn sync(&self) -> Result<(), DeriveError> {
        self.file.sync_all().map_err(|error| self.error(error))
    }

    /// Gives it its name. The folder must be synced after this.
    pub fn rename(mut self) -> Result<(), DeriveError> {
        fs::rename(&self.path, &self.target).map_err(|error| self.error(error))?;
        self.renamed = true;
        Ok(())
    }

    fn error(&self, source: io::Error) -> DeriveError {
        write_error(&self.path, source)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.renamed {
            return;
        }
        if let Err(e) = fs::remove_file(&self.path) {
            tracing::warn!("cannot remove {}: {e}", self.path.display());
        }
    }
}

/// The name of the unfinished file.
fn partial_name(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(SUFFIX);
    name.into()
}

/// Removes an unfinished file if there is one that nobody writes; false if somebody does.
pub(super) fn remove_abandoned(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(true),
        file => file?,
    };
    // While its writer lives, it is locked; if it was renamed meanwhile, there is nothing to remove.
    if !try_lock(&file)? {
        return Ok(false);
    }
    if is_at(&file, path)? {
        fs::remove_file(path)?;
    }
    Ok(true)
}

/// Writes a small file at once: with another name first, so that it is never there in part.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), DeriveError> {
    let partial = Partial::create(path, PRIVATE)?;
    partial.write_at(bytes, 0)?;
    partial.sync()?;
    partial.rename()
}

/// Waits until the disk has the names of a folder.
pub fn sync_folder(folder: &Path) -> Result<(), DeriveError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| write_error(folder, error))
}

fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((own.dev(), own.ino()) == (there.dev(), there.ino())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Full is also what is full for this user or process only.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

fn write_error(path: &Path, source: io::Error) -> DeriveError {
    let path = path.to_owned();
    if is_full(&source) { DeriveError::DiskFull { path, source } } else { DeriveError::File { path, source } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_gone_unless_it_gets_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model.gguf");
        let partial = Partial::create(&target, PRIVATE).unwrap();
        assert!(partial.path().exists() && !target.exists());
        drop(partial);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        Partial::create(&target, PRIVATE).unwrap().rename().unwrap();
        assert!(target.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_writers_never_meet_and_what_a_crash_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model.gguf");
        let first = Partial::create(&target, PRIVATE).unwrap();
        assert!(matches!(Partial::create(&target, PRIVATE), Err(DeriveError::Busy(_))));
        assert!(!remove_abandoned(first.path()).unwrap() && first.path().exists());
        // The child's copy of the descriptor holds the lock as long as the child lives.
        let child = first.descriptor().unwrap();
        let path = first.path().to_owned();
        std::mem::forget(first);
        assert!(!remove_abandoned(&path).unwrap());
        drop(child);
        fs::remove_file(&path).unwrap();

        fs::write(&path, "left by a crash").unwrap();
        assert_eq!(Partial::create(&target, PRIVATE).unwrap().written().unwrap(), 0);
    }

    #[test]
    fn a_file_with_room_is_not_full() {
        let folder = tempfile::tempdir().unwrap();
        let partial = Partial::create(&folder.path().join("model.gguf"), PRIVATE).unwrap();
        assert!(partial.full().is_none());
    }
}
