//! When `health` is published anew: after a change that is large enough, or after a long time.

use std::time::{Duration, Instant};

use super::snapshot::Snapshot;
use crate::health::Room;
use crate::plan::{Bytes, Percent};

/// When the document is published anew.
#[derive(Debug, Clone, Copy)]
pub struct HealthPace {
    /// Not before so long after the last one.
    pub at_least: Duration,
    /// Not later than this.
    pub at_most: Duration,
    /// Which change of a temperature counts, degrees Celsius.
    pub celsius: f32,
    /// Which change of memory or disk counts, of the whole of it.
    pub share: Percent,
    /// Which change of the board's power counts, watts.
    pub watts: f32,
}

/// What was told last.
#[derive(Debug, Default)]
pub struct HealthWatch {
    told: Option<(Instant, Facts)>,
}

/// What a change is looked for in.
#[derive(Debug, Clone, PartialEq)]
struct Facts {
    temperatures: Vec<(String, f32)>,
    rooms: Vec<(String, Room)>,
    watts: Option<f32>,
    /// Whatever is a word or a switch: each change counts.
    words: Vec<String>,
}

impl HealthWatch {
    /// Whether a new document is due; the caller then publishes it.
    pub fn due(&mut self, now: Instant, pace: &HealthPace, snapshot: &Snapshot) -> bool {
        let facts = Facts::of(snapshot);
        let due = self.told.as_ref().is_none_or(|(at, told)| {
            let past = now.saturating_duration_since(*at);
            past >= pace.at_most || past >= pace.at_least && told.differs(&facts, pace)
        });
        if due {
            self.told = Some((now, facts));
        }
        due
    }
}

impl Facts {
    fn of(now: &Snapshot) -> Self {
        let health = &now.health;
        let limits =
            now.limits.iter().map(|limit| (limit.name.clone(), Room { total: limit.total.0, free: limit.available.0 }));
        let others = [("disk", health.disk), ("swap", health.swap)];
        let others = others.into_iter().filter_map(|(name, room)| Some((name.to_owned(), room?)));
        let throttling = &health.throttling;
        let governors = now.governors.iter().map(|governor| format!("{} {}", governor.name, governor.word));
        let switches =
            [health.throttled(), throttling.under_voltage, throttling.capped].map(|is_so| format!("{is_so:?}"));
        Self {
            temperatures: health.temperatures.iter().map(|zone| (zone.zone.clone(), zone.celsius)).collect(),
            rooms: limits.chain(others).collect(),
            watts: health.watts(),
            words: governors.chain(switches).chain(throttling.cooling.iter().cloned()).collect(),
        }
    }

    fn differs(&self, now: &Self, pace: &HealthPace) -> bool {
        let names = |list: &[(String, f32)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let warmer =
            self.temperatures.iter().zip(&now.temperatures).any(|((_, a), (_, b))| (a - b).abs() >= pace.celsius);
        let watts = match (self.watts, now.watts) {
            (Some(a), Some(b)) => (a - b).abs() >= pace.watts,
            (a, b) => a.is_some() != b.is_some(),
        };
        let moved = |((_, a), (_, b)): (&(String, Room), &(String, Room))| {
            a.total != b.total || a.free.abs_diff(b.free) >= pace.share.of(Bytes(b.total)).0.max(1)
        };
        self.words != now.words
            || names(&self.temperatures) != names(&now.temperatures)
            || self.rooms.len() != now.rooms.len()
            || warmer
            || watts
            || self.rooms.iter().zip(&now.rooms).any(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::example;

    const PACE: HealthPace = HealthPace {
        at_least: Duration::from_secs(10),
        at_most: Duration::from_mins(5),
        celsius: 2.0,
        share: Percent::from_tenths(20).unwrap(),
        watts: 2.0,
    };

    /// Whether a change is told, 10 s after the document before.
    fn told(change: impl FnOnce(&mut Snapshot)) -> bool {
        let (now, mut snapshot) = (Instant::now(), example::snapshot());
        let mut watch = HealthWatch::default();
        assert!(watch.due(now, &PACE, &snapshot), "the first one");
        change(&mut snapshot);
        assert!(!watch.due(now + Duration::from_millis(9999), &PACE, &snapshot), "too early, whatever it is");
        watch.due(now + PACE.at_least, &PACE, &snapshot)
    }

    #[test]
    fn only_changes_beyond_the_deadbands_are_told() {
        assert!(!told(|_| {}));
        assert!(!told(|now| now.health.temperatures[0].celsius += 1.9));
        assert!(told(|now| now.health.temperatures[0].celsius -= 2.0));
        assert!(told(|now| _ = now.health.temperatures.pop()));
        assert!(!told(|now| now.limits[0].available.0 -= now.limits[0].total.0 / 100));
        assert!(told(|now| now.limits[0].available.0 -= now.limits[0].total.0 / 50 + 1));
        assert!(told(|now| now.health.disk = None));
        assert!(!told(|now| now.health.rails[0].watts += 1.5));
        assert!(told(|now| now.health.rails[0].watts += 2.5));
        assert!(told(|now| now.health.rails.clear()));
        assert!(told(|now| now.governors[0].word = "shed"));
        assert!(told(|now| now.health.throttling.cooling.push("cpufreq-cpu0".to_owned())));
        assert!(told(|now| now.health.throttling.under_voltage = Some(true)));
        assert!(told(|now| now.health.throttling.capped = None), "it is not known any more");
        assert!(!told(|now| now.uptime += Duration::from_secs(10)), "that is no change of the machine");
    }

    #[test]
    fn small_changes_add_up_and_silence_is_bounded() {
        let (start, mut snapshot) = (Instant::now(), example::snapshot());
        let mut watch = HealthWatch::default();
        let mut documents = Vec::new();
        for second in 0..=700 {
            // Half a degree each minute: from the document before, not from the reading before.
            snapshot.health.temperatures[0].celsius = 40.0 + f32::from(u16::try_from(second / 60).unwrap()) / 2.0;
            if watch.due(start + Duration::from_secs(second), &PACE, &snapshot) {
                documents.push(second);
            }
        }
        assert_eq!(documents, [0, 240, 480]);
        let still: Vec<u64> =
            (701..=1100).filter(|second| watch.due(start + Duration::from_secs(*second), &PACE, &snapshot)).collect();
        assert_eq!(still, [780, 1080]);
    }
}
