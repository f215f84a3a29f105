//! What systemd allows and does for the service, as the daemon sees it from within.

use std::env;

use rustix::process::{Resource, getrlimit};

use super::{Check, Finding};
use crate::plan::Bytes;

/// Set by systemd for services of `Type=notify`.
const NOTIFY: &str = "NOTIFY_SOCKET";
/// Set by systemd where the unit has `WatchdogSec=`.
const WATCHDOG: &str = "WATCHDOG_USEC";

/// Judges the unit; nothing where systemd does not run this process.
pub(super) fn unit() -> Vec<Finding> {
    if env::var_os(NOTIFY).is_none() {
        return Vec::new();
    }
    judge(env::var_os(WATCHDOG).is_some(), getrlimit(Resource::Memlock).current.map(Bytes))
}

fn judge(watched: bool, locked_max: Option<Bytes>) -> Vec<Finding> {
    let drop_in = "sudo systemctl edit promptd, and write below [Service]:";
    let watchdog = if watched {
        Finding::pass(Check::Unit, "systemd restarts the daemon if it hangs")
    } else {
        let what = "systemd does not notice if the daemon hangs: the unit has no watchdog";
        Finding::warn(Check::Unit, what, format!("{drop_in} WatchdogSec=1min"))
    };
    let locked = match locked_max {
        None => Finding::pass(Check::Unit, "any memory may be locked"),
        Some(max) => Finding::warn(
            Check::Unit,
            format!("only {max} of memory may be locked: a GPU's driver may need more"),
            format!("{drop_in} LimitMEMLOCK=infinity"),
        ),
    };
    vec![watchdog, locked]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_unit_watches_the_daemon_and_lets_it_lock_memory() {
        let levels = |watched, locked: Option<u64>| -> Vec<Level> {
            judge(watched, locked.map(Bytes)).iter().map(Finding::level).collect()
        };
        assert_eq!(levels(true, None), [Level::Pass, Level::Pass]);
        assert_eq!(levels(false, Some(65_536)), [Level::Warn, Level::Warn]);
    }
}
