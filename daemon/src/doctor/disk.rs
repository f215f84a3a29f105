//! Room on the file system with the state folder.

use std::fs;

use rustix::fs::statvfs;

use super::{Check, Finding, RESTART};
use crate::config::{Config, Model};
use crate::plan::Bytes;

/// Judges the free space by the reserve, and by what is going to be derived.
pub fn disk(config: &Config) -> Vec<Finding> {
    // That the folder is there is another check.
    let Ok(found) = statvfs(&config.service.state_dir) else { return Vec::new() };
    let room = Room { total: Bytes(found.f_blocks * found.f_frsize), free: Bytes(found.f_bavail * found.f_frsize) };
    let source = config.models.iter().filter(|model| model.derive).filter_map(largest).max();
    vec![judge(config, room, source)]
}

#[derive(Debug, Clone, Copy)]
struct Room {
    total: Bytes,
    /// For those who are not root.
    free: Bytes,
}

/// The size of a model's largest file: what is derived from it is smaller.
fn largest(model: &Model) -> Option<Bytes> {
    model.files.iter().filter_map(|file| Some(Bytes(fs::metadata(&file.path).ok()?.len()))).max()
}

fn judge(config: &Config, room: Room, source: Option<Bytes>) -> Finding {
    let folder = config.service.state_dir.display();
    let reserve = config.disk.reserve.of(room.total);
    let derived_max = config.disk.derived_max;
    let what = format!(
        "{} of {} are free below {folder}; {reserve} stay free (disk.reserve), derived models may take {derived_max} \
         (disk.derived_max)",
        room.free, room.total
    );
    let usable = Bytes(room.free.0.saturating_sub(reserve.0)).min(derived_max);
    let remedy = format!("free space there, or set service.state_dir to a larger file system; then: {RESTART}");
    match source {
        _ if room.free < reserve => Finding::warn(Check::Disk, format!("{what}: nothing is derived"), remedy),
        Some(source) if usable < source => {
            Finding::warn(Check::Disk, format!("{what}: a model of {source} may not fit in a lower precision"), remedy)
        }
        _ => Finding::pass(Check::Disk, what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use crate::plan::Profile;

    #[test]
    fn the_reserve_and_what_is_derived_want_room() {
        let config = Config::defaults(&Profile::default());
        let gib = |gib: u64| Bytes(gib << 30);
        let level = |free, source| judge(&config, Room { total: gib(100), free: gib(free) }, source).level();
        assert_eq!(level(50, None), Level::Pass);
        assert_eq!(level(4, None), Level::Warn, "the reserve is 5 GiB");
        assert_eq!(level(8, None), Level::Pass);
        assert_eq!(level(8, Some(gib(4))), Level::Warn);
        assert_eq!(level(12, Some(gib(4))), Level::Pass);
        assert_eq!(level(90, Some(gib(20))), Level::Warn, "derived_max is 16 GiB");
    }

    #[test]
    fn a_folder_that_is_not_there_is_another_check() {
        let mut config = Config::defaults(&Profile::default());
        config.service.state_dir = "/nowhere".into();
        assert!(disk(&config).is_empty());
        config.service.state_dir = "/".into();
        assert_eq!(disk(&config).len(), 1);
    }
}
