//! Where the sensors' files are.

use std::path::{Path, PathBuf};

/// Names the folder that stands for `/` wherever sensors are read, such as a recorded tree.
const VARIABLE: &str = "PROMPTD_SENSORS_ROOT";

/// The folders that sensors read from. The default is the running machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// The root of all other files, such as `etc/nv_tegra_release`: `/`.
    pub root: PathBuf,
    /// The proc file system: `/proc`.
    pub proc: PathBuf,
    /// The sysfs file system: `/sys`.
    pub sys: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self::under(Path::new("/"))
    }
}

impl Roots {
    /// Those that this process reads: below the folder in `PROMPTD_SENSORS_ROOT`, else the running machine's.
    pub fn this() -> Self {
        let root = std::env::var_os(VARIABLE).filter(|root| !root.is_empty());
        root.map_or_else(Self::default, |root| Self::under(Path::new(&root)))
    }

    /// `proc`, `sys` and all others below one folder, such as a recorded tree.
    pub fn under(root: &Path) -> Self {
        Self { root: root.to_owned(), proc: root.join("proc"), sys: root.join("sys") }
    }

    /// Where the file is that this machine's mount table calls `path`.
    pub(super) fn locate(&self, path: &Path) -> PathBuf {
        if let Ok(below) = path.strip_prefix("/sys") {
            return join(&self.sys, below);
        }
        if let Ok(below) = path.strip_prefix("/proc") {
            return join(&self.proc, below);
        }
        join(&self.root, path.strip_prefix("/").unwrap_or(path))
    }
}

/// Joins without a slash at the end for an empty `below`.
fn join(folder: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { folder.to_owned() } else { folder.join(below) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_found_below_their_root() {
        let roots = Roots { root: "/host".into(), proc: "/host/proc".into(), sys: "/mnt/sys".into() };
        for (path, expected) in [
            ("/sys", "/mnt/sys"),
            ("/sys/fs/cgroup", "/mnt/sys/fs/cgroup"),
            ("/proc/self", "/host/proc/self"),
            ("/cgroup/memory", "/host/cgroup/memory"),
            ("/", "/host"),
            // Names that only begin alike.
            ("/system", "/host/system"),
        ] {
            assert_eq!(roots.locate(Path::new(path)), Path::new(expected), "{path}");
        }
        assert_eq!(Roots::default().locate(Path::new("/sys/fs/cgroup")), Path::new("/sys/fs/cgroup"));
    }
}
