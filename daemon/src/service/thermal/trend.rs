//! How a zone's temperature changes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far back readings are kept.
const WINDOW: Duration = Duration::from_secs(12);

/// Most readings that are kept.
const KEPT: usize = 32;

/// The least time between two readings that are compared: sensors are coarse.
const INTERVAL: Duration = Duration::from_millis(1500);

/// A longer time between two readings tells nothing of the time in between.
const GAP: Duration = Duration::from_secs(5);

/// Intervals in which a rise must show. A chip jumps by many degrees when it begins to compute, and stays there.
const INTERVALS: usize = 3;

/// The last readings of a zone, oldest first.
#[derive(Debug, Default)]
pub(super) struct Trend {
    readings: VecDeque<(Instant, f32)>,
}

impl Trend {
    /// Takes a reading.
    pub(super) fn observe(&mut self, now: Instant, celsius: f32) {
        if self.is_over(now) {
            self.readings.clear();
        }
        self.readings.push_back((now, celsius));
        while self.readings.len() > KEPT
            || self.readings.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW)
        {
            self.readings.pop_front();
        }
    }

    /// Whether there was no reading for so long that what was before counts no more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.readings.back().is_none_or(|(last, _)| now.saturating_duration_since(*last) > GAP)
    }

    /// How fast it rises all the time, degrees in a second: the slowest rise of the last few intervals. None if it doesn't in
    /// one of them, or if that is not known yet.
    pub(super) fn rise(&self) -> Option<f32> {
        let (mut later, mut slowest) = (*self.readings.back()?, f32::INFINITY);
        let mut intervals = 0;
        for earlier in self.readings.iter().rev() {
            let passed = later.0.saturating_duration_since(earlier.0);
            if passed < INTERVAL {
                continue;
            }
            slowest = slowest.min((later.1 - earlier.1) / passed.as_secs_f32());
            later = *earlier;
            intervals += 1;
            if intervals == INTERVALS {
                return (slowest > 0.0).then_some(slowest);
            }
        }
        None
    }

    /// How fast it falls over all that is known, degrees in a second. None if it doesn't.
    pub(super) fn fall(&self) -> Option<f32> {
        let ((first, before), (last, after)) = (self.readings.front()?, self.readings.back()?);
        let passed = last.saturating_duration_since(*first);
        let rate = (before - after) / passed.as_secs_f32();
        (passed >= INTERVAL && rate > 0.0).then_some(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings one second apart.
    fn of(readings: &[f32]) -> Trend {
        let (mut trend, mut now) = (Trend::default(), Instant::now());
        for celsius in readings {
            now += Duration::from_secs(1);
            trend.observe(now, *celsius);
        }
        trend
    }

    #[test]
    fn a_rise_must_last() {
        assert_eq!(of(&[50.0, 52.0, 54.0, 56.0, 58.0, 60.0, 62.0]).rise(), Some(2.0));
        assert_eq!(of(&[50.0, 52.0, 54.0, 56.0, 58.0, 60.0]).rise(), None, "not long enough");
        assert_eq!(of(&[50.0, 50.0, 50.0, 50.0, 50.0, 50.0, 85.0, 85.0]).rise(), None, "a jump");
        assert_eq!(of(&[50.0, 60.0, 70.0, 80.0, 80.5, 81.0, 81.5, 82.0, 82.5]).rise(), Some(0.5), "it levels out");
        assert_eq!(of(&[]).rise(), None);
    }

    #[test]
    fn a_fall_is_that_of_the_whole_time() {
        assert_eq!(of(&[90.0, 86.0, 86.0, 84.0]).fall(), Some(2.0));
        assert_eq!(of(&[90.0, 90.0, 91.0]).fall(), None);
        assert_eq!(of(&[90.0]).fall(), None);
    }

    #[test]
    fn what_is_long_ago_counts_no_more() {
        let mut trend = of(&[20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0]);
        let now = trend.readings.back().unwrap().0 + GAP + Duration::from_secs(1);
        trend.observe(now, 80.0);
        assert_eq!((trend.rise(), trend.readings.len()), (None, 1));
        let trend = of(&[50.0; 100]);
        assert_eq!(trend.readings.len(), 13);
    }
}
