//! What systemd is told. Without systemd each call does nothing.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// So much time more is asked for whenever a load makes progress.
const MORE_TIME: Duration = Duration::from_mins(2);

/// The same while a stop waits for jobs: time to say good-bye to the broker and to end the engines included.
const MORE_TIME_TO_STOP: Duration = Duration::from_secs(15);

/// How often that is asked for: more than twice before the time is up.
const STOP_TURN: Duration = Duration::from_secs(5);

/// systemd's watchdog. It is fed by turns of the driver's loop, on the one thread that the link to the broker and the
/// engines' sessions live on as well: whatever blocks one of them blocks all, and the watchdog bites. A stalled engine is the
/// session's to notice.
#[derive(Debug)]
pub struct Watchdog {
    every: Duration,
    next: Instant,
}

impl Watchdog {
    /// The one that systemd has set for this service, if it has.
    pub fn of_service(now: Instant) -> Option<Self> {
        let longest = sd_notify::watchdog_enabled()?;
        // Half of it, as sd_watchdog_enabled(3) recommends.
        Some(Self { every: longest / 2, next: now })
    }

    /// When it must be fed next.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// The loop has turned.
    pub fn turned(&mut self, now: Instant) {
        if self.next <= now {
            tell(&[NotifyState::Watchdog]);
            self.next = now + self.every;
        }
    }
}

/// The time that systemd gives a stop, which `service.drain_timeout` may exceed. It is extended bit by bit, by turns of the
/// driver's loop, so that a daemon that hangs while it stops is killed as soon as any other.
#[derive(Debug)]
pub struct StopTime {
    next: Instant,
}

impl StopTime {
    /// That of a stop which begins.
    pub fn new(now: Instant) -> Self {
        Self { next: now }
    }

    /// The loop has turned, and jobs still run.
    pub fn turned(&mut self, now: Instant) {
        if self.next <= now {
            more_time(MORE_TIME_TO_STOP);
            self.next = now + STOP_TURN;
        }
    }
}

/// A load makes progress: systemd shall not give the start up.
pub fn still_loading() {
    more_time(MORE_TIME);
}

fn more_time(time: Duration) {
    let more = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::ExtendTimeoutUsec(more)]);
}

/// Every configured model has been loaded or refused; or a configuration that was read again is in force.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is read again, as asked by `systemctl reload` or an operator.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(e) => tracing::debug!("cannot read the clock for systemd: {e}"),
    }
}

/// The daemon ends on purpose.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The state in plain words, for `systemctl status`.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        tracing::debug!("cannot notify systemd: {e}");
    }
}
