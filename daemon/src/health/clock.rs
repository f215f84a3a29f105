//! Whether the clock can be believed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Roots;

/// 2026-01-01, 20 454 days after 1970: nobody has run this program before, so that an earlier clock has never been set.
const FIRST_RELEASE: Duration = Duration::from_hours(20_454 * 24);

/// Whether the machine's clock has been set by a time server since boot, as far as that can be told.
///
/// A board without a battery for its clock boots in 1970, or when it was last switched off: systemd remembers that.
/// systemd-timesyncd says in a file when it has set the clock. Of other programs for it nothing is known: what the kernel
/// itself knows can't be asked, because systemd's `ProtectClock=` forbids adjtimex(2) even to those who only read.
pub fn clock_synced(roots: &Roots, now: SystemTime) -> Option<bool> {
    if now < UNIX_EPOCH + FIRST_RELEASE {
        return Some(false);
    }
    let folder = roots.root.join("run/systemd/timesync");
    if folder.join("synchronized").exists() {
        return Some(true);
    }
    folder.exists().then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_right_when_the_time_server_has_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::under(folder.path());
        let now = UNIX_EPOCH + FIRST_RELEASE;
        assert_eq!(clock_synced(&roots, now), None, "nothing tells");
        std::fs::create_dir_all(folder.path().join("run/systemd/timesync")).unwrap();
        assert_eq!(clock_synced(&roots, now), Some(false), "timesyncd runs and has not set it");
        std::fs::write(folder.path().join("run/systemd/timesync/synchronized"), "").unwrap();
        assert_eq!(clock_synced(&roots, now), Some(true));
        assert_eq!(clock_synced(&roots, UNIX_EPOCH), Some(false), "whatever a file says");
    }
}
