//! When to connect again.

use std::time::{Duration, Instant};

/// A connection that lasted this long ends the growth of the back-off. Less, and a broker that accepts us only to
/// throw us out at once would be stormed.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// How often a machine whose clock may be behind tries again: as soon as the clock is set, the broker lets it in.
const CLOCK_PAUSE: Duration = Duration::from_secs(5);
/// Two takeovers within this time are no accident.
const TAKEOVER_WINDOW: Duration = Duration::from_mins(1);
/// Whoever was thrown out by us comes back, and throws us out, within this time.
const TAKEOVER_SOON: Duration = Duration::from_secs(30);
/// Then somebody else has our client id, and each reconnect throws them out: leave them alone for long.
const TAKEOVER_PAUSE: Duration = Duration::from_mins(5);

/// A broker of the version before ours is replaced one day, and not in a moment.
const OLD_VERSION_PAUSE: Duration = Duration::from_mins(5);

/// How a connection, or the attempt to make one, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It never came up.
    Failed,
    /// The broker speaks only the version of MQTT before ours.
    OldVersion,
    /// The broker's certificate is not valid yet for our clock, which may be behind.
    TooEarly,
    /// It was up for some time.
    Lost {
        /// How long.
        up: Duration,
        /// Whether another client took it over.
        takeover: Takeover,
    },
}

/// Whether another client with our id took the connection over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takeover {
    No,
    /// The broker closed an idle connection without a word and was there for the next one at once. mosquitto 2.0.11
    /// sends no reason when a client is taken over.
    Likely,
    /// The broker said so.
    Certain,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pause {
    pub delay: Duration,
    /// Somebody else uses our client id.
    pub duplicate: bool,
}

/// Exponential back-off with jitter, and the watch for takeovers.
#[derive(Debug)]
pub(super) struct Pacing {
    min: Duration,
    max: Duration,
    failures: u32,
    takeovers: Vec<(Instant, Takeover)>,
}

impl Pacing {
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), failures: 0, takeovers: Vec::new() }
    }

    /// `jitter` is drawn from 0 to 1, so that a fleet does not return in one wave.
    pub fn after(&mut self, ending: Ending, now: Instant, jitter: f64) -> Pause {
        match ending {
            Ending::TooEarly => return Pause { delay: CLOCK_PAUSE, duplicate: false },
            Ending::OldVersion => return Pause { delay: OLD_VERSION_PAUSE, duplicate: false },
            Ending::Failed => {
                // The broker was away: what looked like a takeover before was its restart.
                self.takeovers.retain(|(_, kind)| *kind == Takeover::Certain);
            }
            Ending::Lost { up, takeover } => {
                if up >= STABLE_AFTER {
                    self.failures = 0;
                }
                if self.is_duplicate(takeover, up, now) {
                    return Pause { delay: TAKEOVER_PAUSE, duplicate: true };
                }
            }
        }
        let base = self.min.saturating_mul(1 << self.failures.min(20)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        Pause { delay: base.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0), duplicate: false }
    }

    fn is_duplicate(&mut self, takeover: Takeover, up: Duration, now: Instant) -> bool {
        match takeover {
            Takeover::No => return false,
            // A proxy that closes idle connections does so again and again, too, but not so soon.
            Takeover::Likely if up >= TAKEOVER_SOON => self.takeovers.retain(|(_, kind)| *kind == Takeover::Certain),
            Takeover::Likely | Takeover::Certain => {}
        }
        self.takeovers.retain(|(at, _)| now.duration_since(*at) < TAKEOVER_WINDOW);
        self.takeovers.push((now, takeover));
        let duplicate = self.takeovers.len() >= 2;
        if duplicate {
            self.takeovers.clear();
        }
        duplicate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pacing() -> (Pacing, Instant) {
        (Pacing::new(SECOND, 8 * SECOND), Instant::now())
    }

    fn lost(up: Duration, takeover: Takeover) -> Ending {
        Ending::Lost { up, takeover }
    }

    #[test]
    fn grows_to_the_limit_and_keeps_growing_while_connections_are_short() {
        let (mut pacing, now) = pacing();
        let delays: Vec<u64> = (0..6).map(|_| pacing.after(Ending::Failed, now, 1.0).delay.as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 8, 8]);
        assert_eq!(pacing.after(lost(9 * SECOND, Takeover::No), now, 1.0).delay, 8 * SECOND);
        assert_eq!(pacing.after(lost(10 * SECOND, Takeover::No), now, 1.0).delay, SECOND);
        assert_eq!(pacing.after(Ending::Failed, now, 1.0).delay, 2 * SECOND);
    }

    #[test]
    fn a_clock_that_is_behind_is_waited_for_without_growing_pauses() {
        let (mut pacing, now) = pacing();
        for _ in 0..10 {
            assert_eq!(pacing.after(Ending::TooEarly, now, 0.0), Pause { delay: 5 * SECOND, duplicate: false });
        }
        assert_eq!(pacing.after(Ending::Failed, now, 1.0).delay, SECOND, "the back-off starts from the beginning");
    }

    #[test]
    fn a_broker_of_the_version_before_is_left_alone_for_long() {
        let (mut pacing, now) = pacing();
        assert_eq!(pacing.after(Ending::OldVersion, now, 0.0), Pause { delay: 300 * SECOND, duplicate: false });
        assert_eq!(pacing.after(Ending::Failed, now, 1.0).delay, SECOND, "the back-off starts from the beginning");
    }

    #[test]
    fn jitter_takes_at_most_half() {
        let (mut pacing, now) = pacing();
        assert_eq!(pacing.after(Ending::Failed, now, 0.0).delay, SECOND / 2);
        assert_eq!(pacing.after(Ending::Failed, now, 0.5).delay, SECOND * 3 / 2);
        for _ in 0..100 {
            assert!(pacing.after(Ending::Failed, now, 1.0).delay <= 8 * SECOND);
        }
    }

    #[test]
    fn two_takeovers_in_a_minute_pause_for_long() {
        for kind in [Takeover::Certain, Takeover::Likely] {
            let (mut pacing, now) = pacing();
            assert!(!pacing.after(lost(SECOND, kind), now, 1.0).duplicate);
            let pause = pacing.after(lost(SECOND, kind), now + 59 * SECOND, 1.0);
            assert_eq!(pause, Pause { delay: 300 * SECOND, duplicate: true });
            assert!(!pacing.after(lost(SECOND, kind), now + 60 * SECOND, 1.0).duplicate, "counted anew");
        }
        let (mut pacing, now) = pacing();
        assert!(!pacing.after(lost(SECOND, Takeover::Certain), now, 1.0).duplicate);
        assert!(!pacing.after(lost(SECOND, Takeover::Certain), now + 60 * SECOND, 1.0).duplicate, "too far apart");
    }

    #[test]
    fn a_proxy_that_closes_idle_connections_is_no_takeover() {
        let (mut pacing, now) = pacing();
        for round in 0..10 {
            let pause = pacing.after(lost(45 * SECOND, Takeover::Likely), now + round * 46 * SECOND, 1.0);
            assert_eq!(pause, Pause { delay: SECOND, duplicate: false });
        }
    }

    #[test]
    fn a_broker_that_was_away_clears_suspicions_only() {
        for (kind, duplicate) in [(Takeover::Likely, false), (Takeover::Certain, true)] {
            let (mut pacing, now) = pacing();
            pacing.after(lost(SECOND, kind), now, 1.0);
            pacing.after(Ending::Failed, now, 1.0);
            assert_eq!(pacing.after(lost(SECOND, kind), now, 1.0).duplicate, duplicate);
        }
    }
}
