//! Keeps the machine within its temperature: reads how hot it is, and says how much of the time engines may compute.
//!
//! Pure: it knows no clock, sensor or engine. The driver passes `now` and readings in, and carries out what comes back.
//!
//! The level rises at once, to a pause when two readings agree. It falls after 10 s at the earliest, when every reading of the
//! last 5 s has been below its limit by the hysteresis; then straight to the worst of those readings. Between the two limits
//! engines compute the less the hotter it is: their share falls at once and comes back slowly.

mod level;
mod limits;
mod trend;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub use level::{Cause, Heat};
pub use limits::{Limits, ThermalSettings, Trips};

use crate::engine::Duty;
use crate::health::{HealthReading, Temperature, Throttling};
use trend::Trend;

/// A pause needs two readings above the hard limit, so far apart: a chip's sensor may jump for a moment.
const CONFIRM: Duration = Duration::from_millis(500);

/// How long a level stands at least before it falls.
const DWELL: Duration = Duration::from_secs(10);

/// How long readings must be better before the level falls.
const HOLD: Duration = Duration::from_secs(5);

/// A zone that will be above its hard limit within this time counts now.
const LOOK_AHEAD: Duration = Duration::from_secs(10);

/// The least share of the time in which engines compute before they pause.
const PACE_MIN: f32 = 0.1;

/// How fast the share comes back, in a second.
const PACE_RECOVERY: f32 = 0.05;

/// Steps of the share in percent: engines are not told of every tenth of a degree.
const PACE_STEP: u8 = 5;

/// How far on the way to the hard limit a machine counts whose hardware holds itself back. That has its reason, be it
/// another limit than ours or too little power; with a quarter less to do it may find an end.
const THROTTLED_SHARE: f32 = 0.25;

/// What a client that is refused is told if it is not known how fast the machine cools down, and the bounds of what is said.
const RETRY_UNKNOWN: Duration = Duration::from_secs(30);
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_mins(5);

/// Most zones whose readings are remembered; the sensors read fewer.
const ZONES_MAX: usize = 128;

/// Keeps the machine within its temperature.
#[derive(Debug)]
pub struct ThermalGovernor {
    settings: ThermalSettings,
    heat: Heat,
    /// Why; none if all is well.
    cause: Option<Cause>,
    /// When the level changed last.
    since: Option<Instant>,
    /// Since when readings have been better than the level, and the worst level in that time.
    better: Option<(Instant, Heat)>,
    /// Since when readings have been above a hard limit.
    hard_since: Option<Instant>,
    /// The share of the time in which engines compute at [`Heat::Soft`], and when it was set.
    pace: f32,
    paced_at: Option<Instant>,
    trends: BTreeMap<String, Trend>,
    /// The counter at the last reading.
    over_current: Option<u64>,
    /// The zone that is nearest to its limits.
    nearest: Option<Zone>,
}

/// A zone and its limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// Its temperature, degrees Celsius.
    pub celsius: f32,
    /// Its limits.
    pub limits: Limits,
}

/// What one reading says.
struct Finding {
    /// The level that it calls for.
    heat: Heat,
    /// How far it is on the way from the soft limit, 0, to the hard one, 1.
    share: f32,
    cause: Option<Cause>,
}

impl ThermalGovernor {
    /// One that has seen nothing yet.
    pub fn new(settings: ThermalSettings) -> Self {
        Self {
            settings,
            heat: Heat::Normal,
            cause: None,
            since: None,
            better: None,
            hard_since: None,
            pace: 1.0,
            paced_at: None,
            trends: BTreeMap::new(),
            over_current: None,
            nearest: None,
        }
    }

    /// Goes by other limits from the next reading on.
    pub fn set(&mut self, settings: ThermalSettings) {
        self.settings = settings;
    }

    /// How hot it is.
    pub fn heat(&self) -> Heat {
        self.heat
    }

    /// Why, as of the last change; none if all is well.
    pub fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// How much of the time engines may compute.
    pub fn duty(&self) -> Duty {
        match self.heat {
            Heat::Normal => Duty::FULL,
            Heat::Soft => duty_of(self.pace),
            Heat::Hard => Duty::PAUSE,
        }
    }

