//! Metrics in a file, for the textfile collector of Prometheus' `node_exporter`.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

use crate::telemetry::Metrics;

/// The collector is another user; there is nothing secret in it.
const MODE: u32 = 0o644;

/// Writes the file as long as it is kept; then removes it, for old numbers would be taken for new ones.
#[derive(Debug)]
pub(super) struct TextFile {
    path: PathBuf,
    task: JoinHandle<()>,
    /// Whether the file may still be written. Held while it is renamed: a writer on its own thread can't be stopped.
    open: Arc<Mutex<bool>>,
}

impl TextFile {
    /// Begins to write. Must be called within a runtime.
    pub(super) fn start(path: PathBuf, every: Duration, metrics: Arc<Metrics>) -> Self {
        let open = Arc::new(Mutex::new(true));
        let task = tokio::spawn(keep(path.clone(), every, metrics, Arc::clone(&open)));
        Self { path, task, open }
    }
}

impl Drop for TextFile {
    fn drop(&mut self) {
        self.task.abort();
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = false;
        if let Err(e) = fs::remove_file(&self.path) {
            tracing::debug!("{} stays: {e}", self.path.display());
        }
    }
}

async fn keep(path: PathBuf, every: Duration, metrics: Arc<Metrics>, open: Arc<Mutex<bool>>) {
    let mut turn = interval(every);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        turn.tick().await;
        let (text, to, open) = (metrics.prometheus(), path.clone(), Arc::clone(&open));
        // A disk may take its time; the driver has none.
        let written =
            spawn_blocking(move || write(&to, &text, &open)).await.unwrap_or_else(|e| Err(io::Error::other(e)));
        match written {
            Ok(()) => failing = false,
            Err(e) if !failing => {
                tracing::warn!("telemetry.textfile: cannot write {}: {e}", path.display());
                failing = true;
            }
            Err(_) => {}
        }
    }
}

/// A file of its own first, so that nobody reads half of one. Not synced: after a power cut it is written anew.
fn write(path: &Path, text: &str, open: &Mutex<bool>) -> io::Result<()> {
    let fresh = path.with_extension("prom.new");
    let mut file = File::create(&fresh)?;
    // Whatever the umask says.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(text.as_bytes())?;
    let open = open.lock().unwrap_or_else(PoisonError::into_inner);
    if *open { fs::rename(&fresh, path) } else { fs::remove_file(&fresh) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_whole_and_readable_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("promptd.prom");
        fs::write(&path, "older and longer than the new text").unwrap();
        write(&path, "new\n", &Mutex::new(true)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        assert!(write(&folder.path().join("none/promptd.prom"), "x", &Mutex::new(true)).is_err());
    }

    #[tokio::test]
    async fn nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("promptd.prom");
        let file = TextFile::start(path.clone(), Duration::from_millis(10), Arc::new(Metrics::new()));
        let mut turn = interval(Duration::from_millis(10));
        while !path.exists() {
            turn.tick().await;
        }
        assert!(fs::read_to_string(&path).unwrap().contains("promptd_requests_received_total 0"));
        drop(file);
        assert!(!path.exists());
    }
}
