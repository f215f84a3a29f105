//! Each place in the code may log so often and no more: what goes wrong a thousand times a second, or what a hostile client
//! brings about, must neither hide the rest nor wear out a flash. journald limits only all of a service together.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Messages of one place at once.
const BURST: u32 = 50;

/// After that, one for each of these.
const PAUSE: Duration = Duration::from_secs(5);

/// Leaves out what a place logs too often, and tells how much that was when it may log again. Messages below `info` are all
/// let through: who switches them on wants them.
#[derive(Default)]
pub struct LogRate {
    /// As many as there are places that log.
    places: Mutex<HashMap<Identifier, Bucket>>,
}

/// What a place may still log.
struct Bucket {
    tokens: u32,
    /// When the tokens were counted last.
    filled: Instant,
    left_out: u64,
}

/// Whether a message is logged.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It is, and so many before it were not.
    Log(u64),
    LeaveOut,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self { tokens: BURST, filled: now, left_out: 0 }
    }

    fn take(&mut self, now: Instant) -> Verdict {
        let pauses = now.saturating_duration_since(self.filled).as_secs() / PAUSE.as_secs();
        let pauses = u32::try_from(pauses).unwrap_or(u32::MAX);
        self.tokens = self.tokens.saturating_add(pauses).min(BURST);
        self.filled += PAUSE * pauses.min(BURST);
        if self.tokens == BURST {
            self.filled = now;
        }
        if self.tokens == 0 {
            self.left_out += 1;
            return Verdict::LeaveOut;
        }
        self.tokens -= 1;
        Verdict::Log(std::mem::take(&mut self.left_out))
    }
}

impl<S: Subscriber> Layer<S> for LogRate {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let place = event.metadata();
        if *place.level() > Level::INFO {
            return true;
        }
        let now = Instant::now();
        let verdict = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            places.entry(place.callsite()).or_insert_with(|| Bucket::full(now)).take(now)
        };
        if let Verdict::Log(left_out @ 1..) = verdict {
            let (file, line) = (place.file().unwrap_or_default(), place.line().unwrap_or_default());
            tracing::warn!(left_out, "messages like the next one were left out: too many of {file}:{line}");
        }
        verdict != Verdict::LeaveOut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_for_each_pause_and_what_was_left_out_is_counted() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        for _ in 0..BURST {
            assert_eq!(bucket.take(start), Verdict::Log(0));
        }
        for _ in 0..7 {
            assert_eq!(bucket.take(start + PAUSE / 2), Verdict::LeaveOut);
        }
        assert_eq!(bucket.take(start + PAUSE), Verdict::Log(7));
        assert_eq!(bucket.take(start + PAUSE * 3 / 2), Verdict::LeaveOut);
        assert_eq!(bucket.take(start + PAUSE * 2), Verdict::Log(1));
    }

    #[test]
    fn who_was_silent_for_long_has_a_burst_again_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        for _ in 0..BURST {
            bucket.take(start);
        }
        let later = start + PAUSE * (BURST * 10);
        for _ in 0..BURST {
            assert_eq!(bucket.take(later), Verdict::Log(0));
        }
        assert_eq!(bucket.take(later), Verdict::LeaveOut);
        assert_eq!(bucket.take(later + PAUSE), Verdict::Log(1));
    }
}
