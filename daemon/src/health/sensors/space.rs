//! Swap space and disk.

use std::path::Path;

use super::super::file::{kib, text};
use super::super::{Room, Roots};

/// The swap space; none if the machine has none.
pub(super) fn swap(roots: &Roots) -> Option<Room> {
    let meminfo = text(&roots.proc.join("meminfo"))?;
    room(kib(&meminfo, "SwapTotal")?, kib(&meminfo, "SwapFree")?)
}

/// The file system of a folder, as far as users other than root may fill it.
pub(super) fn disk(folder: &Path) -> Option<Room> {
    let system = rustix::fs::statvfs(folder).ok()?;
    room(system.f_blocks.checked_mul(system.f_frsize)?, system.f_bavail.checked_mul(system.f_frsize)?)
}

fn room(total: u64, free: u64) -> Option<Room> {
    (total > 0 && free <= total).then_some(Room { total, free })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_swap_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::under(folder.path());
        std::fs::create_dir_all(&roots.proc).unwrap();
        let swap = |meminfo: &str| {
            std::fs::write(roots.proc.join("meminfo"), meminfo).unwrap();
            swap(&roots)
        };
        assert_eq!(swap("SwapTotal: 0 kB\nSwapFree: 0 kB\n"), None);
        assert_eq!(swap("SwapTotal: 8 kB\nSwapFree: 3 kB\n"), Some(Room { total: 8192, free: 3072 }));
        assert_eq!(swap("SwapTotal: 8 kB\nSwapFree: 9 kB\n"), None);
        assert_eq!(swap("SwapTotal: 8 kB\n"), None);
    }

    #[test]
    fn a_disk_has_room_and_a_missing_folder_none() {
        let folder = tempfile::tempdir().unwrap();
        let room = disk(folder.path()).unwrap();
        assert!(room.total > 0 && room.free <= room.total);
        assert_eq!(disk(&folder.path().join("none")), None);
    }
}
