//! What happens to engines and models.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Labels;
use crate::job::ModelName;
use crate::telemetry::EventKind;

/// Engines since the daemon started.
#[derive(Debug)]
pub struct EngineMetrics {
    starts: Family<Labels, Counter>,
    faults: Family<Labels, Counter>,
    events: Family<Labels, Counter>,
}

/// Why an engine ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineFault {
    /// It crashed or closed its connection.
    Crashed,
    /// It was killed, as the kernel does when memory runs out.
    Killed,
    /// It made no progress.
    Stalled,
    /// It could not be started or could not load its model.
    Refused,
}

impl EngineFault {
    const ALL: [Self; 4] = [Self::Crashed, Self::Killed, Self::Stalled, Self::Refused];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crashed => "crashed",
            Self::Killed => "killed",
            Self::Stalled => "stalled",
            Self::Refused => "refused",
        }
    }
}

impl EngineMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { starts: Family::default(), faults: Family::default(), events: Family::default() };
        registry.register("engine_starts", "Engine processes started", metrics.starts.clone());
        registry.register(
            "engine_faults",
            "Engine processes that ended by themselves, by the reason",
            metrics.faults.clone(),
        );
        registry.register(
            "model_events",
            "What happened to models, as their event topic has it",
            metrics.events.clone(),
        );
        metrics
    }

    /// The counters of a model begin.
    pub fn begin(&self, model: &ModelName) {
        drop(self.starts.get_or_create(&by_model(model)));
        for fault in EngineFault::ALL {
            drop(self.faults.get_or_create(&with(model, "reason", fault.as_str())));
        }
        for event in EventKind::ALL {
            drop(self.events.get_or_create(&with(model, "event", event.as_str())));
        }
    }

    /// An engine of a model was started.
    pub fn started(&self, model: &ModelName) {
        self.starts.get_or_create(&by_model(model)).inc();
    }

    /// An engine of a model ended by itself.
    pub fn fault(&self, model: &ModelName, fault: EngineFault) {
        self.faults.get_or_create(&with(model, "reason", fault.as_str())).inc();
    }

    /// Something happened to a model.
    pub fn event(&self, model: &ModelName, event: EventKind) {
        self.events.get_or_create(&with(model, "event", event.as_str())).inc();
    }
}

fn by_model(model: &ModelName) -> Labels {
    vec![("model", model.to_string())]
}

fn with(model: &ModelName, label: &'static str, value: &str) -> Labels {
    vec![("model", model.to_string()), (label, value.to_owned())]
}