    /// The zone that is nearest to its limits now; none if no temperature with a limit is known.
    pub fn nearest(&self) -> Option<&Zone> {
        self.nearest.as_ref()
    }

    /// Takes what the sensors say, about every second; gives the level before if this has changed it. What can't be read is
    /// no reason for anything.
    pub fn observe(&mut self, now: Instant, reading: &HealthReading) -> Option<Heat> {
        self.remember(now, reading);
        let zones = self.zones(reading);
        let throttled = self.throttled(&reading.throttling);
        let entering = self.judge(&zones, throttled.clone(), 0.0);
        let leaving = self.judge(&zones, throttled, self.settings.hysteresis);
        self.nearest = zones.into_iter().max_by(|a, b| nearness(a).total_cmp(&nearness(b)));
        let before = self.heat;
        let confirmed = self.confirm(now, entering.heat);
        self.heat = if confirmed > before { confirmed } else { self.fallen(now, confirmed.max(leaving.heat)) };
        if self.heat != before {
            self.since = Some(now);
            self.better = None;
            let cause = entering.cause.or(leaving.cause).or(self.cause.take());
            self.cause = cause.filter(|_| self.heat > Heat::Normal);
        }
        self.set_pace(now, before, entering.share);
        (self.heat != before).then_some(before)
    }

    /// When to try again, for a request that comes now; none if it is welcome. By the rate at which the machine cools down,
    /// from 1 s to 5 min.
    pub fn refusal(&self, now: Instant) -> Option<Duration> {
        if self.heat < Heat::Hard {
            return None;
        }
        let passed = |since: Instant| now.saturating_duration_since(since);
        let dwell = DWELL.saturating_sub(self.since.map_or(Duration::ZERO, passed));
        let hold = HOLD.saturating_sub(self.better.map_or(Duration::ZERO, |(since, _)| passed(since)));
        let cooled = self.cooling().unwrap_or(RETRY_UNKNOWN).saturating_add(hold);
        Some(cooled.max(dwell).clamp(RETRY_MIN, RETRY_MAX))
    }

    /// How long it takes until the hottest zone is below its hard limit by the hysteresis; none if that is not known.
    fn cooling(&self) -> Option<Duration> {
        let Some(zone) = &self.nearest else { return Some(Duration::ZERO) };
        let excess = zone.celsius - (zone.limits.hard - self.settings.hysteresis);
        if excess <= 0.0 {
            return Some(Duration::ZERO);
        }
        let rate = self.trends.get(&zone.name)?.fall()?;
        Duration::try_from_secs_f32(excess / rate).ok()
    }

    fn remember(&mut self, now: Instant, reading: &HealthReading) {
        for zone in finite(reading) {
            self.trends.entry(zone.zone.clone()).or_default().observe(now, zone.celsius);
        }
        self.trends.retain(|_, trend| !trend.is_over(now));
    }

    fn zones(&self, reading: &HealthReading) -> Vec<Zone> {
        let zone = |zone: &Temperature| {
            let limits = self.settings.limits(zone)?;
            Some(Zone { name: zone.zone.clone(), celsius: zone.celsius, limits })
        };
        finite(reading).filter_map(zone).collect()
    }

    /// What says that the hardware holds itself back now, if anything does.
    fn throttled(&mut self, throttling: &Throttling) -> Option<Cause> {
        let Throttling { cooling, under_voltage, capped, over_current, .. } = throttling;
        let rises = self.over_current.zip(*over_current).is_some_and(|(before, now)| now > before);
        self.over_current = over_current.or(self.over_current);
        let signs = [
            (under_voltage == &Some(true), "too little voltage"),
            (rises, "too much current"),
            (capped == &Some(true), "the firmware caps clocks"),
        ];
        let signs = signs.into_iter().filter(|(is_so, _)| *is_so).map(|(_, sign)| sign);
        let signs: Vec<&str> = signs.chain(cooling.iter().map(String::as_str)).collect();
        (!signs.is_empty()).then(|| Cause::Throttled(signs.join(", ")))
    }

