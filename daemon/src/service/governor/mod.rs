//! Keeps the machine inside its memory at run time: reads how tight it is, and says what to do.
//!
//! Pure: it knows no clock, sensor or model. The driver passes `now` and readings in, and carries out what comes back.
//!
//! The level rises at once and falls slowly. It falls when every reading of the last 5 s has been better than it even by a
//! quarter more than its threshold; then straight to the worst of those readings. That band holds a level for 30 s at the
//! most: memory that stands still inside it is no reason to refuse work for ever.

mod fall;
mod level;
mod recovery;

use std::time::{Duration, Instant};

pub use level::{GovernorSettings, Level, Reading};

use fall::Fall;
use level::Side;
use recovery::Recovery;

/// A step down costs a restart of the engine: two readings must agree, so far apart. An emergency doesn't wait.
const CONFIRM: Duration = Duration::from_millis(500);

/// How long readings must be better before the level falls.
const HOLD: Duration = Duration::from_secs(5);

/// How long the band between entering and leaving holds a level.
const BAND_HOLD: Duration = Duration::from_secs(30);

/// How long new work is refused for lack of slack before models step down: refusing is a wait for memory that comes back
/// by itself, and no way to live.
const PATIENCE: Duration = Duration::from_secs(30);

/// The kernel needs so long to take back the memory of a process, and the sensors to show it.
const SETTLE: Duration = Duration::from_secs(2);

/// In an emergency that lasts, what was shed before is not waited for any longer than this.
const EMERGENCY_AGAIN: Duration = Duration::from_secs(5);

/// PSI is an average over ten seconds: so long after a change it still tells of the time before.
const PSI_MEMORY: Duration = Duration::from_secs(10);

/// What a client that is refused while models change is told to wait on top: small models load in less.
const CHANGE_WAIT: Duration = Duration::from_secs(10);

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Drop what is only there to be fast.
    DropCaches,
    /// Unload an idle model; without one, step one down, or unload it from its last step. Its jobs go back to the queue.
    Shed,
    /// The same without waiting for anything, a load that is under way included.
    ShedNow,
}

/// What a reading leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// How bad it is.
    pub level: Level,
    /// What to do now, if anything.
    pub action: Option<Action>,
}

/// Whether what the sensors say is the effect of what was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// A model is being loaded or unloaded.
    UnderWay,
    /// That ended then; before the first change, the governor's beginning.
    Done(Instant),
}

/// Keeps the machine inside its memory.
#[derive(Debug)]
pub struct Governor {
    pressure_psi: f32,
    level: Level,
    fall: Fall,
    /// The same without the band.
    band_fall: Fall,
    /// The counter at the last reading.
    oom_events: Option<u64>,
    /// Since when readings have said that models must shed.
    tight_since: Option<Instant>,
    /// Since when slack has said that new work must be refused.
    refused_since: Option<Instant>,
    drop_due: bool,
    change: Change,
    last_shed: Option<Instant>,
    recovery: Recovery,
}

impl Governor {
    /// One that has seen nothing yet.
    pub fn new(now: Instant, settings: GovernorSettings) -> Self {
        Self {
            pressure_psi: settings.pressure_psi,
            level: Level::Normal,
            fall: Fall::after(HOLD),
            band_fall: Fall::after(BAND_HOLD),
            oom_events: None,
            tight_since: None,
            refused_since: None,
            drop_due: false,
            change: Change::Done(now),
            last_shed: None,
            recovery: Recovery::new(settings.recover_after),
        }
    }

    /// Goes by other settings from now on; what it has seen still counts.
    pub fn set(&mut self, settings: GovernorSettings) {
        self.pressure_psi = settings.pressure_psi;
        self.recovery.set(settings.recover_after);
    }

    /// How bad it is.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Takes what the sensors say, about every 500 ms.
    ///
    /// After an action that sheds, the driver calls [`settled`](Self::settled) when it is carried out, even if there was
    /// nothing to shed; until 2 s later there is no other, except in an emergency that has lasted for 5 s since.
    pub fn observe(&mut self, now: Instant, reading: Reading) -> Verdict {
        let pressing = self.pressing(now, reading);
        self.change_level(now, reading, pressing);
        let action = self.act(now, pressing);
        if self.level > Level::Normal {
            self.recovery.interrupt();
        }
        Verdict { level: self.level, action }
    }

    /// A model is about to be loaded or unloaded for another reason than an action or a permission of the governor: at
    /// start-up, or because someone asked. Until it has [`settled`](Self::settled), an out-of-memory kill is the load's own
    /// end, not a sign that the others take too much.
    pub fn change_begins(&mut self) {
        self.change = Change::UnderWay;
    }

