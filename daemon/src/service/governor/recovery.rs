//! When a model may step up again: only after the better way has fitted for a while, longer if that went wrong before.

use std::time::{Duration, Instant};

/// Most times `recover_after` that a step up is waited for.
const FACTOR_MAX: u32 = 8;

/// A step up is known to be good, and old troubles are forgotten, after so many times `recover_after`.
const PROBATION: u32 = 10;

/// What is remembered of steps up and down.
#[derive(Debug)]
pub(super) struct Recovery {
    recover_after: Duration,
    /// Since when a better way has fitted without a break.
    fits_since: Option<Instant>,
    /// The last step up, until memory had to be given back after it.
    stepped_up: Option<Instant>,
    /// When models last changed for memory's sake, up or down.
    changed: Option<Instant>,
    /// How many times `recover_after` must pass: 1, 2, 4 or 8.
    factor: u32,
}

impl Recovery {
    pub(super) fn new(recover_after: Duration) -> Self {
        Self { recover_after, fits_since: None, stepped_up: None, changed: None, factor: 1 }
    }

    /// Waits so long from now on.
    pub(super) fn set(&mut self, recover_after: Duration) {
        self.recover_after = recover_after;
    }

    /// Whether to step up now; `fits` says whether something better fits and nothing speaks against it. If yes, it is
    /// taken as done.
    pub(super) fn permits(&mut self, now: Instant, fits: bool) -> bool {
        if !fits {
            self.interrupt();
            return false;
        }
        self.forget(now);
        let since = *self.fits_since.get_or_insert(now);
        if now.saturating_duration_since(since) < self.recover_after.saturating_mul(self.factor) {
            return false;
        }
        self.fits_since = None;
        self.stepped_up = Some(now);
        self.changed = Some(now);
        true
    }

    /// Memory has to be given back. If that follows on a step up, the next one waits twice as long.
    pub(super) fn shed(&mut self, now: Instant) {
        self.interrupt();
        self.forget(now);
        let probation = self.probation();
        if self.stepped_up.take().is_some_and(|up| now.saturating_duration_since(up) <= probation) {
            self.factor = (self.factor * 2).min(FACTOR_MAX);
        }
        self.changed = Some(now);
    }

    /// The wait starts anew.
    pub(super) fn interrupt(&mut self) {
        self.fits_since = None;
    }

    /// Calm for long enough: the next step up waits no longer than the first did.
    fn forget(&mut self, now: Instant) {
        if self.changed.is_some_and(|changed| now.saturating_duration_since(changed) > self.probation()) {
            self.factor = 1;
        }
    }

    fn probation(&self) -> Duration {
        self.recover_after.saturating_mul(PROBATION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    /// Minutes from `from` until a step up is permitted.
    fn wait(recovery: &mut Recovery, from: Instant) -> u32 {
        (0..100).find(|minutes| recovery.permits(from + MINUTE * *minutes, true)).unwrap()
    }

    #[test]
    fn each_step_up_that_failed_doubles_the_wait() {
        let mut now = Instant::now();
        let mut recovery = Recovery::new(MINUTE);
        for expected in [1, 2, 4, 8, 8] {
            let waited = wait(&mut recovery, now);
            assert_eq!(waited, expected);
            now += MINUTE * (waited + 5);
            recovery.shed(now);
        }
    }

    #[test]
    fn only_the_first_shedding_after_a_step_up_counts() {
        let now = Instant::now();
        let mut recovery = Recovery::new(MINUTE);
        wait(&mut recovery, now);
        recovery.shed(now + MINUTE * 2);
        recovery.shed(now + MINUTE * 3);
        recovery.shed(now + MINUTE * 4);
        assert_eq!(wait(&mut recovery, now + MINUTE * 4), 2);
    }

    #[test]
    fn calm_makes_it_forget() {
        let now = Instant::now();
        let mut recovery = Recovery::new(MINUTE);
        assert_eq!(wait(&mut recovery, now), 1);
        recovery.shed(now + MINUTE * 5);
        assert_eq!(wait(&mut recovery, now + MINUTE * 5), 2);
        // This one stands: the next shedding is no consequence of it.
        recovery.shed(now + MINUTE * 18);
        assert_eq!(wait(&mut recovery, now + MINUTE * 18), 1);
    }

    #[test]
    fn a_break_starts_the_wait_anew() {
        let now = Instant::now();
        let mut recovery = Recovery::new(MINUTE);
        assert!(!recovery.permits(now, true));
        assert!(!recovery.permits(now + MINUTE / 2, false));
        assert!(!recovery.permits(now + MINUTE, true));
        assert!(!recovery.permits(now + Duration::from_secs(119), true));
        assert!(recovery.permits(now + MINUTE * 2, true));
        assert!(!recovery.permits(now + MINUTE * 2, true));
    }
}
