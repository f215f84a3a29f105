//! What operator's prompts begin with, on disk, so that the first request after a start finds it. Never a client's text.
//!
//! ```text
//! magic · SHA-256 of all that follows · hash of what computed it · number of tokens · tokens · state
//! ```
//!
//! llama.cpp checks little of a state that it reads: nothing is read from a file that has not its hash, and nothing of it is
//! used but for the very tokens that are in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::State;
use crate::engine::child::llama::Token;
use crate::engine::model_file::hex;
use crate::engine::protocol::PrefixFolder;

/// Raised with every change of the form.
const MAGIC: &[u8; 16] = b"promptd prefix 1";

const HASH: usize = 32;

/// Everything before the tokens.
const HEADER: usize = MAGIC.len() + 2 * HASH + size_of::<u32>();

/// Bytes of a hash that make a name.
const NAME: usize = 16;

/// Bytes that are read or hashed before it is told that something is done.
const PIECE: usize = 1 << 20;

/// Ends of names: of whole files, and of those that are being written.
const WHOLE: &str = "prefix";
const UNFINISHED: &str = "new";

/// States that may wait to be written. One that finds no place is written after a later start.
const WAITING: usize = 4;

/// A file that was used within this time is not removed for another one: where there is no room for both, they would be written in
/// turns, with every start of a node.
const LATELY: Duration = Duration::from_hours(1);

/// How often it is noted that a file is used.
const NOTED: Duration = Duration::from_mins(30);

/// A hash of everything that the bytes of a state depend on besides the tokens.
pub type Key = [u8; HASH];

/// A folder of states.
#[derive(Clone)]
pub struct Disk {
    folder: PrefixFolder,
    /// What names of files of the model begin with.
    mark: String,
    key: Key,
}

impl Disk {
    /// The states in a folder of the model with this hash, computed in this way.
    pub fn new(folder: PrefixFolder, model: &str, key: Key) -> Self {
        Self { folder, mark: PrefixFolder::mark(model).to_owned(), key }
    }

    /// The state of these tokens, if it is there; a file that is not what it should be is removed. Tells of each piece that is done.
    pub fn read(&self, tokens: &[Token], progress: impl Fn()) -> Option<State> {
        let path = self.path(tokens);
        let bytes = match read(&path, self.folder.most.0, &progress) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return None,
            Err(e) => {
                tracing::warn!("cannot read {}: {e}", path.display());
                return None;
            }
        };
        match open(bytes, &self.key, tokens, progress) {
            Ok(state) => Some(state.into()),
            Err(reason) => {
                tracing::warn!("{} is removed: {reason}", path.display());
                if let Err(e) = fs::remove_file(&path) {
                    tracing::warn!("cannot remove it: {e}");
                }
                None
            }
        }
    }

    /// Writes a state, and removes others for it, oldest first, where all would be too much, but none that was used lately.
    fn write(&self, tokens: &[Token], state: &[u8]) -> io::Result<()> {
        let path = self.path(tokens);
        let header = header(&self.key, tokens, state);
        let bytes = (header.len() + state.len()) as u64;
        if bytes > self.folder.most.0 {
            // The others shall not go for one that would never be read.
            return Ok(());
        }
        match DirBuilder::new().mode(0o700).create(&self.folder.path) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        make_room(&self.folder.path, self.folder.most.0.saturating_sub(bytes))?;
        let free = rustix::fs::statvfs(&self.folder.path)?;
        if (free.f_bavail * free.f_frsize).saturating_sub(bytes) < self.folder.reserve.0 {
            return Err(io::Error::new(ErrorKind::StorageFull, "what must stay free would not (disk.reserve)"));
        }
        let unfinished = path.with_extension(UNFINISHED);
        let written = write_new(&unfinished, &[&header, state]).and_then(|()| fs::rename(&unfinished, &path));
        if written.is_err() {
            // What is left of it is removed for the next one that needs its room.
            let _ = fs::remove_file(&unfinished);
        }
        written?;
        File::open(&self.folder.path)?.sync_all()
    }

    fn path(&self, tokens: &[Token]) -> PathBuf {
        let hash = Sha256::new_with_prefix(self.key).chain_update(bytes_of(tokens)).finalize();
        self.folder.path.join(format!("{}-{}.{WHOLE}", self.mark, hex(&hash[..NAME])))
    }
}

/// Writes states on a thread of its own, for a disk may take long.
pub struct Writer {
    work: SyncSender<(Vec<Token>, Weak<Vec<u8>>)>,
}

