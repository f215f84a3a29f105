//! Watches the machine's heat and carries out what the thermal governor says.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::driver::Driver;
use super::models::{Down, DownWhy, ModelEntry, Stage};
use super::thermal::{Heat, ThermalGovernor};
use crate::health::{HealthReading, HealthSensors};
use crate::job::{ErrorCode, JobError};
use crate::telemetry::{NodeEvent, NodeState};

/// How often heat is looked at while engines compute or it is too hot.
const TURN: Duration = Duration::from_secs(1);

/// The same while nothing is to be feared.
const REST: Duration = Duration::from_secs(30);

/// How long the sensors may take. What they don't tell by then is unknown.
const LONGEST: Duration = Duration::from_secs(10);

/// What a model without an engine waits for.
const TOO_HOT: &str = "it is loaded when the machine has cooled down";

/// The sensors and what they said last. They are read on another thread: some lie behind a slow bus.
pub(super) struct HealthWatch {
    /// None while they are being read.
    sensors: Option<Box<HealthSensors>>,
    reading: HealthReading,
    done: mpsc::Sender<HealthReport>,
    /// When they were last asked; the beginning if they have not been.
    asked: Instant,
    /// Whether they are asked at once.
    overdue: bool,
    /// Whether it was said that no temperature limits anything.
    told_blind: bool,
}

/// The sensors, back from their thread, and what they say.
pub(super) type HealthReport = (Box<HealthSensors>, HealthReading);

impl HealthWatch {
    /// They are asked at once.
    pub(super) fn new(sensors: HealthSensors, done: mpsc::Sender<HealthReport>, now: Instant) -> Self {
        let (sensors, reading) = (Some(Box::new(sensors)), HealthReading::default());
        Self { sensors, reading, done, asked: now, overdue: true, told_blind: false }
    }

    /// What they said last.
    pub(super) fn reading(&self) -> &HealthReading {
        &self.reading
    }

    /// Has them asked at once, if they aren't already.
    pub(super) fn look_soon(&mut self) {
        self.overdue = self.sensors.is_some();
    }

    fn ask(&mut self, now: Instant) {
        self.asked = now;
        self.overdue = false;
        let Some(mut sensors) = self.sensors.take() else { return };
        let done = self.done.clone();
        spawn_blocking(move || {
            let reading = sensors.read();
            // The driver is gone only when the daemon ends.
            let _ = done.blocking_send((sensors, reading));
        });
    }
}

impl Driver {
    /// When the sensors are asked next, or given up.
    pub(super) fn next_look_at_health(&self) -> Instant {
        let pause = match &self.health.sensors {
            _ if self.health.overdue => Duration::ZERO,
            None => LONGEST,
            Some(_) if self.computes() || self.thermal.heat() > Heat::Normal => TURN,
            Some(_) => REST,
        };
        self.health.asked + pause
    }

    /// Asks the sensors. Those that have not answered tell nothing: that is no reason to wait for them for ever.
    pub(super) fn look_at_health(&mut self, now: Instant) {
        if self.health.sensors.is_none() {
            self.health.reading = HealthReading::default();
            self.observe_heat(now);
        }
        self.health.ask(now);
    }

    /// Takes what the sensors say.
    pub(super) fn on_health(&mut self, report: HealthReport) {
        let (sensors, reading) = report;
        self.health.sensors = Some(sensors);
        self.health.reading = reading;
        self.observe_heat(Instant::now());
    }

    fn observe_heat(&mut self, now: Instant) {
        self.reporting.energy.observe(now, self.health.reading.watts());
        let before = self.thermal.observe(now, &self.health.reading);
        if self.thermal.nearest().is_none() && !self.health.told_blind {
            self.health.told_blind = true;
            tracing::info!("no temperature with a limit is known here: heat limits nothing (see [thermal])");
        }
        self.set_duties();
        if let Some(before) = before {
            self.on_heat_changed(before);
        }
    }

