//! Whether the clock can be trusted.

use super::{Check, Finding};
use crate::health::Clock;

/// Judges the clock.
pub fn clock(clock: Clock) -> Vec<Finding> {
    let remedy =
        "sudo apt install systemd-timesyncd && sudo timedatectl set-ntp true; `timedatectl` tells when it is right";
    let Clock { synced, year } = clock;
    vec![match synced {
        _ if clock.is_behind() => {
            Finding::fail(Check::Clock, format!("it shows the year {year}, when there was no promptd"), remedy)
        }
        Some(true) => Finding::pass(Check::Clock, "kept right by a time source"),
        Some(false) => Finding::warn(Check::Clock, "no time source keeps it right: timestamps may be wrong", remedy),
        None => Finding::pass(
            Check::Clock,
            format!("it shows the year {year}; nobody tells whether a time source keeps it"),
        ),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_clock_before_its_build_is_wrong_whatever_it_says() {
        let level = |synced, year| clock(Clock { synced, year })[0].level();
        assert_eq!(level(Some(true), 2026), Level::Pass);
        assert_eq!(level(None, 2026), Level::Pass);
        assert_eq!(level(Some(false), 2026), Level::Warn);
        assert_eq!(level(Some(true), 1970), Level::Fail);
    }
}