    /// What was under way is done: the engine is ready, or gone, or has failed.
    pub fn settled(&mut self, now: Instant) {
        self.change = Change::Done(now);
        // What was refused for before is past.
        self.refused_since = None;
    }

    /// Whether a model may step up now; `better_fits` says whether something better than now fits. To be called after every
    /// reading. A yes must be followed up and [`settled`](Self::settled).
    ///
    /// It takes a normal level and something better that has fitted for `recover_after` without a break. Each step up after
    /// which memory had to be given back within ten times that doubles the time, up to eight times; as long without a
    /// change makes it forget.
    pub fn may_step_up(&mut self, now: Instant, better_fits: bool) -> bool {
        let calm = self.level == Level::Normal && self.is_settled(now);
        let permitted = self.recovery.permits(now, better_fits && calm);
        if permitted {
            self.change = Change::UnderWay;
        }
        permitted
    }

    /// When to try again, for a request that comes now; none if it is welcome. From 1 s to 15 s.
    pub fn refusal(&self, now: Instant) -> Option<Duration> {
        let wait = match self.change {
            Change::UnderWay => CHANGE_WAIT,
            Change::Done(_) => Duration::ZERO,
        };
        let wait = wait + self.fall.left(now).max(Duration::from_secs(1));
        (self.level >= Level::Refuse).then_some(wait)
    }

    /// The level that this reading calls for.
    fn pressing(&mut self, now: Instant, reading: Reading) -> Level {
        let by_slack = Side::Enter.of_slack(reading.slack);
        let by_psi = self.by_psi(now, reading, Side::Enter);
        let mut level = by_slack.max(by_psi);
        if level < Level::Shed {
            self.tight_since = None;
        } else if !lasts(&mut self.tight_since, now, CONFIRM) && level == Level::Shed {
            level = Level::Refuse;
        }
        level.max(self.by_patience(now, by_slack)).max(self.by_oom(now, reading.oom_events))
    }

    /// PSI that still tells of the time before a change is no reason for another one.
    fn by_psi(&self, now: Instant, reading: Reading, side: Side) -> Level {
        let level = side.of_psi(reading.psi, self.pressure_psi);
        if self.is_past(now, PSI_MEMORY) { level } else { level.min(Level::Refuse) }
    }

    fn by_patience(&mut self, now: Instant, by_slack: Level) -> Level {
        if by_slack < Level::Refuse || self.change == Change::UnderWay {
            self.refused_since = None;
            return Level::Normal;
        }
        if lasts(&mut self.refused_since, now, PATIENCE) { Level::Shed } else { Level::Normal }
    }

    fn by_oom(&mut self, now: Instant, events: u64) -> Level {
        let before = self.oom_events.replace(events);
        match before {
            Some(before) if events > before && self.is_settled(now) => Level::Shed,
            Some(before) if events > before => Level::Refuse,
            _ => Level::Normal,
        }
    }

    fn change_level(&mut self, now: Instant, reading: Reading, pressing: Level) {
        let by_psi = self.by_psi(now, reading, Side::Leave);
        let leaving = Side::Leave.of_slack(reading.slack).max(by_psi).max(pressing);
        let fallen = self.fall.observe(now, self.level, leaving);
        let fallen_in_band = self.band_fall.observe(now, self.level, pressing);
        let level = fallen.or(fallen_in_band).unwrap_or(self.level.max(pressing));
        if level != self.level {
            self.drop_due = level > Level::Normal && (self.drop_due || self.level == Level::Normal);
            self.level = level;
            self.fall.restart();
            self.band_fall.restart();
        }
    }

    fn act(&mut self, now: Instant, pressing: Level) -> Option<Action> {
        let waited = self.last_shed.is_none_or(|shed| now.saturating_duration_since(shed) >= EMERGENCY_AGAIN);
        let action = match pressing {
            Level::Emergency if waited || self.is_settled(now) => Action::ShedNow,
            Level::Shed if self.is_settled(now) => Action::Shed,
            _ => return std::mem::take(&mut self.drop_due).then_some(Action::DropCaches),
        };
        self.change = Change::UnderWay;
        self.last_shed = Some(now);
        self.recovery.shed(now);
        Some(action)
    }

    fn is_settled(&self, now: Instant) -> bool {
        self.is_past(now, SETTLE)
    }

    /// Whether the last change is over for so long.
    fn is_past(&self, now: Instant, time: Duration) -> bool {
        matches!(self.change, Change::Done(done) if now.saturating_duration_since(done) >= time)
    }
}

/// Whether what is the case now has been so for `time`; `since` is kept for it.
fn lasts(since: &mut Option<Instant>, now: Instant, time: Duration) -> bool {
    now.saturating_duration_since(*since.get_or_insert(now)) >= time
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
#[cfg(test)]
#[path = "trace_tests.rs"]
mod trace_tests;