    fn on_heat_changed(&mut self, before: Heat) {
        let heat = self.thermal.heat();
        let reason = self.thermal.cause().map(ToString::to_string).unwrap_or_default();
        let duty = self.thermal.duty().percent();
        if heat > before {
            tracing::warn!(from = %before, to = %heat, duty, "the machine is too hot: {reason}");
        } else {
            tracing::info!(from = %before, to = %heat, duty, reason, "the machine has cooled down");
        }
        let event = NodeEvent { event: "thermal", from: Some(before.as_str()), to: Some(heat.as_str()), reason };
        self.board.publish_node_event(&self.link, &self.topics, &event);
        if heat == Heat::Hard {
            self.stop_deriving("the machine is too hot");
        }
        if before == Heat::Hard {
            self.load_what_waits_for_cold();
            self.dispatch();
        }
        self.publish_status();
    }

    /// Whether anything computes, or is about to.
    fn computes(&self) -> bool {
        let busy = |entry: &ModelEntry| entry.engines().any(|engine| engine.running > 0 || engine.report.is_none());
        self.deriving.is_some() || self.models.iter().any(busy)
    }

    /// Tells engines how much of the time they may compute. One that can't be told now is told next time.
    pub(super) fn set_duties(&mut self) {
        let duty = self.thermal.duty();
        let engines = self.models.iter_mut().flat_map(ModelEntry::engines_mut);
        for engine in engines.filter(|engine| engine.report.is_some() && engine.duty != duty) {
            if engine.engine().set_duty(duty) {
                engine.duty = duty;
            }
        }
    }

    /// Whether nothing may be computed now.
    pub(super) fn is_too_hot(&self) -> bool {
        self.thermal.heat() == Heat::Hard
    }

    /// The error for what can't be done now because of the heat; none if it can.
    pub(super) fn heat_refusal(&self) -> Option<JobError> {
        let after = self.thermal.refusal(Instant::now())?;
        let cause = self.thermal.cause().map(|cause| format!(": {cause}")).unwrap_or_default();
        Some(JobError::new(ErrorCode::Thermal, format!("the machine is too hot{cause}")).retry_after(after))
    }

    /// Sets a model down until the machine has cooled.
    pub(super) fn wait_for_cold(&mut self, index: usize) {
        tracing::info!(model = %self.models[index].name(), "{TOO_HOT}");
        let down = Down { why: DownWhy::Heat, reason: TOO_HOT.to_owned(), retry_at: None };
        self.models[index].stage = Stage::Down(down);
        self.governor.settled(Instant::now());
        self.answer_waiters(index);
        self.publish_model(index);
    }

    fn load_what_waits_for_cold(&mut self) {
        for index in 0..self.models.len() {
            let entry = &self.models[index];
            if matches!(entry.stage, Stage::Down(Down { why: DownWhy::Heat, .. })) {
                let awaited = self.is_awaited(entry);
                self.models[index].decided_at = Instant::now();
                if awaited { self.load_on_demand(index) } else { self.load_best(index) }
            } else if entry.review.is_some() && entry.preparing.is_none() {
                self.prepare(index);
            }
        }
    }
}

/// The state that heat puts the node into, and why; none if it doesn't.
pub(super) fn state_of(thermal: &ThermalGovernor) -> Option<(NodeState, String)> {
    let (state, effect) = match thermal.heat() {
        Heat::Normal => return None,
        Heat::Soft => (NodeState::Throttled, "jobs run slower"),
        Heat::Hard => (NodeState::Paused, "jobs are paused, new work is refused"),
    };
    let cause = thermal.cause().map(ToString::to_string).unwrap_or_default();
    Some((state, format!("heat: {cause}; {effect}")))
}

/// How hot it is, for operators of this machine.
pub(super) fn document(thermal: &ThermalGovernor) -> Value {
    let zone = thermal.nearest();
    json!({
        "level": thermal.heat(),
        "duty": f64::from(thermal.duty().percent()) / 100.0,
        "zone": zone.map(|zone| &zone.name),
        "celsius": zone.map(|zone| tenths(zone.celsius)),
        "soft_celsius": zone.map(|zone| tenths(zone.limits.soft)),
        "hard_celsius": zone.map(|zone| tenths(zone.limits.hard)),
    })
}

fn tenths(celsius: f32) -> f64 {
    (f64::from(celsius) * 10.0).round() / 10.0
}
