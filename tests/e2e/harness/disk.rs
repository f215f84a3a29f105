//! A small filesystem.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// An ext4 in a file, mounted through a loop device; gone when it is dropped.
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// None, with a printed reason, where this user can't mount one.
    pub fn mount(mebibytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        // No blocks kept for root: full is full.
        let made = run(Command::new("/sbin/mkfs.ext4").args(["-q", "-m", "0"]).arg(&image));
        match made.and_then(|()| Self { folder }.mounted()) {
            Ok(disk) => Some(disk),
            Err(reason) => {
                eprintln!("skipped: cannot mount a small filesystem: {reason}");
                None
            }
        }
    }

    fn mounted(self) -> Result<Self, String> {
        std::fs::create_dir(self.path()).unwrap();
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(self.path()))?;
        Ok(self)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// What a loss of power would leave of it now. What the kernel has in memory and has not been told to sync is not in the
    /// image yet. Whoever writes must be stopped meanwhile.
    pub fn after_power_loss(&self) -> Self {
        let copy = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::copy(self.image(), copy.image()).unwrap();
        copy.mounted().unwrap()
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Takes all room that is left.
    pub fn fill(&self) {
        fill(&self.path().join("filler"));
    }
}

fn fill(path: &Path) {
    let file = File::create(path).unwrap();
    let piece = vec![1; 4096];
    let mut end = 0;
    while file.write_all_at(&piece, end).is_ok() {
        end += piece.len() as u64;
    }
    // What is not on the disk yet may find no room on it.
    let _ = file.sync_all();
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| e.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A test that was skipped has mounted nothing.
        if let Err(reason) = run(Command::new("umount").arg("--lazy").arg(self.path())) {
            eprintln!("{}: {reason}", self.path().display());
        }
    }
}
