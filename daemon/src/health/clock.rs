//! Whether the clock can be believed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Roots;

/// The year of the first release: nobody has run this program before, so that an earlier clock has never been set.
const FIRST_YEAR: u64 = 2026;

/// Seconds of a year on average in the Gregorian calendar.
const YEAR_S: u64 = 31_556_952;

/// What is known of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Whether a time server has set it since boot. None if nobody tells.
    pub synced: Option<bool>,
    /// The year that it shows.
    pub year: u64,
}

impl Clock {
    /// Whether it is certainly wrong, as on a board without a battery that has just started.
    pub fn is_behind(self) -> bool {
        self.year < FIRST_YEAR
    }
}

/// Reads the clock.
///
/// A board without a battery for its clock boots in 1970, or when it was last switched off: systemd remembers that.
/// systemd-timesyncd says in a file when it has set the clock (systemd-time-wait-sync.service(8)). Of other programs for it
/// nothing is known: what the kernel itself knows can't be asked, because systemd's `ProtectClock=` forbids adjtimex(2) even
/// to those who only read.
pub fn clock(roots: &Roots, now: SystemTime) -> Clock {
    let year = year(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    let folder = roots.root.join("run/systemd/timesync");
    let told = if folder.join("synchronized").exists() { Some(true) } else { folder.exists().then_some(false) };
    let clock = Clock { synced: told, year };
    if clock.is_behind() { Clock { synced: Some(false), year } } else { clock }
}

/// The year of a time since 1970, within a day of its turn.
fn year(since_1970: Duration) -> u64 {
    1970 + since_1970.as_secs() / YEAR_S
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-02.
    const NOW: Duration = Duration::from_hours(490_920);

    #[test]
    fn years_turn_at_new_year() {
        for (seconds, expected) in [(0, 1970), (946_771_200, 2000), (1_750_000_000, 2025), (NOW.as_secs(), 2026)] {
            assert_eq!(year(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_clock_is_right_when_the_time_server_has_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::under(folder.path());
        let synced = |now| clock(&roots, UNIX_EPOCH + now).synced;
        assert_eq!(synced(NOW), None, "nothing tells");
        std::fs::create_dir_all(folder.path().join("run/systemd/timesync")).unwrap();
        assert_eq!(synced(NOW), Some(false), "timesyncd runs and has not set it");
        std::fs::write(folder.path().join("run/systemd/timesync/synchronized"), "").unwrap();
        assert_eq!(synced(NOW), Some(true));
        assert_eq!(synced(Duration::ZERO), Some(false), "whatever a file says");
    }
}
