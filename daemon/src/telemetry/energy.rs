//! Energy from readings of power, and each job's share of it.
//!
//! Between two readings the power of the older one counts. While jobs run, all of what the board draws is theirs, in equal
//! parts; while none does, it is nobody's. So a job's number is what the board used for it, idle consumption included, and
//! not what the board would have saved without it. It is as fine as the readings: of a job that is shorter than the time
//! between two of them, only the power of that moment is known. A job that ran while power was unknown has no number.
//!
//! Pure: `now` and the readings are passed in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::snapshot::Energy;
use crate::job::JobId;

/// A reading counts no longer than this: a sensor that answers no more must not be taken for a steady one. At rest it is
/// read every 30 s.
const STALE: Duration = Duration::from_secs(45);

/// Sums energy up.
#[derive(Debug)]
pub struct EnergyMeter {
    /// Until when everything is summed up.
    at: Instant,
    /// The last reading, and when it was made.
    power: Option<(f64, Instant)>,
    energy: Energy,
    /// What each job that runs all the time has got, joules.
    share: f64,
    /// Time that jobs ran while power was unknown.
    blind: Duration,
    running: HashMap<JobId, Mark>,
}

/// Where the meter stood when a job began.
#[derive(Debug, Clone, Copy)]
struct Mark {
    share: f64,
    blind: Duration,
}

impl EnergyMeter {
    /// A meter that has seen nothing yet.
    pub fn new(now: Instant) -> Self {
        Self {
            at: now,
            power: None,
            energy: Energy::default(),
            share: 0.0,
            blind: Duration::ZERO,
            running: HashMap::new(),
        }
    }

    /// Takes what the board draws now, watts.
    pub fn observe(&mut self, now: Instant, watts: Option<f32>) {
        self.advance(now);
        let watts = watts.map(f64::from).filter(|watts| watts.is_finite() && *watts >= 0.0);
        self.power = watts.map(|watts| (watts, now));
        if watts.is_some() {
            self.energy.total.get_or_insert_default();
            self.energy.jobs.get_or_insert_default();
        }
    }

    /// A job begins.
    pub fn begin(&mut self, now: Instant, job: JobId) {
        self.advance(now);
        self.running.insert(job, Mark { share: self.share, blind: self.blind });
    }

    /// A job ends; gives its joules since it began.
    pub fn end(&mut self, now: Instant, job: JobId) -> Option<f64> {
        self.advance(now);
        let mark = self.running.remove(&job)?;
        (mark.blind == self.blind).then_some(self.share - mark.share)
    }

    /// Everything until now.
    pub fn energy(&mut self, now: Instant) -> Energy {
        self.advance(now);
        self.energy
    }

    fn advance(&mut self, now: Instant) {
        let from = self.at;
        self.at = now.max(from);
        let time = self.at - from;
        let known =
            self.power.map_or(Duration::ZERO, |(_, read)| (read + STALE).saturating_duration_since(from).min(time));
        if !self.running.is_empty() {
            self.blind += time.saturating_sub(known);
        }
        let Some((watts, _)) = self.power else { return };
        let joules = watts * known.as_secs_f64();
        *self.energy.total.get_or_insert(0.0) += joules;
        if !self.running.is_empty() {
            *self.energy.jobs.get_or_insert(0.0) += joules;
            self.share += joules / self.running.len() as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    fn close(a: Option<f64>, b: f64) {
        assert!(a.is_some_and(|a| (a - b).abs() < 1e-9), "{a:?} is not {b}");
    }

    #[test]
    fn jobs_share_what_the_board_draws_while_they_run() {
        let start = Instant::now();
        let mut meter = EnergyMeter::new(start);
        meter.observe(start, Some(10.0));
        meter.begin(seconds(start, 1.0), JobId(1));
        meter.observe(seconds(start, 2.0), Some(20.0));
        meter.begin(seconds(start, 3.0), JobId(2));
        // 1 s alone at 10 W, 1 s alone at 20 W, 1 s of two at 20 W.
        close(meter.end(seconds(start, 4.0), JobId(1)), 10.0 + 20.0 + 10.0);
        close(meter.end(seconds(start, 5.0), JobId(2)), 10.0 + 20.0);
        meter.observe(seconds(start, 6.0), None);
        let energy = meter.energy(seconds(start, 6.0));
        close(energy.total, 10.0 + 10.0 + 20.0 + 20.0 + 20.0 + 20.0);
        close(energy.jobs, 10.0 + 20.0 + 20.0 + 20.0);
    }

    #[test]
    fn what_is_unknown_is_no_number() {
        let start = Instant::now();
        let mut meter = EnergyMeter::new(start);
        assert_eq!(meter.energy(start), Energy::default());
        meter.begin(start, JobId(1));
        assert_eq!(meter.end(seconds(start, 1.0), JobId(1)), None, "nothing tells the power");
        assert_eq!(meter.energy(seconds(start, 1.0)), Energy::default());
        for bad in [f32::NAN, f32::INFINITY, -1.0] {
            meter.observe(seconds(start, 1.0), Some(bad));
        }
        assert_eq!(meter.energy(seconds(start, 1.0)), Energy::default());
        assert_eq!(meter.end(seconds(start, 2.0), JobId(9)), None, "a job that never began");
    }

    #[test]
    fn a_sensor_that_is_silent_does_not_go_on_for_ever() {
        let start = Instant::now();
        let mut meter = EnergyMeter::new(start);
        meter.observe(start, Some(5.0));
        meter.begin(start, JobId(1));
        assert_eq!(meter.end(seconds(start, 3600.0), JobId(1)), None);
        close(meter.energy(seconds(start, 3600.0)).total, 5.0 * STALE.as_secs_f64());
        // A clock that seems to go back changes nothing.
        meter.observe(start, Some(5.0));
        close(meter.energy(seconds(start, 3600.0)).total, 5.0 * STALE.as_secs_f64());
    }

    proptest! {
        #[test]
        fn the_shares_are_the_whole(steps in prop::collection::vec((0_u64..5, 0_u8..5, 0.0_f32..50.0), 1..60)) {
            let start = Instant::now();
            let mut meter = EnergyMeter::new(start);
            meter.observe(start, Some(7.0));
            let (mut now, mut shares) = (start, 0.0);
            let mut open: Vec<JobId> = Vec::new();
            for (number, (wait, what, watts)) in (0_u64..).zip(steps) {
                now += Duration::from_secs(wait);
                match what {
                    0 | 1 => {
                        meter.begin(now, JobId(number));
                        open.push(JobId(number));
                    }
                    2 => shares += open.pop().map_or(0.0, |job| meter.end(now, job).unwrap()),
                    _ => {}
                }
                meter.observe(now, Some(watts));
            }
            shares += open.into_iter().map(|job| meter.end(now, job).unwrap()).sum::<f64>();
            let energy = meter.energy(now);
            prop_assert!((shares - energy.jobs.unwrap()).abs() < 1e-6, "{} and {:?}", shares, energy);
            prop_assert!(energy.jobs <= energy.total);
        }
    }
}
