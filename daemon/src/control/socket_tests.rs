//! The socket in the file system.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

use rustix::process::{getegid, geteuid};
use tempfile::{TempDir, tempdir};

use super::{ControlError, ControlServer};

fn folder() -> TempDir {
    tempdir().unwrap()
}

async fn bind(path: &Path) -> Result<ControlServer, ControlError> {
    ControlServer::bind(path, None).await
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn has_its_mode_and_owner_and_goes_with_its_server() {
    let folder = folder();
    let path = folder.path().join("control.sock");
    let server = bind(&path).await.unwrap();
    let found = fs::symlink_metadata(&path).unwrap();
    assert_eq!(found.mode() & 0o7777, 0o660);
    assert_eq!((found.uid(), found.gid()), (geteuid().as_raw(), getegid().as_raw()));
    assert_eq!(names(folder.path()), ["control.sock"]);
    drop(server);
    assert!(names(folder.path()).is_empty());
}

#[tokio::test]
async fn gets_the_group_if_there_is_one() {
    let folder = folder();
    let path = folder.path().join("s");
    let server = ControlServer::bind(&path, Some("no such group")).await.unwrap();
    assert_eq!(fs::symlink_metadata(&path).unwrap().gid(), getegid().as_raw());
    drop(server);
    // Group 1 has this name on every Linux. Only root may give to groups that it is not in; others keep their own.
    let Some(daemon) = super::group::group_id("daemon") else { return };
    let _server = ControlServer::bind(&path, Some("daemon")).await.unwrap();
    let expected = if geteuid().is_root() { daemon } else { getegid().as_raw() };
    let found = fs::symlink_metadata(&path).unwrap();
    assert_eq!((found.gid(), found.mode() & 0o7777), (expected, 0o660));
}

#[tokio::test]
async fn replaces_what_a_dead_daemon_left() {
    let folder = folder();
    let path = folder.path().join("s");
    // The standard library leaves the file.
    drop(UnixListener::bind(&path).unwrap());
    drop(UnixListener::bind(folder.path().join(".promptd")).unwrap());
    let old = fs::symlink_metadata(&path).unwrap().ino();
    let _server = bind(&path).await.unwrap();
    assert_ne!(fs::symlink_metadata(&path).unwrap().ino(), old);
    tokio::net::UnixStream::connect(&path).await.unwrap();
    assert_eq!(names(folder.path()), ["s"]);
}

#[tokio::test]
async fn leaves_the_socket_to_a_daemon_that_is_there() {
    let folder = folder();
    let path = folder.path().join("s");
    let first = bind(&path).await.unwrap();
    let error = bind(&path).await.unwrap_err();
    assert!(matches!(error, ControlError::InUse { .. }) && error.to_string().contains("another daemon"), "{error}");
    tokio::net::UnixStream::connect(&path).await.unwrap();
    drop(first);
    bind(&path).await.unwrap();
    // One that hangs is there as well: its queue is full.
    let hanging = UnixListener::bind(&path).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = tokio::net::UnixStream::connect(&path).await {
        waiting.push(stream);
    }
    assert!(matches!(bind(&path).await.unwrap_err(), ControlError::InUse { .. }));
    drop(hanging);
}

#[tokio::test]
async fn of_two_that_start_at_once_one_serves() {
    let folder = folder();
    let path = folder.path().join("s");
    drop(UnixListener::bind(&path).unwrap());
    let (first, second) = tokio::join!(bind(&path), bind(&path));
    assert_eq!([&first, &second].iter().filter(|server| server.is_ok()).count(), 1, "{first:?} {second:?}");
    tokio::net::UnixStream::connect(&path).await.unwrap();
}

#[tokio::test]
async fn removes_nothing_that_is_not_its_own() {
    let folder = folder();
    let path = folder.path().join("s");
    fs::write(&path, "precious").unwrap();
    assert!(matches!(bind(&path).await.unwrap_err(), ControlError::NotASocket { .. }));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    assert!(matches!(bind(&path).await.unwrap_err(), ControlError::NotASocket { .. }));
    fs::remove_file(&path).unwrap();
    let datagram = UnixDatagram::bind(&path).unwrap();
    assert!(matches!(bind(&path).await.unwrap_err(), ControlError::Socket { .. }));
    drop(datagram);
    fs::remove_file(&path).unwrap();
    // Another has taken the name meanwhile.
    let server = bind(&path).await.unwrap();
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(server);
    assert!(path.exists());
}

#[tokio::test]
async fn an_abandoned_socket_of_somebody_else_stays() {
    if !geteuid().is_root() {
        // Nobody else can give sockets away.
        return;
    }
    let folder = folder();
    let path = folder.path().join("s");
    drop(UnixListener::bind(&path).unwrap());
    std::os::unix::fs::lchown(&path, Some(1), None).unwrap();
    let error = bind(&path).await.unwrap_err();
    assert!(matches!(error, ControlError::Foreign { owner: 1, user: 0, .. }), "{error}");
    assert!(path.exists());
}

#[tokio::test]
async fn makes_one_folder_and_no_more() {
    let above = folder();
    let path = above.path().join("promptd/s");
    let server = bind(&path).await.unwrap();
    let found = fs::metadata(above.path().join("promptd")).unwrap();
    assert_eq!(found.permissions().mode() & 0o7777, 0o755);
    drop(server);
    let error = bind(&above.path().join("a/b/s")).await.unwrap_err();
    assert!(matches!(error, ControlError::Folder { .. }), "{error}");
    fs::write(above.path().join("file"), "").unwrap();
    let error = bind(&above.path().join("file/s")).await.unwrap_err();
    assert!(matches!(error, ControlError::Folder { .. }), "{error}");
}

#[tokio::test]
async fn says_when_a_path_is_too_long() {
    let folder = folder();
    let name = |length: usize| folder.path().join("x".repeat(length - folder.path().as_os_str().len() - 1));
    bind(&name(107)).await.unwrap();
    let error = bind(&name(108)).await.unwrap_err();
    assert!(error.to_string().contains("has 108 bytes; allowed are 1 to 107"), "{error}");
}
