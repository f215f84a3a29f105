//! How bad it is: what a reading of the sensors means.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::plan::Slack;

/// What the operator sets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GovernorSettings {
    /// Share of time in which some task waits for memory, in percent, from which on new work is refused; above 0.
    /// `memory.pressure_psi`.
    pub pressure_psi: f32,
    /// How long a better way to run must have fitted before it is taken. `memory.recover_after`.
    pub recover_after: Duration,
}

/// What the sensors say. What can't be read is none and no pressure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// How much of the reserve the tightest limit still has.
    pub slack: Option<Slack>,
    /// Share of the last ten seconds in which some task waited for memory, in percent (PSI `some avg10`).
    pub psi: Option<f32>,
    /// How often the out-of-memory killer was called in our cgroups; only ever grows. That is `oom` or `oom_kill` of
    /// `memory.events`, not `max`: reading a model's file at the limit raises that all the time and harms nobody.
    pub oom_events: u64,
}

/// How bad it is, and what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All is well.
    Normal,
    /// The reserve is touched: caches are dropped.
    Elevated,
    /// A quarter of the reserve is gone: no new work.
    Refuse,
    /// Half of the reserve is gone: idle models are unloaded, the others step down.
    Shed,
    /// Three quarters are gone: the same at once, whatever runs.
    Emergency,
}

impl Level {
    /// Its name in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Elevated => "elevated",
            Self::Refuse => "refuse",
            Self::Shed => "shed",
            Self::Emergency => "emergency",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Each level and the thousandths of the reserve below which it begins, worst first.
const THRESHOLDS: [(Level, u32); 4] =
    [(Level::Emergency, 250), (Level::Shed, 500), (Level::Refuse, 750), (Level::Elevated, 1000)];

/// So many times the threshold of pressure is a reason to step down.
const PSI_SHED: f32 = 2.0;

/// Which thresholds count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Those at which a level begins.
    Enter,
    /// Those at which it is left: by a quarter on the safe side, so that a value that trembles around a threshold doesn't
    /// change the level each time.
    Leave,
}

impl Side {
    /// The level of this slack.
    pub(super) fn of_slack(self, slack: Option<Slack>) -> Level {
        let below = |threshold: u32| match self {
            Self::Enter => threshold,
            Self::Leave => threshold + threshold / 4,
        };
        let tight = |(_, threshold): &(Level, u32)| slack.is_some_and(|slack| slack.permille() < below(*threshold));
        THRESHOLDS.into_iter().find(tight).map_or(Level::Normal, |(level, _)| level)
    }

    /// The level of this pressure: nothing, no new work, or a step down.
    pub(super) fn of_psi(self, psi: Option<f32>, limit: f32) -> Level {
        let from = match self {
            Self::Enter => limit,
            Self::Leave => limit / 1.25,
        };
        match psi {
            Some(psi) if psi >= from * PSI_SHED => Level::Shed,
            Some(psi) if psi >= from => Level::Refuse,
            _ => Level::Normal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slack_has_a_band_between_entering_and_leaving() {
        use Level::{Elevated, Emergency, Normal, Refuse, Shed};
        for (permille, enter, leave) in [
            (0, Emergency, Emergency),
            (249, Emergency, Emergency),
            (250, Shed, Emergency),
            (312, Shed, Shed),
            (499, Shed, Shed),
            (500, Refuse, Shed),
            (625, Refuse, Refuse),
            (750, Elevated, Refuse),
            (937, Elevated, Elevated),
            (1000, Normal, Elevated),
            (1249, Normal, Elevated),
            (1250, Normal, Normal),
            (u32::MAX, Normal, Normal),
        ] {
            let slack = Some(Slack::from_permille(permille));
            assert_eq!((Side::Enter.of_slack(slack), Side::Leave.of_slack(slack)), (enter, leave), "{permille}");
        }
        assert_eq!(Side::Leave.of_slack(None), Normal);
    }

    #[test]
    fn pressure_refuses_and_twice_as_much_sheds() {
        let enter = |psi| Side::Enter.of_psi(psi, 20.0);
        assert_eq!(enter(None), Level::Normal);
        assert_eq!(enter(Some(f32::NAN)), Level::Normal);
        assert_eq!(enter(Some(19.9)), Level::Normal);
        assert_eq!(enter(Some(20.0)), Level::Refuse);
        assert_eq!(enter(Some(40.0)), Level::Shed);
        assert_eq!(Side::Leave.of_psi(Some(16.5), 20.0), Level::Refuse);
        assert_eq!(Side::Leave.of_psi(Some(15.5), 20.0), Level::Normal);
    }

    #[test]
    fn documents_and_text_name_levels_alike() {
        for level in [Level::Normal, Level::Elevated, Level::Refuse, Level::Shed, Level::Emergency] {
            assert_eq!(serde_json::to_string(&level).unwrap(), format!("\"{level}\""));
        }
    }
}
