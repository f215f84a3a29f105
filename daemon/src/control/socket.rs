//! The socket in the file system: made so that nobody else can open it at any moment, and removed with its daemon.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::time::timeout;

use super::ControlError;
use super::group::group_id;

/// Owner and group may ask for everything, others for nothing.
const MODE: u32 = 0o660;

/// Of a folder that is made for the socket: the socket's own mode keeps others out.
const FOLDER_MODE: u32 = 0o755;

/// What the socket is called in its folder until it is finished.
const UNFINISHED: &str = ".promptd";

/// Longest path in bytes: `sun_path` of Linux has 108, one of them for the end.
const PATH_MAX: usize = 107;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 16;

/// How long a daemon that is there may take to let us in.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// A socket of ours in the file system, removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: another daemon's socket of the same name is not ours to remove.
    identity: (u64, u64),
}

impl SocketFile {
    /// Makes the socket `path`. See [`super::ControlServer::bind`].
    pub async fn create(path: &Path, group: Option<&str>) -> Result<(Self, UnixListener), ControlError> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let unfinished = folder.join(UNFINISHED);
        check_length(path)?;
        check_length(&unfinished)?;
        make_folder(folder).map_err(|source| ControlError::Folder { path: folder.to_owned(), source })?;
        let _alone = lock(folder, path)?;
        check_free(path).await?;
        let made = Self::make(&unfinished, group).and_then(|(mut file, listener)| {
            fs::rename(&unfinished, path)?;
            path.clone_into(&mut file.path);
            Ok((file, listener))
        });
        made.map_err(|source| ControlError::Socket { path: path.to_owned(), source })
    }

    /// Nobody can connect before it listens, and then its group and mode are set: the process' umask does not matter.
    fn make(path: &Path, group: Option<&str>) -> io::Result<(Self, UnixListener)> {
        remove_if_there(path)?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        let metadata = fs::symlink_metadata(path)?;
        let file = Self { path: path.to_owned(), identity: identity(&metadata) };
        // A service that runs with the group has nothing to give, and may not be allowed to.
        if let Some((name, id)) =
            group.and_then(|name| Some((name, group_id(name)?))).filter(|(_, id)| *id != metadata.gid())
            && let Err(error) = lchown(path, None, Some(id))
        {
            tracing::warn!("the control socket cannot be given to the group {name}: {error}");
        }
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
        Ok((file, socket.listen(BACKLOG)?))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("the control socket {} cannot be removed: {error}", self.path.display());
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn check_length(path: &Path) -> Result<(), ControlError> {
    match path.as_os_str().as_bytes().len() {
        1..=PATH_MAX => Ok(()),
        length => Err(ControlError::PathTooLong { path: path.to_owned(), length, max: PATH_MAX }),
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
        // The umask may have taken some of it.
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE)),
        Err(_) if folder.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Two daemons that start at once would each find the socket abandoned. The lock ends with the descriptor.
fn lock(folder: &Path, path: &Path) -> Result<OwnedFd, ControlError> {
    let locked = File::open(folder).and_then(|file| {
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file.into())
    });
    locked.map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => ControlError::InUse { path: path.to_owned() },
        _ => ControlError::Folder { path: folder.to_owned(), source },
    })
}

/// Whether the name is free, or taken only by a socket that a dead daemon of this user left.
async fn check_free(path: &Path) -> Result<(), ControlError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ControlError::Socket { path: path.to_owned(), source }),
    };
    if !found.file_type().is_socket() {
        return Err(ControlError::NotASocket { path: path.to_owned() });
    }
    let Ok(Err(refused)) = timeout(PROBE_TIMEOUT, UnixStream::connect(path)).await else {
        // It answers, or is too busy to.
        return Err(ControlError::InUse { path: path.to_owned() });
    };
    let (owner, user) = (found.uid(), geteuid().as_raw());
    match refused.kind() {
        io::ErrorKind::WouldBlock => Err(ControlError::InUse { path: path.to_owned() }),
        io::ErrorKind::ConnectionRefused if owner == user => Ok(()),
        io::ErrorKind::ConnectionRefused => Err(ControlError::Foreign { path: path.to_owned(), owner, user }),
        _ => Err(ControlError::Socket { path: path.to_owned(), source: refused }),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
