//! Time that counts: for deadlines and for how long outcomes stay.
//!
//! A board without a battery for its clock starts in 1970 and jumps when a time server is found, so that the clock on the wall
//! says nothing about how much time has passed. What counts is the time that the daemon runs. The time between two runs
//! counts only if the wall clock was known to be right before and after.
//!
//! So the journal counts milliseconds of its own. They never go back, nothing is converted when a run begins, and what was
//! written in another run is compared like anything else.

use std::time::Duration;

/// What the clocks show at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Time since any point of this run, by a clock that never jumps.
    pub running: Duration,
    /// Time since 1970, UTC; none if a time server has not set the clock.
    pub wall: Option<Duration>,
}

/// A moment as it is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Milliseconds that count.
    pub counted: u64,
    /// Milliseconds since 1970, if the clock was known to be right.
    pub wall: Option<u64>,
}

/// Counts on from the last moment that an earlier run has kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counter {
    begin: u64,
    running: Duration,
}

impl Counter {
    pub fn resume(last: Stamp, now: Moment) -> Self {
        // What passed after the last stamp of a run that was cut off is down time like the rest.
        let down = match (last.wall, now.wall.map(millis)) {
            (Some(before), Some(after)) => after.saturating_sub(before),
            _ => 0,
        };
        Self { begin: last.counted.saturating_add(down), running: now.running }
    }

    pub fn stamp(&self, now: Moment) -> Stamp {
        let counted = self.begin.saturating_add(millis(now.running.saturating_sub(self.running)));
        Stamp { counted, wall: now.wall.map(millis) }
    }

    /// How long it takes until that much is counted.
    pub fn until(&self, counted: u64, now: Moment) -> Duration {
        Duration::from_millis(counted.saturating_sub(self.stamp(now).counted))
    }
}

impl Stamp {
    /// A moment before this one.
    pub fn before(self, time: Duration) -> Self {
        let earlier = |at: u64| at.saturating_sub(millis(time));
        Self { counted: earlier(self.counted), wall: self.wall.map(earlier) }
    }

    /// The time since a moment.
    pub fn since(self, counted: u64) -> Duration {
        Duration::from_millis(self.counted.saturating_sub(counted))
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    // SQLite's numbers have a sign.
    u64::try_from(time.as_millis()).map_or(i64::MAX as u64, |millis| millis.min(i64::MAX as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR_2026: Duration = Duration::from_hours(490_920);

    fn at(running: u64, wall: Option<Duration>) -> Moment {
        Moment { running: Duration::from_secs(running), wall }
    }

    fn seconds(stamp: Stamp, since: Stamp) -> u64 {
        stamp.since(since.counted).as_secs()
    }

    #[test]
    fn running_counts_and_a_jump_does_not() {
        let counter = Counter::resume(Stamp::default(), at(5, None));
        let first = counter.stamp(at(15, None));
        assert_eq!(seconds(first, Stamp::default()), 10);
        // A time server sets the clock: 56 years later in one second.
        let second = counter.stamp(at(16, Some(YEAR_2026)));
        assert_eq!(seconds(second, first), 1);
    }

    #[test]
    fn down_time_counts_if_the_clock_was_right_before_and_after() {
        let hour = Duration::from_hours(1);
        for (before, after, expected) in [
            (Some(YEAR_2026), Some(YEAR_2026 + hour), 3600),
            (None, Some(YEAR_2026 + hour), 0),
            (Some(YEAR_2026), None, 0),
            (None, None, 0),
            // It was set back meanwhile.
            (Some(YEAR_2026 + hour), Some(YEAR_2026), 0),
        ] {
            let last = Counter::resume(Stamp::default(), at(0, before)).stamp(at(7, before));
            let again = Counter::resume(last, at(100, after));
            assert_eq!(seconds(again.stamp(at(102, after)), last), expected + 2, "{before:?} {after:?}");
        }
    }

    #[test]
    fn what_came_earlier_began_earlier() {
        let stamp = Stamp { counted: 5000, wall: Some(9000) };
        assert_eq!(stamp.before(Duration::from_secs(2)), Stamp { counted: 3000, wall: Some(7000) });
        assert_eq!(stamp.before(Duration::from_mins(1)), Stamp { counted: 0, wall: Some(0) });
    }
}
