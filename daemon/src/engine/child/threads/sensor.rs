//! What the kernel tells of processors: how much of them this process got, and how many have no work.

use std::time::{Duration, Instant};

use rustix::thread::sched_getaffinity;
use rustix::time::{ClockId, clock_gettime};
use sysinfo::{CpuRefreshKind, RefreshKind, System};

/// Idle time is counted in hundredths of a second: over a shorter time it says nothing.
const SHORTEST: Duration = Duration::from_millis(400);

/// What an older count tells is of another time.
const LONGEST: Duration = Duration::from_secs(3);

/// Measures a step.
pub struct Stopwatch {
    start: Instant,
    cpu: Duration,
}

impl Stopwatch {
    /// Starts it.
    pub fn start() -> Self {
        Self { start: Instant::now(), cpu: process_time() }
    }

    /// The time since the start, and how much time of processors this process got meanwhile.
    pub fn elapsed(&self) -> (Duration, Duration) {
        (self.start.elapsed(), process_time().saturating_sub(self.cpu))
    }
}

fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// How many of the processors that this process may use have no work.
pub struct Idle {
    /// None where the kernel does not tell.
    system: Option<System>,
    counted: Option<Instant>,
    last: Option<f64>,
}

impl Idle {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self { system: System::new().ok(), counted: None, last: None }
    }

    /// How many had none lately, if that is known.
    pub fn cores(&mut self, now: Instant) -> Option<f64> {
        let since = self.counted.map(|counted| now.saturating_duration_since(counted));
        if since.is_none_or(|since| since >= SHORTEST) {
            let idle = self.count()?;
            self.counted = Some(now);
            self.last = since.filter(|since| *since <= LONGEST).map(|_| idle);
        }
        self.last
    }

    /// How many had none since the last count.
    fn count(&mut self) -> Option<f64> {
        let system = self.system.as_mut()?;
        system.refresh_specifics(RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing().with_usage()));
        let allowed = sched_getaffinity(None).ok()?;
        let number = |name: &str| name.strip_prefix("cpu")?.parse().ok();
        let may = |name: &str| number(name).is_none_or(|number| allowed.is_set(number));
        // Some containers count processors anew: then the mask means others.
        let renamed = !system.cpus().iter().any(|cpu| may(cpu.name()));
        let cpus = system.cpus().iter().filter(|cpu| renamed || may(cpu.name()));
        Some(cpus.map(|cpu| 1.0 - f64::from(cpu.usage()) / 100.0).sum())
    }
}
