//! The file system that a path lies on.

use std::path::{Path, PathBuf};

use super::Roots;
use super::file::text;

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Its type, such as `ext4`.
    pub kind: String,
    /// Whether nothing can be written to it here.
    pub read_only: bool,
}

impl Mount {
    /// The file system of a path without symbolic links; none if the mount table can't be read.
    pub fn of(roots: &Roots, path: &Path) -> Option<Self> {
        let table = text(&roots.proc.join("self/mountinfo"))?;
        let mounts = table.lines().filter_map(Self::parse).filter(|mount| path.starts_with(&mount.point));
        // Of several at one place the last hides the others.
        mounts.max_by_key(|mount| mount.point.components().count())
    }

    /// A line of the mount table, as proc(5) has it: `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`.
    fn parse(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(4);
        let (point, options) = (fields.next()?, fields.next()?);
        let mut fields = file_system.split(' ');
        let (kind, of_all) = (fields.next()?, fields.nth(1).unwrap_or_default());
        let read_only = [options, of_all].iter().any(|options| options.split(',').any(|option| option == "ro"));
        Some(Self { point: unescape(point).into(), kind: kind.to_owned(), read_only })
    }
}

/// Space, tab, newline and backslash stand in the table as `\040`, `\011`, `\012` and `\134`.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (written, meant)| text.replace(written, meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:5 / /var/lib rw - tmpfs none rw
24 22 0:6 / /var/lib/promptd ro,nosuid - xfs /dev/sdb1 rw
25 22 0:7 / /mnt/a\\040b rw - nfs4 server:/x ro,vers=4.2
26 25 0:8 / /var/lib rw - btrfs /dev/sdc rw
broken
";

    #[test]
    fn the_nearest_and_latest_mount_counts() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::under(folder.path());
        assert_eq!(Mount::of(&roots, Path::new("/")), None);
        std::fs::create_dir_all(roots.proc.join("self")).unwrap();
        std::fs::write(roots.proc.join("self/mountinfo"), TABLE).unwrap();
        for (path, kind, read_only) in [
            ("/", "ext4", false),
            ("/var/library", "ext4", false),
            ("/var/lib/other", "btrfs", false),
            ("/var/lib/promptd/derived", "xfs", true),
            ("/mnt/a b/model.gguf", "nfs4", true),
        ] {
            let mount = Mount::of(&roots, Path::new(path)).unwrap();
            assert_eq!((mount.kind.as_str(), mount.read_only), (kind, read_only), "{path}");
        }
    }

    #[test]
    fn this_machine_has_a_root() {
        assert!(Mount::of(&Roots::default(), Path::new("/")).is_some());
    }
}
