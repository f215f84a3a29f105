//! Whether a device may be asked without disturbing its sleep.

use std::path::{Path, PathBuf};

use crate::health::file::text;

/// Readings between two questions to a device that goes to sleep by itself: more seconds than drivers wait for that, which
/// are 5 for amdgpu.
const PATIENCE: u32 = 30;

/// What to do at a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum May {
    /// Ask it.
    Ask,
    /// Say what it said last: if it is asked too often, it never sleeps.
    Repeat,
    /// Ask nothing: it sleeps.
    Sleep,
}

/// The state of a device that may sleep (Documentation/ABI/testing/sysfs-devices-power).
#[derive(Debug)]
pub(super) struct Sleeper {
    power: PathBuf,
    /// Readings since it was asked.
    since: u32,
}

impl Sleeper {
    /// That of the device in a folder.
    pub(super) fn of(device: &Path) -> Self {
        Self { power: device.join("power"), since: PATIENCE }
    }

    /// What to do now.
    pub(super) fn look(&mut self) -> May {
        let read = |name: &str| text(&self.power.join(name)).map(|text| text.trim().to_owned());
        match read("runtime_status").as_deref() {
            Some("active") if read("control").as_deref() != Some("auto") => May::Ask,
            Some("active") if self.since >= PATIENCE => {
                self.since = 0;
                May::Ask
            }
            Some("active") => {
                self.since += 1;
                May::Repeat
            }
            Some("suspended" | "suspending" | "resuming") => {
                self.since = 0;
                May::Sleep
            }
            // It never sleeps, or does not tell.
            _ => May::Ask,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(status: Option<&str>, control: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("power")).unwrap();
        std::fs::write(folder.path().join("power/control"), control).unwrap();
        if let Some(status) = status {
            std::fs::write(folder.path().join("power/runtime_status"), status).unwrap();
        }
        folder
    }

    #[test]
    fn a_device_that_never_sleeps_is_always_asked() {
        for (status, control) in
            [(None, "auto"), (Some(""), "auto"), (Some("unsupported\n"), "auto"), (Some("active\n"), "on\n")]
        {
            let device = device(status, control);
            let mut sleeper = Sleeper::of(device.path());
            assert!((0..100).all(|_| sleeper.look() == May::Ask), "{status:?} {control}");
        }
    }

    #[test]
    fn a_device_that_may_sleep_is_asked_rarely() {
        let device = device(Some("active\n"), "auto\n");
        let mut sleeper = Sleeper::of(device.path());
        let asked: Vec<usize> = (0..70).filter(|_| sleeper.look() == May::Ask).collect();
        assert_eq!(asked, [0, 31, 62]);
    }

    #[test]
    fn a_device_that_sleeps_is_left_alone_and_not_asked_as_soon_as_it_wakes() {
        let device = device(Some("suspended\n"), "auto\n");
        let mut sleeper = Sleeper::of(device.path());
        assert!((0..100).all(|_| sleeper.look() == May::Sleep));
        std::fs::write(device.path().join("power/runtime_status"), "active\n").unwrap();
        assert_eq!(sleeper.look(), May::Repeat);
        std::fs::write(device.path().join("power/runtime_status"), "suspending\n").unwrap();
        assert_eq!(sleeper.look(), May::Sleep);
    }
}
