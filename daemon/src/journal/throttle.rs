//! When what waits is written: at once after a quiet time, else so that the disk is synced once in a window.

use std::time::{Duration, Instant};

/// So many changes wait for no more: the gain of a larger transaction is small.
pub(super) const ENOUGH: usize = 128;

/// Bounds how often the disk is synced, which is what wears flash.
#[derive(Debug)]
pub(super) struct Throttle {
    window: Duration,
    /// When the last transaction began that was synced.
    synced: Option<Instant>,
}

/// What waits to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    /// Since when.
    pub since: Instant,
    /// How many jobs change.
    pub changes: usize,
    /// Whether somebody waits until it is on the disk.
    pub sync: bool,
}

impl Throttle {
    /// One sync in each `window`.
    pub fn new(window: Duration) -> Self {
        Self { window, synced: None }
    }

    /// When this is to be written. Marks, for which nobody waits, give others a window's time to take them along.
    pub fn due(&self, waiting: Waiting) -> Instant {
        let Waiting { since, changes, sync } = waiting;
        match self.synced {
            _ if changes >= ENOUGH => since,
            _ if !sync => since + self.window,
            None => since,
            Some(synced) => since.max(synced + self.window),
        }
    }

    /// A transaction begins.
    pub fn begins(&mut self, now: Instant, sync: bool) {
        if sync {
            self.synced = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(2);

    fn waiting(since: Instant) -> Waiting {
        Waiting { since, changes: 1, sync: true }
    }

    #[test]
    fn the_first_after_a_quiet_time_waits_for_nobody_and_the_next_for_the_end_of_the_window() {
        let start = Instant::now();
        let mut throttle = Throttle::new(WINDOW);
        assert_eq!(throttle.due(waiting(start)), start);
        throttle.begins(start, true);
        assert_eq!(throttle.due(waiting(start + WINDOW / 4)), start + WINDOW);
        assert_eq!(throttle.due(waiting(start + WINDOW * 3)), start + WINDOW * 3);
    }

    #[test]
    fn marks_wait_for_others_and_delay_nobody() {
        let start = Instant::now();
        let mut throttle = Throttle::new(WINDOW);
        let marks = Waiting { sync: false, ..waiting(start) };
        assert_eq!(throttle.due(marks), start + WINDOW);
        assert_eq!(
            throttle.due(Waiting { sync: true, ..marks }),
            start,
            "one for whom somebody waits takes them along"
        );
        throttle.begins(start, false);
        assert_eq!(throttle.due(waiting(start)), start);
    }

    #[test]
    fn there_is_one_sync_in_each_window_however_many_changes_come() {
        let start = Instant::now();
        let mut throttle = Throttle::new(WINDOW);
        let mut syncs = Vec::new();
        let mut since = None;
        // One change each 100 µs.
        for now in (0..1000).map(|turn| start + WINDOW / 20 * turn) {
            let first = *since.get_or_insert(now);
            if throttle.due(waiting(first)) <= now {
                throttle.begins(now, true);
                syncs.push(now);
                since = None;
            }
        }
        assert_eq!(syncs.len(), 50);
        assert!(syncs.windows(2).all(|pair| pair[1] - pair[0] >= WINDOW));
    }

    #[test]
    fn enough_changes_wait_for_no_more() {
        let start = Instant::now();
        let mut throttle = Throttle::new(WINDOW);
        throttle.begins(start, true);
        assert_eq!(throttle.due(Waiting { changes: ENOUGH, ..waiting(start) }), start);
    }

    #[test]
    fn without_a_window_nothing_waits() {
        let start = Instant::now();
        let mut throttle = Throttle::new(Duration::ZERO);
        throttle.begins(start, true);
        for sync in [false, true] {
            assert_eq!(throttle.due(Waiting { sync, ..waiting(start) }), start);
        }
    }
}
