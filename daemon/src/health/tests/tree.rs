//! The trees below `tests/fixtures/health`, and copies of them that tests may change.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::*;

/// Every board with sensors of heat and power.
pub(super) const BOARDS: [&str; 8] = [
    "orin-nano-jetpack5",
    "orin-nano-jetpack6",
    "orin-nx-jetpack6",
    "agx-orin-jetpack6",
    "raspberry-pi-4",
    "raspberry-pi-5",
    "x86-intel",
    "x86-amd",
];

fn folder(tree: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/health").join(tree);
    assert!(root.is_dir(), "{} is missing", root.display());
    root
}

pub(super) fn roots(tree: &str) -> Roots {
    Roots::under(&folder(tree))
}

/// A tree to change.
pub(super) struct Copy {
    folder: tempfile::TempDir,
}

impl Copy {
    pub(super) fn of(tree: &str) -> Self {
        let copy = Self { folder: tempfile::tempdir().unwrap() };
        let from = folder(tree);
        for file in files(&from) {
            let to = copy.path(file.strip_prefix(&from).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&file, to).unwrap();
        }
        copy
    }

    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        files(self.folder.path())
    }

    pub(super) fn write(&self, path: impl AsRef<Path>, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    pub(super) fn sensors(&self) -> HealthSensors {
        HealthSensors::discover(Roots::under(self.folder.path()), self.folder.path())
    }
}

/// Every file below a folder, in an order that is the same each time.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
