//! Which cgroups this process is in, and where their files are.
//!
//! `/proc/<pid>/cgroup` names the process' cgroup in each hierarchy, `/proc/<pid>/mountinfo` says where which part of a
//! hierarchy is mounted (both: Documentation/admin-guide/cgroup-v2.rst and cgroups(7)). The two are put together here:
//!
//! | | cgroup | mount root | folder |
//! |---|---|---|---|
//! | host | `/a/b` | `/` | mount point, then `a/b` |
//! | container of its own cgroup namespace | `/` | `/` | mount point |
//! | container without one | `/docker/x` | `/docker/x` | mount point |
//! | namespace without a mount of its own | `/` | `/..` | unknown; the mount point is one above it |

use std::path::{Path, PathBuf};

use super::super::Roots;

/// Most cgroups of a path that are looked at, nearest first. Kubernetes nests about five.
const LEVELS_MAX: usize = 64;

/// The two interfaces of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// A hierarchy for each controller.
    V1,
    /// One hierarchy for all.
    V2,
}

/// One cgroup that holds this process, at some distance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Level {
    /// Its path, as this process' namespace names it.
    pub name: String,
    /// Where its files are.
    pub folder: PathBuf,
}

/// This process' cgroup and those above it as far as they can be seen, nearest first; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lineage {
    pub version: Version,
    pub levels: Vec<Level>,
}

impl Lineage {
    /// The hierarchy that limits memory: one of version 1 if the memory controller is there, else that of version 2.
    pub(super) fn of_memory(cgroup: &str, mountinfo: &str, roots: &Roots) -> Option<Self> {
        let version = if path_in(cgroup, Version::V1).is_some() { Version::V1 } else { Version::V2 };
        Self::of(version, cgroup, mountinfo, roots)
    }

    /// One hierarchy; none if this process is in none, or can't see its own part of it.
    pub(super) fn of(version: Version, cgroup: &str, mountinfo: &str, roots: &Roots) -> Option<Self> {
        let path = components(path_in(cgroup, version)?);
        let mounts = mounts(mountinfo, version);
        // Of several mounts, the one with the shortest root shows the most.
        let seen = mounts.iter().filter(|mount| mount.below(&path).is_some()).min_by_key(|mount| mount.root.len());
        let levels = match seen {
            Some(mount) => mount.levels(&path, roots),
            // A mount that can't be named from here: inside a container it is this process' cgroup or one above it.
            None => mounts.iter().find(|mount| !mount.root.is_empty()).map(|mount| vec![mount.top(roots)])?,
        };
        Some(Self { version, levels })
    }
}

/// The path of this process' cgroup in lines of the form `4:memory:/a/b` or `0::/a/b`.
fn path_in(cgroup: &str, version: Version) -> Option<&str> {
    cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let right = match version {
            Version::V1 => controllers.split(',').any(|controller| controller == "memory"),
            Version::V2 => number == "0" && controllers.is_empty(),
        };
        (right && path.starts_with('/')).then_some(path)
    })
}

/// A mounted part of a hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// The cgroup that is mounted, relative to this process' namespace.
    root: Vec<String>,
    /// Where.
    point: String,
}

impl Mount {
    /// A line of the form `35 31 0:32 /root /mount/point rw shared:9 - cgroup cgroup rw,memory`.
    fn parse(line: &str, version: Version) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (unescape(place.next()?), unescape(place.next()?));
        let mut kind = kind.split(' ');
        let (file_system, options) = (kind.next()?, kind.nth(1)?);
        let right = match version {
            Version::V1 => file_system == "cgroup" && options.split(',').any(|option| option == "memory"),
            Version::V2 => file_system == "cgroup2",
        };
        right.then(|| Self { root: components(&root), point })
    }

    /// The way from the mount point down to a cgroup; none if it isn't below. A namespace's root may have been left: `..`
    /// leads to no folder, and never out of the mount.
    fn below<'path>(&self, path: &'path [String]) -> Option<&'path [String]> {
        path.strip_prefix(&*self.root).filter(|below| !below.iter().any(|name| name == ".."))
    }

    fn levels(&self, path: &[String], roots: &Roots) -> Vec<Level> {
        let top = self.top(roots);
        let level = |depth: usize| {
            let folder = path[self.root.len()..depth].iter().fold(top.folder.clone(), |folder, name| folder.join(name));
            Level { name: name(&path[..depth]), folder }
        };
        (self.root.len()..=path.len()).rev().take(LEVELS_MAX).map(level).collect()
    }

    fn top(&self, roots: &Roots) -> Level {
        Level { name: name(&self.root), folder: roots.locate(Path::new(&self.point)) }
    }
}

/// The mounts of a hierarchy. One that is mounted over another hides it.
fn mounts(mountinfo: &str, version: Version) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for mount in mountinfo.lines().filter_map(|line| Mount::parse(line, version)) {
        mounts.retain(|hidden| hidden.point != mount.point);
        mounts.push(mount);
    }
    mounts
}

fn components(path: &str) -> Vec<String> {
    path.split('/').filter(|name| !name.is_empty() && *name != ".").map(str::to_owned).collect()
}

fn name(path: &[String]) -> String {
    format!("/{}", path.join("/"))
}

/// Spaces, tabs, line ends and backslashes stand as `\040` and the like (proc(5)).
fn unescape(field: &str) -> String {
    let mut pieces = field.split('\\');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let octal = piece.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(u8::is_ascii);
        if let Some(byte) = octal {
            text.push(byte.into());
            text.push_str(&piece[3..]);
        } else {
            text.push('\\');
            text.push_str(piece);
        }
    }
    text
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
