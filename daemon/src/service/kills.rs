//! Whether it was the kernel that killed an engine, for memory: nobody tells who sent a SIGKILL.

use std::time::{Duration, Instant};

use crate::health::MemoryReading;

/// So much later an engine that was killed is noticed at the latest: its socket closes when the kernel has taken its memory.
const NOTICED: Duration = Duration::from_secs(5);

/// Kills for memory, as the sensors count them.
#[derive(Debug)]
pub struct Kills {
    /// Of our own cgroup, and of the whole machine.
    counted: (Option<u64>, Option<u64>),
    /// When the last one was seen that no engine has been blamed on.
    last: Option<Instant>,
}

impl Kills {
    /// What was before does not count.
    pub fn since(reading: &MemoryReading) -> Self {
        Self { counted: count(reading), last: None }
    }

    /// Takes a reading; must be done often, so that it is known when a kill was.
    pub fn observe(&mut self, now: Instant, reading: &MemoryReading) {
        let (own, host) = std::mem::replace(&mut self.counted, count(reading));
        let grown = |before: Option<u64>, now: Option<u64>| Some(now? > before?);
        // What is killed elsewhere on the machine is taken for ours only where nobody counts ours.
        if grown(own, self.counted.0).or_else(|| grown(host, self.counted.1)) == Some(true) {
            self.last = Some(now);
        }
    }

    /// Whether an engine whose end was noticed now was killed for memory. One kill is blamed for one end.
    pub fn take(&mut self, now: Instant) -> bool {
        self.last.take().is_some_and(|at| now.duration_since(at) <= NOTICED)
    }
}

fn count(reading: &MemoryReading) -> (Option<u64>, Option<u64>) {
    (reading.events.oom_kill, reading.host_kills)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::MemoryEvents;

    fn reading(own: Option<u64>, host: u64) -> MemoryReading {
        MemoryReading {
            host: None,
            cgroups: Vec::new(),
            unreadable: Vec::new(),
            psi: None,
            events: MemoryEvents { oom_kill: own, ..MemoryEvents::default() },
            host_kills: Some(host),
        }
    }

    #[test]
    fn a_kill_explains_one_end_for_a_short_time() {
        let start = Instant::now();
        let mut kills = Kills::since(&reading(None, 3));
        assert!(!kills.take(start), "what was before");
        kills.observe(start, &reading(None, 4));
        assert!(kills.take(start + NOTICED));
        assert!(!kills.take(start + NOTICED), "it is used up");
        kills.observe(start, &reading(None, 5));
        assert!(!kills.take(start + NOTICED * 2), "that was long ago");
    }

    #[test]
    fn what_is_killed_elsewhere_on_the_machine_is_not_ours() {
        let start = Instant::now();
        let mut kills = Kills::since(&reading(Some(0), 3));
        kills.observe(start, &reading(Some(0), 4));
        assert!(!kills.take(start));
        kills.observe(start, &reading(Some(1), 5));
        assert!(kills.take(start));
    }

    #[test]
    fn a_limit_that_comes_or_goes_is_no_kill() {
        let start = Instant::now();
        let mut kills = Kills::since(&reading(None, 1000));
        for own in [Some(0), None, Some(7)] {
            kills.observe(start, &reading(own, 1000));
            assert!(!kills.take(start), "{own:?}");
        }
    }
}