    /// The level that a reading calls for, with limits that are lower by so many degrees.
    fn judge(&self, zones: &[Zone], throttled: Option<Cause>, lower_by: f32) -> Finding {
        let zones = zones.iter().flat_map(|zone| {
            let limits = zone.limits.lowered(lower_by);
            [Some(hot(zone, limits)), self.rising(zone, limits)]
        });
        let throttled = throttled.map(|cause| Finding { heat: Heat::Soft, share: THROTTLED_SHARE, cause: Some(cause) });
        let worse = |a: &Finding, b: &Finding| a.heat.cmp(&b.heat).then(a.share.total_cmp(&b.share));
        let found = zones.chain([throttled]).flatten().max_by(worse);
        let found = found.filter(|found| found.heat > Heat::Normal);
        found.unwrap_or(Finding { heat: Heat::Normal, share: 0.0, cause: None })
    }

    /// A zone that will soon be above its hard limit counts the more the sooner that is, but never as if it were.
    fn rising(&self, zone: &Zone, limits: Limits) -> Option<Finding> {
        let rate = self.trends.get(&zone.name)?.rise()?;
        let left = (limits.hard - zone.celsius) / rate;
        let share = 1.0 - left / LOOK_AHEAD.as_secs_f32();
        let Zone { name, celsius, .. } = zone;
        (0.0..1.0).contains(&share).then(|| Finding {
            heat: Heat::Soft,
            share,
            cause: Some(Cause::Rising { zone: name.clone(), celsius: *celsius, rate, limit: limits.hard }),
        })
    }

    /// The same level, but a pause only if a reading before has called for it as well.
    fn confirm(&mut self, now: Instant, heat: Heat) -> Heat {
        if heat < Heat::Hard {
            self.hard_since = None;
            return heat;
        }
        let since = *self.hard_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= CONFIRM { Heat::Hard } else { Heat::Soft }
    }

    /// The level, or the one to fall to when it is time.
    fn fallen(&mut self, now: Instant, heat: Heat) -> Heat {
        if heat >= self.heat {
            self.better = None;
            return self.heat;
        }
        let (since, worst) = self.better.map_or((now, heat), |(since, worst)| (since, worst.max(heat)));
        self.better = Some((since, worst));
        let stands = self.since.is_none_or(|changed| now.saturating_duration_since(changed) >= DWELL);
        if stands && now.saturating_duration_since(since) >= HOLD { worst } else { self.heat }
    }

    fn set_pace(&mut self, now: Instant, before: Heat, share: f32) {
        let target = 1.0 - share.clamp(0.0, 1.0) * (1.0 - PACE_MIN);
        let passed = self.paced_at.replace(now).map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let recovered = match before {
            Heat::Normal => 1.0,
            Heat::Soft => self.pace + PACE_RECOVERY * passed.as_secs_f32(),
            Heat::Hard => PACE_MIN,
        };
        self.pace = target.min(recovered);
    }
}

/// The temperatures that are numbers.
fn finite(reading: &HealthReading) -> impl Iterator<Item = &Temperature> {
    reading.temperatures.iter().filter(|zone| zone.celsius.is_finite()).take(ZONES_MAX)
}

/// What the temperature of a zone says.
fn hot(zone: &Zone, limits: Limits) -> Finding {
    let share = limits.share(zone.celsius);
    let (heat, limit) = if zone.celsius >= limits.hard {
        (Heat::Hard, zone.limits.hard)
    } else if zone.celsius >= limits.soft {
        (Heat::Soft, zone.limits.soft)
    } else {
        (Heat::Normal, zone.limits.soft)
    };
    let cause = Cause::Hot { zone: zone.name.clone(), celsius: zone.celsius, limit };
    Finding { heat, share, cause: Some(cause) }
}

fn nearness(zone: &Zone) -> f32 {
    zone.limits.share(zone.celsius)
}

/// In whole steps, rounded down.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of at most 1 is at most 20 steps")]
fn duty_of(pace: f32) -> Duty {
    // What is a whole number of steps stays one in spite of rounding.
    let steps = (pace * 100.0 / f32::from(PACE_STEP) + 0.01).floor();
    Duty::of_percent(steps as u8 * PACE_STEP)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod trace_tests;
