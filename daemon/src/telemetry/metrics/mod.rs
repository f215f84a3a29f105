//! The metrics, in Prometheus' and OpenMetrics' text. `packaging/monitoring/metrics.md` lists them; a test compares both.
//!
//! What happens is counted as it happens ([`JobMetrics`], [`EngineMetrics`]); how things stand comes from the last
//! [`Snapshot`]. Labels are few: models, which the configuration bounds, words of fixed lists, and what the kernel calls its
//! sensors. Never a client, and never a text of one.

mod engines;
mod jobs;
mod journal;
mod node;
mod sensors;

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, prometheus_text, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

pub use engines::{EngineFault, EngineMetrics};
pub use jobs::{JobMetrics, JobTotals};

use super::Snapshot;

/// Name and value of each label of one series.
type Labels = Vec<(&'static str, String)>;

/// All metrics of a run of the daemon.
#[derive(Debug)]
pub struct Metrics {
    /// What happens to requests and jobs.
    pub jobs: JobMetrics,
    /// What happens to engines.
    pub engines: EngineMetrics,
    registry: Registry,
    now: Shared,
}

/// The last snapshot.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Option<Arc<Snapshot>>>>);

impl Metrics {
    /// Everything at its beginning.
    #[expect(clippy::new_without_default, reason = "a run of the daemon makes one, and says so")]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("promptd");
        let now = Shared::default();
        let jobs = JobMetrics::register(&mut registry);
        let engines = EngineMetrics::register(&mut registry);
        registry.register_collector(Box::new(now.clone()));
        Self { jobs, engines, registry, now }
    }

    /// Takes how things stand now.
    pub fn show(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        *self.now.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&snapshot));
        snapshot
    }

    /// How things stood last; none before the first look.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.now.get()
    }

    /// Prometheus' text, version 0.0.4.
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        // A string takes everything.
        let _ = prometheus_text::encode(&mut text, &self.registry);
        text
    }

    /// OpenMetrics' text, version 1.0.0: the same with units.
    pub fn openmetrics(&self) -> String {
        let mut text = String::new();
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

impl Shared {
    fn get(&self) -> Option<Arc<Snapshot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Collector for Shared {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let Some(snapshot) = self.get() else { return Ok(()) };
        let mut writer = Writer { encoder };
        node::write(&mut writer, &snapshot)?;
        node::write_models(&mut writer, &snapshot.models)?;
        journal::write(&mut writer, &snapshot)?;
        sensors::write_memory(&mut writer, &snapshot)?;
        sensors::write_health(&mut writer, &snapshot.health)
    }
}

/// Writes what stands in a snapshot. A metric without any value is left out.
struct Writer<'a> {
    encoder: DescriptorEncoder<'a>,
}

/// What a metric is called, in what it is measured, and what it means.
#[derive(Debug, Clone, Copy)]
struct Name<'a> {
    stem: &'a str,
    unit: Option<&'static str>,
    help: &'a str,
}

/// One without a unit.
const fn plain<'a>(name: &'a str, help: &'a str) -> Name<'a> {
    Name { stem: name, unit: None, help }
}

/// One with a unit, which the library puts behind its name.
const fn measured<'a>(name: &'a str, unit: &'static str, help: &'a str) -> Name<'a> {
    Name { stem: name, unit: Some(unit), help }
}

impl Writer<'_> {
    fn gauge(&mut self, name: Name<'_>, value: impl Into<Option<f64>>) -> std::fmt::Result {
        self.gauges(name, value.into().map(|value| (Labels::new(), value)))
    }

    fn gauges(&mut self, name: Name<'_>, series: impl IntoIterator<Item = (Labels, f64)>) -> std::fmt::Result {
        self.series(name, series.into_iter().map(|(labels, value)| (labels, ConstGauge::new(value))))
    }

    fn counter(&mut self, name: Name<'_>, value: impl Into<Option<f64>>) -> std::fmt::Result {
        self.counters(name, value.into().map(|value| (Labels::new(), value)))
    }

    fn counters(&mut self, name: Name<'_>, series: impl IntoIterator<Item = (Labels, f64)>) -> std::fmt::Result {
        self.series(name, series.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value))))
    }

    fn series<M: EncodeMetric>(
        &mut self,
        Name { stem, unit, help }: Name<'_>,
        series: impl IntoIterator<Item = (Labels, M)>,
    ) -> std::fmt::Result {
        let mut series = series.into_iter().peekable();
        let Some((_, first)) = series.peek() else { return Ok(()) };
        let unit = unit.map(|unit| Unit::Other(unit.to_owned()));
        let mut metric = self.encoder.encode_descriptor(stem, help, unit.as_ref(), first.metric_type())?;
        let mut written: Vec<Labels> = Vec::new();
        for (labels, value) in series {
            // Two sensors of one name would make the whole text invalid.
            if !written.contains(&labels) {
                value.encode(metric.encode_family(&labels)?)?;
                written.push(labels);
            }
        }
        Ok(())
    }
}

/// As Prometheus has truth.
fn one(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

#[cfg(test)]
#[path = "../metrics_tests.rs"]
mod tests;
