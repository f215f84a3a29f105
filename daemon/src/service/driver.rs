//! The one task that changes state.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::intake::waiting;
use super::jobs::{Jobs, Stage};
use super::models::{ModelEntry, ModelState, unavailable};
use super::status::{BrokerFault, StatusBoard};
use super::wiring::{OFFLINE, engine_spec, link_config, open_in_background};
use super::{ServiceError, systemd};
use crate::config::Config;
use crate::engine::{Engine, EngineError, EngineEvent, EngineReport, ModelFile, backends_folder};
use crate::job::{ErrorCode, JobError, JobId, ModelName};
use crate::mqtt::{
    Link, LinkEvent, LinkHandle, Replies, ReplyPolicy, RequestLimits, RequestReader, Slot, TopicFilter, Topics,
};
use crate::queue::{Queue, QueueLimits};
use crate::telemetry::NodeState;

/// Reports that may wait for the driver, of all engines together.
const REPORTS: usize = 256;

/// What the availability topic says while we are there.
const ONLINE: &[u8] = b"online";

/// How often a node that drains looks whether it is done.
const DRAIN_TURN: Duration = Duration::from_millis(100);

/// How long after its pause a connection must hold before another node with our client id is taken for gone.
const DUPLICATE_GONE: Duration = Duration::from_mins(1);

/// How long the clean good-bye to the broker may take.
const GOODBYE: Duration = Duration::from_secs(3);

/// The driver and all state of the daemon.
pub(super) struct Driver {
    pub(super) config: Config,
    pub(super) topics: Topics,
    pub(super) reader: RequestReader,
    pub(super) replies: Replies,
    pub(super) link: LinkHandle,
    pub(super) queue: Queue,
    pub(super) jobs: Jobs,
    pub(super) models: Vec<ModelEntry>,
    pub(super) board: StatusBoard,
    pub(super) phase: Phase,
    /// What is wrong with our place at the broker.
    broker_faults: BTreeSet<BrokerFault>,
    /// When another node with our client id is taken for gone, unless it shows again.
    duplicate_until: Option<Instant>,
    /// Mean time that jobs ran lately, for estimates.
    pub(super) job_time: Option<Duration>,
    backends: String,
    reports: mpsc::Sender<EngineReport>,
}

/// Whether the daemon takes work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It does.
    Open,
    /// It finishes what runs until then.
    Draining { until: Instant },
}

enum Wake {
    Link(Slot, LinkEvent),
    Engine(EngineReport),
    File(ModelName, Result<Box<ModelFile>, EngineError>),
    Deadline,
    Signal,
    LinkGone,
}

/// Runs the daemon until a signal ends it. Must be called on the main thread, within a runtime of that thread: the engine
/// children die with it.
pub async fn run(config: Config) -> Result<(), ServiceError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let topics = Topics::new(&config.mqtt.root, &config.node.name)?;
    let backends = backends_folder()?.to_string_lossy().into_owned();
    let (link, mut link_events) = Link::spawn(link_config(&config, &topics));
    let (reports, mut engine_reports) = mpsc::channel(REPORTS);
    let (files, mut opened) = mpsc::channel(config.models.len().max(1));
    for model in &config.models {
        open_in_background(model.name.clone(), &model.file, files.clone());
    }
    let mut driver = Driver::new(config, topics, link, backends, reports)?;
    driver.link.set_retained(driver.topics.availability(), Bytes::from_static(ONLINE));
    driver.board.publish_info(&driver.link, &driver.topics, &driver.config);
    driver.publish_status();
    let mut outcome = Ok(());
    loop {
        let deadline = driver.next_deadline();
        let wake = tokio::select! {
            wake = next_link_event(&driver.link, &mut link_events) => wake,
            Some(report) = engine_reports.recv() => Wake::Engine(report),
            Some((model, file)) = opened.recv() => Wake::File(model, file),
            () = sleep_until(deadline.into()) => Wake::Deadline,
            () = next_signal(&mut terminate, &mut interrupt) => Wake::Signal,
        };
        match wake {
            Wake::Link(slot, event) => driver.on_link(slot, event),
            Wake::Engine(report) => {
                if let Err(error) = driver.on_engine(report) {
                    outcome = Err(error);
                    break;
                }
            }
            Wake::File(model, file) => driver.on_file(&model, file),
            Wake::Deadline => driver.on_deadline(),
            Wake::Signal => driver.on_signal(),
            Wake::LinkGone => break,
        }
        if driver.is_drained() {
            break;
        }
    }
    driver.say_goodbye().await;
    outcome
}

/// A message is taken only when its answer has a place in the outbox. Both waits can be given up without loss.
async fn next_link_event(link: &LinkHandle, events: &mut mpsc::Receiver<LinkEvent>) -> Wake {
    let slot = link.reserve().await;
    match events.recv().await {
        Some(event) => Wake::Link(slot, event),
        None => Wake::LinkGone,
    }
}

