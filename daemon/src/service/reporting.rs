//! What the node tells of itself besides its state: metrics, `health`, `telemetry` and `jobs/…`.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::announcements::Announcements;
use super::driver::Driver;
use super::pages::{Sources, web_server};
use super::textfile::TextFile;
use crate::config::{Config, Telemetry};
use crate::engine::{EngineError, EngineId};
use crate::health::{Roots, clock};
use crate::job::{JobId, ModelName, NodeName, Request};
use crate::mqtt::{Publication, Topics};
use crate::telemetry::{
    EnergyMeter, EngineFault, HealthPace, HealthWatch, History, JobChange, JobTotals, Metrics, ModelEvent, NodeTopics,
    ServiceHealth, Snapshot, health_document, home_assistant, job_state, telemetry_message, telemetry_numbers,
    thin_edge,
};
use crate::web::WebServer;

/// How often everything is looked at, if nothing is due before.
const LOOK: Duration = Duration::from_secs(2);

/// The metrics, where they can be read, and what was told when.
pub(super) struct Reporting {
    pub(super) metrics: Arc<Metrics>,
    history: Arc<Mutex<History>>,
    node: NodeName,
    web: Option<WebServer>,
    textfile: Option<TextFile>,
    announcements: Announcements,
    /// The node's own retained topics: a model or a name may be gone by the next run.
    own_topics: Announcements,
    pub(super) energy: EnergyMeter,
    pub(super) started: Instant,
    pub(super) tokens: TokenRate,
    config: Telemetry,
    health: HealthWatch,
    /// When `telemetry` was published last.
    told: Option<Instant>,
    next: Instant,
}

impl Reporting {
    /// Nothing was told yet.
    pub(super) fn new(now: Instant, config: &Config) -> Self {
        let metrics = Metrics::new();
        for model in &config.models {
            metrics.jobs.begin(&model.name);
            metrics.engines.begin(&model.name);
        }
        let mut reporting = Self {
            metrics: Arc::new(metrics),
            history: Arc::default(),
            node: config.node.name.clone(),
            web: None,
            textfile: None,
            announcements: Announcements::load(config.service.state_dir.join("announced.json")),
            own_topics: Announcements::load(config.service.state_dir.join("retained.json")),
            energy: EnergyMeter::new(now),
            started: now,
            tokens: TokenRate { at: now, seen: HashMap::new() },
            config: config.telemetry.clone(),
            health: HealthWatch::default(),
            told: None,
            next: now,
        };
        reporting.open_web();
        reporting.open_textfile();
        reporting
    }

    /// Goes by another configuration from now on.
    pub(super) fn set(&mut self, config: Telemetry) {
        let old = std::mem::replace(&mut self.config, config);
        if old.http != self.config.http {
            self.open_web();
        }
        if (&old.textfile, old.interval) != (&self.config.textfile, self.config.interval) {
            self.open_textfile();
        }
        self.next = Instant::now();
    }

    fn open_web(&mut self) {
        // The old one first: it may have the port of the new one.
        self.web = None;
        let sources =
            Sources { node: self.node.clone(), metrics: Arc::clone(&self.metrics), history: Arc::clone(&self.history) };
        self.web = self.config.http.and_then(|address| web_server(address, sources));
    }

    fn open_textfile(&mut self) {
        self.textfile = None;
        let path = self.config.textfile.clone();
        self.textfile = path.map(|path| TextFile::start(path, self.config.interval, Arc::clone(&self.metrics)));
    }

    /// When to look again.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// What a job has cost that is in its engine no more, with what it had cost before.
    pub(super) fn spent(&mut self, job: JobId, before: Option<f64>) -> Option<f64> {
        let joules = self.energy.end(Instant::now(), job);
        Some(before? + joules?)
    }

    /// The broker has taken everything.
    pub(super) fn settled(&mut self) {
        self.announcements.settled();
        self.own_topics.settled();
    }

    fn pace(&self) -> HealthPace {
        let Telemetry { health_min_interval, health_max_interval, deadbands, .. } = self.config;
        HealthPace {
            at_least: health_min_interval,
            at_most: health_max_interval,
            celsius: deadbands.celsius.into(),
            share: deadbands.share,
            watts: deadbands.watts.into(),
        }
    }
}

/// How many tokens all engines choose in a second.
pub(super) struct TokenRate {
    at: Instant,
    seen: HashMap<EngineId, u64>,
}

impl TokenRate {
    /// Since this was asked last.
    pub(super) fn since_last(&mut self, now: Instant, engines: impl Iterator<Item = (EngineId, u64)>) -> f64 {
        let before = std::mem::replace(&mut self.seen, engines.collect());
        let more = |(id, count): (&EngineId, &u64)| count.saturating_sub(before.get(id).copied().unwrap_or_default());
        let tokens: u64 = self.seen.iter().map(more).sum();
        let time = now.saturating_duration_since(std::mem::replace(&mut self.at, now));
        if time.is_zero() { 0.0 } else { tokens as f64 / time.as_secs_f64() }
    }
}

impl Driver {
    /// Looks at everything, and tells what is due.
    pub(super) fn look_around(&mut self, now: Instant) {
        let health = self.health.reading().clone();
        self.memory.read();
        self.reclaim_disk(health.disk);
        let synced = clock(&Roots::this(), SystemTime::now()).synced;
        self.board.set_clock_synced(&self.link, &self.topics, synced);
        let snapshot = self.snapshot(now, health, synced);
        let snapshot = self.reporting.metrics.show(snapshot);
        self.reporting.history.lock().unwrap_or_else(PoisonError::into_inner).keep(now, &snapshot);
        if self.reporting.health.due(now, &self.reporting.pace(), &snapshot) {
            self.link.set_retained(self.topics.health(), health_document(&snapshot));
        }
        self.announce(&snapshot);
        self.reporting.own_topics.keep_only(&self.link, self.own_topics());
        let next_message = self.tell_numbers(now, &snapshot);
        self.reporting.next = next_message.min(now + LOOK);
    }

