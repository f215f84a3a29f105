//! When a level may fall: after it has been better for a while.

use std::time::{Duration, Instant};

use super::Level;

/// A time in which every reading must be better than the present level.
#[derive(Debug)]
pub(super) struct Fall {
    hold: Duration,
    /// Since when, and the worst level in that time.
    better: Option<(Instant, Level)>,
}

impl Fall {
    pub(super) fn after(hold: Duration) -> Self {
        Self { hold, better: None }
    }

    /// Takes the level of a reading; gives the one to fall to when it is time.
    pub(super) fn observe(&mut self, now: Instant, present: Level, reading: Level) -> Option<Level> {
        if reading >= present {
            self.better = None;
            return None;
        }
        let (since, worst) = self.better.map_or((now, reading), |(since, worst)| (since, worst.max(reading)));
        self.better = Some((since, worst));
        (now.saturating_duration_since(since) >= self.hold).then_some(worst)
    }

    /// The level has changed: the time starts anew.
    pub(super) fn restart(&mut self) {
        self.better = None;
    }

    /// The least time until the level falls, if nothing gets worse.
    pub(super) fn left(&self, now: Instant) -> Duration {
        let passed = self.better.map_or(Duration::ZERO, |(since, _)| now.saturating_duration_since(since));
        self.hold.saturating_sub(passed)
    }
}