async fn next_signal(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

impl Driver {
    fn new(
        config: Config,
        topics: Topics,
        link: LinkHandle,
        backends: String,
        reports: mpsc::Sender<EngineReport>,
    ) -> Result<Self, ServiceError> {
        let filters = config.mqtt.reply_allow.iter().map(|filter| TopicFilter::new(filter.as_str()));
        let reply_allow = filters.collect::<Result<_, _>>()?;
        let limits = &config.limits;
        let reader = RequestReader {
            topics: topics.clone(),
            reply_policy: ReplyPolicy::new(topics.root(), reply_allow),
            limits: RequestLimits {
                request_bytes: limits.request,
                max_tokens_default: limits.max_tokens,
                max_tokens_cap: limits.max_tokens_cap,
                deadline_default: limits.deadline,
                deadline_cap: limits.deadline_cap,
            },
        };
        let queue = Queue::new(QueueLimits { jobs: limits.queue_jobs, jobs_per_client: limits.queue_jobs_per_client });
        Ok(Self {
            reader,
            replies: Replies::new(config.node.name.clone()),
            link,
            queue,
            jobs: Jobs::default(),
            models: config.models.iter().cloned().map(ModelEntry::new).collect(),
            board: StatusBoard::new(config.node.name.clone()),
            phase: Phase::Open,
            broker_faults: BTreeSet::new(),
            duplicate_until: None,
            job_time: None,
            topics,
            config,
            backends,
            reports,
        })
    }

    /// The link itself logs what happens to it, once each.
    fn on_link(&mut self, slot: Slot, event: LinkEvent) {
        match event {
            LinkEvent::Message(message) => self.on_message(slot, message),
            // Subscriptions are tried anew.
            LinkEvent::Connected { .. } => {
                self.broker_faults.retain(|fault| *fault == BrokerFault::DuplicateNode);
                self.publish_status();
            }
            LinkEvent::DuplicateClient { pause } => {
                self.broker_faults.insert(BrokerFault::DuplicateNode);
                self.duplicate_until = Some(Instant::now() + pause + DUPLICATE_GONE);
                self.publish_status();
            }
            LinkEvent::SubscriptionRefused { filter, .. } => {
                self.broker_faults.insert(BrokerFault::SubscriptionRefused(filter));
                self.publish_status();
            }
            LinkEvent::Disconnected { .. } | LinkEvent::Settled { .. } => {}
        }
    }

    fn on_file(&mut self, model: &ModelName, file: Result<Box<ModelFile>, EngineError>) {
        let Some(index) = self.models.iter().position(|entry| entry.name() == model) else { return };
        match file {
            Ok(file) => {
                let file: Arc<ModelFile> = Arc::from(file);
                let spec = engine_spec(&self.config, &self.models[index].config, Arc::clone(&file), &self.backends);
                let entry = &mut self.models[index];
                entry.engine = Some(Engine::start(spec, self.reports.clone()));
                entry.file = Some(file);
            }
            Err(error) => {
                tracing::error!(%model, "{error}");
                let reason = self.models[index].without_folder(&error.to_string());
                self.set_unavailable(index, reason, None);
            }
        }
        self.publish_model(index);
    }

    fn on_engine(&mut self, report: EngineReport) -> Result<(), ServiceError> {
        let Some(index) = self.models.iter().position(|entry| *entry.name() == report.model) else { return Ok(()) };
        match report.event {
            EngineEvent::Loading(share) => {
                let failed = self.models[index].failure().map(str::to_owned);
                self.models[index].state = ModelState::Loading { share, failed };
                self.publish_model(index);
            }
            EngineEvent::Ready(report) => {
                tracing::info!(
                    model = %self.models[index].name(),
                    "the model is ready: {} on {}, loaded in {:.1} s",
                    report.description,
                    report.devices.join(", "),
                    report.load_time.as_secs_f64()
                );
                let entry = &mut self.models[index];
                entry.state = ModelState::Ready(report);
                entry.has_served = true;
                self.publish_model(index);
                self.dispatch();
            }
            EngineEvent::Delta { job, text } => self.publish_delta(job, &text),
            EngineEvent::Ended { job, result } => {
                let entry = &mut self.models[index];
                entry.running = entry.running.saturating_sub(1);
                self.finish_running(job, result);
                self.dispatch();
            }
            EngineEvent::Interrupted => {
                let reason = "the engine process is ending".to_owned();
                self.models[index].state = ModelState::Unavailable { reason, retry: Some(Duration::ZERO) };
            }
            EngineEvent::Returned(id) => {
                let entry = &mut self.models[index];
                entry.running = entry.running.saturating_sub(1);
                self.wait_again(id);
            }
            EngineEvent::Down { error: EngineError::Replaced, .. } => return Err(EngineError::Replaced.into()),
            EngineEvent::Down { error, restart } => {
                tracing::error!(model = %self.models[index].name(), "{error}");
                self.set_unavailable(index, error.to_string(), restart);
                self.publish_model(index);
            }
        }
        Ok(())
    }

    /// A job that came too late for its engine goes back to the queue.
    fn wait_again(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let Stage::Running { stopping, .. } = std::mem::replace(&mut job.stage, Stage::Waiting) else { return };
        match stopping {
            Some(reason) => self.fail(id, reason),
            None => self.queue.put_back(waiting(id, &job.request, &job.model, job.deadline)),
        }
    }

    /// A model that never served may never do so: what waits for it ends now, with the reason.
    fn set_unavailable(&mut self, index: usize, reason: String, retry: Option<Duration>) {
        let entry = &mut self.models[index];
        if !entry.has_served {
            let name = entry.name().clone();
            let waiting: Vec<JobId> = self.jobs.iter().filter(|(_, job)| job.model == name).map(|(id, _)| id).collect();
            let error = unavailable(&name, &reason, retry);
            for job in waiting {
                self.fail(job, error.clone());
            }
        }
        self.models[index].state = ModelState::Unavailable { reason, retry };
    }

    fn next_deadline(&self) -> Instant {
        let running = self.jobs.running().map(|(_, job)| job.deadline);
        // The link tells nobody when its outbox is empty.
        let draining = matches!(self.phase, Phase::Draining { .. }).then(|| Instant::now() + DRAIN_TURN);
        let next =
            self.queue.next_deadline().into_iter().chain(running).chain(draining).chain(self.duplicate_until).min();
        // Without one there is nothing to wake up for.
        next.unwrap_or_else(|| Instant::now() + Duration::from_hours(1))
    }

    fn on_deadline(&mut self) {
        let now = Instant::now();
        if self.duplicate_until.is_some_and(|until| until <= now) {
            self.duplicate_until = None;
            self.broker_faults.remove(&BrokerFault::DuplicateNode);
            self.publish_status();
        }
        let expired = JobError::new(ErrorCode::DeadlineExceeded, "the deadline passed before the job could start");
        for job in self.queue.expire(now) {
            self.fail(job, expired.clone());
        }
        let late: Vec<JobId> = self.jobs.running().filter(|(_, job)| job.deadline <= now).map(|(id, _)| id).collect();
        for job in late {
            self.stop(job, JobError::new(ErrorCode::DeadlineExceeded, "the deadline passed while the job was running"));
        }
    }

    fn on_signal(&mut self) {
        systemd::stopping();
        if let Phase::Draining { .. } = self.phase {
            self.phase = Phase::Draining { until: Instant::now() };
            return;
        }
        let running = self.jobs.running().count();
        tracing::info!(running, waiting = self.queue.len(), "stopping");
        self.phase = Phase::Draining { until: Instant::now() + self.config.service.drain_timeout };
        let waiting: Vec<JobId> =
            self.jobs.iter().filter(|(_, j)| matches!(j.stage, Stage::Waiting)).map(|(id, _)| id).collect();
        let error = JobError::new(ErrorCode::Draining, "the node is stopping; the job had not started");
        for job in waiting {
            self.fail(job, error.clone());
        }
        self.publish_status();
    }

    fn is_drained(&self) -> bool {
        match self.phase {
            Phase::Open => false,
            Phase::Draining { until } => {
                let done = self.jobs.is_empty() && self.link.outbox_len() == 0;
                done || until <= Instant::now()
            }
        }
    }

    /// Ends what is still open, lets the engines go, and leaves the broker as it should be left.
    async fn say_goodbye(&mut self) {
        let stopping = JobError::new(ErrorCode::Draining, "the node is stopping");
        let open: Vec<JobId> = self.jobs.iter().map(|(id, _)| id).collect();
        for job in open {
            self.fail(job, stopping.clone());
        }
        self.models.clear();
        self.board.publish_state(&self.link, &self.topics, NodeState::Stopped, Vec::new());
        let last = vec![(self.topics.availability(), Bytes::from_static(OFFLINE))];
        let end = self.link.shutdown(last, GOODBYE).await;
        let unsent = self.link.outbox_len();
        if unsent > 0 {
            tracing::error!(unsent, ?end, "the broker could not be told everything: answers are lost");
        }
    }

    /// Publishes a model's document and, as it follows from the models, the node's state.
    pub(super) fn publish_model(&mut self, index: usize) {
        let document = self.models[index].document();
        self.board.publish_model(&self.link, &self.topics, &document);
        self.publish_status();
    }

    /// Publishes the node's state.
    pub(super) fn publish_status(&mut self) {
        let (state, reasons) = super::status::state_of(self.phase, &self.broker_faults, &self.models);
        self.board.tell_ready(&self.models);
        self.board.publish_state(&self.link, &self.topics, state, reasons);
    }
}
