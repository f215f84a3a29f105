//! A model file: opened once; hashed, checked and loaded through the same descriptor, so that a file that is replaced
//! meanwhile can't slip through.

use std::fmt::Write as _;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::EngineError;
use crate::gguf::{Gguf, ModelFacts};

/// How much is read at once while hashing.
const CHUNK: usize = 1024 * 1024;

/// An open model file that passed all checks.
#[derive(Debug)]
pub struct ModelFile {
    file: File,
    /// Where it was opened.
    pub path: PathBuf,
    /// Device and inode: two engines of one such file map the same pages.
    pub inode: (u64, u64),
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// What its header tells.
    pub facts: ModelFacts,
}

impl ModelFile {
    /// Opens, checks and hashes a file. Reads all of it: call it where blocking is allowed.
    pub fn open(path: &Path, expected: Option<&[u8; 32]>) -> Result<Self, EngineError> {
        Self::open_watched(path, expected, |_| {})
    }

    /// The same for somebody who watches how many bytes have been hashed.
    pub fn open_watched(
        path: &Path,
        expected: Option<&[u8; 32]>,
        hashed: impl FnMut(u64),
    ) -> Result<Self, EngineError> {
        let (file, metadata, facts) = examine(path)?;
        let unreadable = |source| EngineError::Unreadable { path: path.to_owned(), source };
        let found = hash(&file, hashed).map_err(unreadable)?;
        match expected {
            Some(expected) if *expected != found => {
                Err(EngineError::WrongHash { path: path.to_owned(), found: hex(&found), expected: hex(expected) })
            }
            _ => Ok(Self {
                file,
                path: path.to_owned(),
                inode: (metadata.dev(), metadata.ino()),
                size: metadata.len(),
                sha256: hex(&found),
                facts,
            }),
        }
    }

    /// What the header of a file tells; the rest is not read.
    pub fn facts(path: &Path) -> Result<ModelFacts, EngineError> {
        examine(path).map(|(_, _, facts)| facts)
    }

    /// Whether the file at its path is still this one, unchanged.
    pub fn is_current(&self) -> bool {
        let identity = |m: &Metadata| (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec());
        let (open, named) = (self.file.metadata(), std::fs::metadata(&self.path));
        matches!((open, named), (Ok(open), Ok(named)) if identity(&open) == identity(&named) && named.len() == self.size)
    }

    /// A descriptor for a child.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned()
    }
}

/// Opens a file and reads its header.
fn examine(path: &Path) -> Result<(File, Metadata, ModelFacts), EngineError> {
    let unreadable = |source| EngineError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::other("not a regular file")));
    }
    let malformed = |source| EngineError::Malformed { path: path.to_owned(), source };
    let facts = Gguf::read(&file, metadata.len()).and_then(|gguf| gguf.facts()).map_err(malformed)?;
    Ok((file, metadata, facts))
}

fn hash(file: &File, mut watch: impl FnMut(u64)) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    loop {
        match file.read_at(&mut buffer, offset) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&buffer[..read]);
                offset += read as u64;
                watch(offset);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(hasher.finalize().into())
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