    /// Tells Home Assistant and thin-edge.io of this node, if they are to know of it, else takes back what they were told.
    fn announce(&mut self, snapshot: &Snapshot) {
        let mut wanted = Vec::new();
        if self.reporting.config.home_assistant {
            let [availability, status] = [self.topics.availability(), self.topics.status()];
            let telemetry = self.topics.telemetry();
            let silence = self.reporting.config.interval;
            let topics = NodeTopics { availability: &availability, status: &status, telemetry: &telemetry, silence };
            let fields = telemetry_numbers(snapshot, &JobTotals::default(), SystemTime::now());
            wanted.push(home_assistant(&self.reporting.node, topics, &fields));
        }
        if self.reporting.config.thin_edge {
            wanted.extend(thin_edge(ServiceHealth::Up));
        }
        self.reporting.announcements.set(&self.link, wanted);
    }

    fn own_topics(&self) -> BTreeSet<String> {
        let topics = &self.topics;
        let fixed = [topics.availability(), topics.status(), topics.info(), topics.health()];
        fixed.into_iter().chain(self.models.iter().map(|entry| topics.model(entry.name()))).collect()
    }

    /// The last words of a node that stops, before the link does.
    pub(super) fn announce_end(&mut self) {
        if self.reporting.config.thin_edge {
            for (topic, payload) in thin_edge(ServiceHealth::Down) {
                self.link.set_retained(topic, payload);
            }
        }
    }

    /// Publishes `telemetry` if it is due; gives the time of the next one.
    fn tell_numbers(&mut self, now: Instant, snapshot: &Snapshot) -> Instant {
        let Telemetry { interval, stream_interval, .. } = self.reporting.config;
        let pause = if snapshot.jobs.running > 0 { stream_interval } else { interval };
        if let Some(next) = self.reporting.told.map(|told| told + pause).filter(|next| *next > now) {
            return next;
        }
        if self.link.is_connected() {
            let totals = self.reporting.metrics.jobs.totals();
            let payload = telemetry_message(snapshot, &totals, SystemTime::now()).into();
            let topic = self.topics.telemetry();
            self.link.publish_transient(Publication {
                topic,
                payload,
                content_type: None,
                correlation: None,
                parts: None,
            });
            self.reporting.told = Some(now);
        }
        now + pause
    }

    /// `event`, about a model.
    pub(super) fn event(&self, index: usize, event: &ModelEvent) {
        let model = self.models[index].name();
        self.reporting.metrics.engines.event(model, event.kind());
        self.board.publish_event(&self.link, &self.topics, model, event);
    }

    /// `jobs/<client>/<id>`.
    pub(super) fn tell_job(&self, request: &Request, model: &ModelName, change: JobChange<'_>) {
        self.publish_all(vec![job_publication(&self.topics, request, model, change)]);
    }

    /// Messages that may be left out when the broker is slow or away.
    pub(super) fn publish_all(&self, publications: Vec<Publication>) {
        if !self.link.is_connected() {
            return;
        }
        for publication in publications {
            if !self.link.publish_transient(publication) {
                tracing::debug!("a message about a job's progress was left out: the broker is slow");
            }
        }
    }

    /// The same for a job by its number. Its steps are not a client's.
    pub(super) fn tell_open_job(&self, id: JobId, change: JobChange<'_>) {
        if let Some(job) = self.jobs.get(id).filter(|job| job.is_clients()) {
            self.tell_job(&job.request, &job.model, change);
        }
    }
}

/// `jobs/<client>/<id>`.
pub(super) fn job_publication(
    topics: &Topics,
    request: &Request,
    model: &ModelName,
    change: JobChange<'_>,
) -> Publication {
    let topic = topics.job(&request.client, &request.id);
    let payload = job_state(request.task_name(), model, change).into();
    Publication { topic, payload, content_type: None, correlation: None, parts: None }
}

/// The kind of an engine's end, for metrics.
pub(super) fn fault_of(error: &EngineError) -> EngineFault {
    match error {
        EngineError::Killed => EngineFault::Killed,
        EngineError::Stalled(_) | EngineError::LoadTimeout(_) | EngineError::Overdue(_) => EngineFault::Stalled,
        EngineError::Ended(_) | EngineError::Connection(_) | EngineError::Unexpected(_) => EngineFault::Crashed,
        _ => EngineFault::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_come_and_go_and_the_rate_is_that_of_their_tokens() {
        let start = Instant::now();
        let mut rate = TokenRate { at: start, seen: HashMap::new() };
        let at = |seconds| start + Duration::from_secs(seconds);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
        let (old, new) = (EngineId(1), EngineId(2));
        close(rate.since_last(at(0), [(old, 0)].into_iter()), 0.0);
        close(rate.since_last(at(2), [(old, 60)].into_iter()), 30.0);
        close(rate.since_last(at(4), [(old, 60), (new, 10)].into_iter()), 5.0);
        close(rate.since_last(at(6), [(new, 30)].into_iter()), 10.0);
        close(rate.since_last(at(8), std::iter::empty()), 0.0);
    }
}