impl Writer {
    /// Starts the thread, which ends with the process: what it writes then is removed later.
    pub fn start(disk: Disk) -> io::Result<Self> {
        let (work, waiting) = sync_channel(WAITING);
        std::thread::Builder::new().name("prefixes".into()).spawn(move || write_all(&disk, &waiting))?;
        Ok(Self { work })
    }

    /// Has a state written, if there is a place in the line and it is still kept when its turn comes.
    pub fn write(&self, tokens: Vec<Token>, state: &State) {
        match self.work.try_send((tokens, State::downgrade(state))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => tracing::debug!("a prefix is not written"),
        }
    }
}

fn write_all(disk: &Disk, waiting: &Receiver<(Vec<Token>, Weak<Vec<u8>>)>) {
    for (tokens, state) in waiting {
        let Some(state) = state.upgrade() else { continue };
        match disk.write(&tokens, &state) {
            Ok(()) => tracing::debug!(tokens = tokens.len(), bytes = state.len(), "a prefix is on disk"),
            Err(e) => tracing::warn!("a prefix of {} tokens is not kept on disk: {e}", tokens.len()),
        }
    }
}

/// A whole file of at most so many bytes.
fn read(path: &Path, most: u64, progress: impl Fn()) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > most {
        return Err(io::Error::other("it is no file of a size that we write"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    let mut rest = (&file).take(most);
    while rest.by_ref().take(PIECE as u64).read_to_end(&mut bytes)? > 0 {
        progress();
    }
    // The one that was used last is removed last. It is only a wish: the file system may be read-only.
    if since(metadata.modified()?) > NOTED {
        let _ = file.set_modified(SystemTime::now());
    }
    Ok(bytes)
}

fn header(key: &Key, tokens: &[Token], state: &[u8]) -> Vec<u8> {
    let mut rest = Vec::with_capacity(HEADER + size_of_val(tokens));
    rest.extend(key);
    rest.extend(count_of(tokens));
    rest.extend(bytes_of(tokens));
    let hash = Sha256::new_with_prefix(&rest).chain_update(state).finalize();
    [MAGIC, &hash[..], &rest].concat()
}

fn count_of(tokens: &[Token]) -> [u8; 4] {
    u32::try_from(tokens.len()).unwrap_or(u32::MAX).to_le_bytes()
}

fn bytes_of(tokens: &[Token]) -> Vec<u8> {
    tokens.iter().flat_map(|token| token.to_le_bytes()).collect()
}

/// The state in a file, if that is whole and is of these tokens, computed in this way.
fn open(mut bytes: Vec<u8>, key: &Key, tokens: &[Token], progress: impl Fn()) -> Result<Vec<u8>, &'static str> {
    let start = HEADER + size_of_val(tokens);
    if bytes.len() <= start || !bytes.starts_with(MAGIC) {
        return Err("it is no prefix, or cut off");
    }
    let (hash, content) = bytes[MAGIC.len()..].split_at(HASH);
    let mut digest = Sha256::new();
    for piece in content.chunks(PIECE) {
        digest.update(piece);
        progress();
    }
    if digest.finalize()[..] != *hash {
        return Err("it is damaged");
    }
    let (of_file, rest) = content.split_at(HASH);
    if of_file != key {
        return Err("something else has computed it");
    }
    if !rest.starts_with(&[&count_of(tokens)[..], &bytes_of(tokens)].concat()) {
        return Err("it is of other tokens");
    }
    bytes.drain(..start);
    Ok(bytes)
}

fn write_new(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    // What a crash has left of it; a link is not followed.
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// For how long a file was not used. One of the future is of another clock, which this one may never reach.
fn since(modified: SystemTime) -> Duration {
    modified.elapsed().unwrap_or(Duration::MAX)
}

/// Removes files, those that are not whole and then the oldest first, until those that are left have no more bytes than that. An
/// error if one of them was used lately.
fn make_room(folder: &Path, most: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let path = entry.path();
        let ends = |end: &str| path.extension().is_some_and(|extension| extension == end);
        let is_whole = ends(WHOLE);
        // Files of others are none of our business.
        if metadata.is_file() && (is_whole || ends(UNFINISHED)) {
            files.push((is_whole, metadata.modified()?, metadata.len(), path));
        }
    }
    files.sort_unstable();
    let mut left: u64 = files.iter().map(|(_, _, bytes, _)| bytes).sum();
    for (is_whole, modified, bytes, path) in files {
        if left <= most {
            break;
        }
        if is_whole && since(modified) < LATELY {
            return Err(io::Error::new(
                ErrorKind::StorageFull,
                "others that were used lately take its room (engine.prefix_cache)",
            ));
        }
        fs::remove_file(path)?;
        left -= bytes;
    }
    Ok(())
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
