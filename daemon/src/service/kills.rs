//! Whether it was the kernel that killed an engine, for memory: nobody tells who sent a SIGKILL.

use std::time::{Duration, Instant};

use crate::health::MemoryReading;

/// So much later an engine that was killed is noticed at the latest: its socket closes when the kernel has taken its memory.
const NOTICED: Duration = Duration::from_secs(5);

/// Kills for memory, as the sensors count them.
#[derive(Debug)]
pub struct Kills {
    counted: u64,
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
        let counted = count(reading);
        if counted > std::mem::replace(&mut self.counted, counted) {
            self.last = Some(now);
        }
    }

    /// Whether an engine whose end was noticed now was killed for memory. One kill is blamed for one end.
    pub fn take(&mut self, now: Instant) -> bool {
        self.last.take().is_some_and(|at| now.duration_since(at) <= NOTICED)
    }
}

/// Of our own cgroup where its kernel counts them, else of the whole machine: then another's may be taken for ours.
fn count(reading: &MemoryReading) -> u64 {
    reading.events.oom_kill.or(reading.host_kills).unwrap_or_default()
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
}
