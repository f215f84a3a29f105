//! The one task that changes state.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::ServiceError;
use super::bindings::Failures as BoundFailures;
use super::certificates::CertificateWatch;
use super::cooling::{self, HealthReport, HealthWatch};
use super::deriving::{DerivedReport, Deriving};
use super::governor::Governor;
use super::groups::Groups;
use super::jobs::{Job, Jobs};
use super::memory::MemoryWatch;
use super::models::{Failures, ModelEntry, Prepared, Stage, Ticket};
use super::opening::Opened;
use super::recording::Recorder;
use super::reporting::Reporting;
use super::self_test::Findings;
use super::sessions::Sessions;
use super::startup::{SetLogLevel, Startup};
use super::status::{NodeFault, StatusBoard};
use super::systemd::{StopTime, Watchdog};
use super::thermal::ThermalGovernor;
use super::waiting::Waiter;
use super::wiring::{governor_settings, queue_limits, request_reader, thermal_settings};
use crate::config::{Config, Origin};
use crate::engine::EngineReport;
use crate::health::{Board, BoardKind, HealthSensors, MemorySensors, Roots};
use crate::job::{ErrorCode, JobError, JobId};
use crate::mqtt::{Fault, LinkEvent, LinkHandle, Replies, RequestReader, Slot, Topics};
use crate::queue::{Queue, TokenRates};

/// How often a node that drains looks whether it is done.
const DRAIN_TURN: Duration = Duration::from_millis(100);

/// How long after its pause a connection must hold before another node with our client id is taken for gone.
const DUPLICATE_GONE: Duration = Duration::from_mins(1);

/// Most faults that are kept of one connection: clients' names are in some of them.
const FAULTS_MAX: usize = 32;

/// The driver and all state of the daemon.
pub(super) struct Driver {
    /// What is in force.
    pub(super) config: Config,
    /// Where it is read again.
    pub(super) origin: Origin,
    /// Keys that have another value in the files, which needs a restart.
    pub(super) needs_restart: Vec<String>,
    /// Of the credentials that the link was told of last.
    pub(super) credentials: [u8; 32],
    pub(super) set_log_level: SetLogLevel,
    pub(super) topics: Topics,
    pub(super) reader: RequestReader,
    pub(super) replies: Replies,
    pub(super) link: LinkHandle,
    pub(super) groups: Groups,
    pub(super) queue: Queue,
    pub(super) jobs: Jobs,
    pub(super) sessions: Sessions,
    /// Whether there are jobs that may start and could not when the queue was looked at: steps that have joined it, turns that are
    /// released.
    pub(super) steps_wait: bool,
    pub(super) recorder: Recorder,
    pub(super) opened: mpsc::Sender<Opened>,
    pub(super) models: Vec<ModelEntry>,
    pub(super) board: StatusBoard,
    pub(super) phase: Phase,
    /// What is wrong with the configuration, or our place at the broker.
    pub(super) faults: BTreeSet<NodeFault>,
    /// When another node with our client id is taken for gone, unless it shows again.
    duplicate_until: Option<Instant>,
    pub(super) certificates: CertificateWatch,
    pub(super) reporting: Reporting,
    /// What clients have used of the tokens that policies give them.
    pub(super) rates: TokenRates,
    /// What was told of bindings that fail.
    pub(super) bound_failures: BoundFailures,
    /// The machine's memory.
    pub(super) memory: MemoryWatch,
    pub(super) governor: Governor,
    /// The machine's other sensors.
    pub(super) health: HealthWatch,
    pub(super) thermal: ThermalGovernor,
    /// How long systemd waits for a stop.
    pub(super) stop_time: StopTime,
    /// systemd's, if it has set one.
    pub(super) watchdog: Option<Watchdog>,
    /// When memory is looked at next.
    pub(super) next_turn: Instant,
    /// Strategies that failed in this run or an earlier one.
    pub(super) failures: Failures,
    /// The derivation that is under way.
    pub(super) deriving: Option<Deriving>,
    pub(super) derived: mpsc::Sender<DerivedReport>,
    /// When it is worth looking again for one to start.
    pub(super) derive_after: Instant,
    /// Operators who wait for a model.
    pub(super) waiters: Vec<Waiter>,
    /// Whether the node looks at itself just now.
    pub(super) looks_at_itself: bool,
    pub(super) tested: mpsc::Sender<Findings>,
    /// Looks at models' files in this run.
    pub(super) preparations: Ticket,
    /// Engines started in this run.
    pub(super) engines_started: u64,
    /// Whether the board's GPU shares the host's memory.
    pub(super) unified_memory: bool,
    /// The board's family.
    pub(super) board_kind: BoardKind,
    pub(super) backends: PathBuf,
    pub(super) reports: mpsc::Sender<EngineReport>,
    pub(super) prepared: mpsc::Sender<(Ticket, Prepared)>,
}

/// The ways in which others reach the driver.
pub(super) struct Doors {
    pub(super) link: LinkHandle,
    pub(super) recorder: Recorder,
    pub(super) opened: mpsc::Sender<Opened>,
    pub(super) reports: mpsc::Sender<EngineReport>,
    pub(super) prepared: mpsc::Sender<(Ticket, Prepared)>,
    pub(super) derived: mpsc::Sender<DerivedReport>,
    pub(super) health: mpsc::Sender<HealthReport>,
    pub(super) tested: mpsc::Sender<Findings>,
}

/// Whether the daemon takes work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It does.
    Open,
    /// An operator wants it to take none; what was accepted is finished.
    Paused,
    /// It finishes what runs until then.
    Draining {
        /// The end of its patience.
        until: Instant,
    },
}

impl Driver {
    pub(super) fn new(startup: Startup, topics: Topics, backends: PathBuf, doors: Doors) -> Result<Self, ServiceError> {
        let Startup { loaded, origin, broken, set_log_level } = startup;
        let now = Instant::now();
        let roots = Roots::this();
        let config = loaded.config.clone();
        let Board { kind, unified_memory, .. } = Board::detect(&roots);
        let sensors = HealthSensors::discover(roots.clone(), &config.service.state_dir);
        let mut driver = Self {
            reader: request_reader(&config, &topics)?,
            replies: Replies::new(config.node.name.clone()),
            link: doors.link,
            groups: Groups::default(),
            queue: Queue::new(queue_limits(&config)),
            jobs: Jobs::default(),
            sessions: Sessions::default(),
            steps_wait: false,
            recorder: doors.recorder,
            opened: doors.opened,
            models: config.models.iter().cloned().map(|model| ModelEntry::new(model, now)).collect(),
            board: StatusBoard::new(config.node.name.clone(), config.telemetry.interval),
            reporting: Reporting::new(now, &config),
            phase: Phase::Open,
            faults: BTreeSet::new(),
            duplicate_until: None,
            certificates: CertificateWatch::new(now),
            rates: TokenRates::default(),
            bound_failures: BoundFailures::default(),
            unified_memory,
            health: HealthWatch::new(sensors, doors.health, now),
            thermal: ThermalGovernor::new(thermal_settings(&config, &kind)),
            board_kind: kind,
            memory: MemoryWatch::new(MemorySensors::discover(roots), config.memory.clone()),
            governor: Governor::new(now, governor_settings(&config)),
            watchdog: Watchdog::of_service(now),
            next_turn: now,
            failures: Failures::load(&config.service.state_dir),
            waiters: Vec::new(),
            looks_at_itself: false,
            tested: doors.tested,
            preparations: 0,
            engines_started: 0,
            // One that can't be read is the link's to report.
            credentials: config.mqtt.credentials_hash().unwrap_or_default(),
            topics,
            config,
            origin,
            needs_restart: Vec::new(),
            set_log_level,
            stop_time: StopTime::new(now),
            backends,
            reports: doors.reports,
            prepared: doors.prepared,
            deriving: None,
            derived: doors.derived,
            derive_after: now,
        };
        match broken {
            Some(broken) => driver.is_broken(&broken, "the last good one is in force"),
            None => driver.keep(&loaded),
        }
        Ok(driver)
    }

    /// The link itself logs what happens to it, once each.
    pub(super) fn on_link(&mut self, slot: Slot, event: LinkEvent) {
        match event {
            LinkEvent::Message(message) => {
                let link = self.link.clone();
                self.on_message(slot, message, &link);
            }
            // Subscriptions and documents are tried anew, with the files for TLS as they are now.
            LinkEvent::Connected { .. } => {
                self.look_at_certificates();
                self.faults.retain(|fault| matches!(fault, NodeFault::Configuration(_) | NodeFault::DuplicateNode));
                self.publish_status();
            }
            LinkEvent::DuplicateClient { pause } => {
                self.faults.insert(NodeFault::DuplicateNode);
                self.duplicate_until = Some(Instant::now() + pause + DUPLICATE_GONE);
                self.publish_status();
            }
            LinkEvent::SubscriptionRefused { filter, .. } => {
                self.faults.insert(NodeFault::SubscriptionRefused(filter));
                self.publish_status();
            }
            // Elsewhere a client has chosen the topic, and that is no fault of this node, or its operator.
            LinkEvent::PublicationRefused { topic, reason } => {
                let bound = self.is_bound_topic(&topic).then(|| topic.clone());
                if let Some(topic) = self.topics.outbound(&topic).or(bound)
                    && self.faults.len() < FAULTS_MAX
                {
                    self.faults.insert(NodeFault::PublicationRefused { topic, reason });
                    self.publish_status();
                }
            }
            LinkEvent::Settled { tag, delivery } => {
                drop(slot);
                self.on_settled(tag, delivery);
            }
            LinkEvent::Disconnected { reason } => {
                let changed = match reason {
                    Fault::OldVersion => self.faults.insert(NodeFault::OldBroker),
                    _ => self.faults.remove(&NodeFault::OldBroker),
                };
                if changed {
                    self.publish_status();
                }
            }
        }
    }

    /// Whoever mends the broker's access control wants to see it at work.
    pub(super) fn ask_broker_again(&self) {
        if self.faults.iter().any(|fault| !matches!(fault, NodeFault::Configuration(_))) {
            self.link.renew();
        }
    }

    pub(super) fn next_deadline(&self) -> Instant {
        let running = self.jobs.running().map(|(_, job)| job.deadline);
        let composed = self.jobs.iter().filter(|(_, job)| job.is_composed()).map(|(_, job)| job.deadline);
        // The link tells nobody when its outbox is empty.
        let draining = matches!(self.phase, Phase::Draining { .. }).then(|| Instant::now() + DRAIN_TURN);
        let retries = self.models.iter().filter_map(ModelEntry::retry_at);
        let turn = self.must_govern().then_some(self.next_turn);
        let watchdog = self.watchdog.as_ref().map(Watchdog::next);
        let certificates = self.next_look_at_certificates();
        let health = [self.next_look_at_health()];
        let waits = self.queue.next_deadline().into_iter().chain(watchdog).chain(self.duplicate_until).chain(turn);
        let waits = waits
            .chain(self.next_expiry())
            .chain(self.next_reopen())
            .chain(self.next_fetch())
            .chain(running)
            .chain(composed)
            .chain(draining)
            .chain(retries)
            .chain(certificates)
            .chain(health);
        waits.fold(self.reporting.next(), Instant::min)
    }

    pub(super) fn on_deadline(&mut self) {
        let now = Instant::now();
        if self.duplicate_until.is_some_and(|until| until <= now) {
            self.duplicate_until = None;
            self.faults.remove(&NodeFault::DuplicateNode);
            self.publish_status();
        }
        if self.next_look_at_certificates().is_some_and(|at| at <= now) {
            self.look_at_certificates();
        }
        if self.next_look_at_health() <= now {
            self.look_at_health(now);
        }
        if self.reporting.next() <= now {
            self.look_around(now);
        }
        // To hash a large file takes minutes, and so do the first steps of a model on a slow machine. Nobody tells how far that
        // is: the start is not given up meanwhile. An engine that makes no progress is, by its own time-outs.
        if self.models.iter().any(|entry| entry.preparing.is_some() || matches!(entry.stage, Stage::Loading(_))) {
            self.board.still_loading();
        }
        self.expire_outcomes();
        self.fetch_backlog();
        self.reopen_journal(now);
        self.retry_models(now);
        if self.must_govern() && self.next_turn <= now {
            self.govern(now);
        }
        let is_late = |job: &Job| job.is_composed() && job.is_clients() && job.deadline <= now;
        let late: Vec<JobId> = self.jobs.iter().filter(|(_, job)| is_late(job)).map(|(id, _)| id).collect();
        for job in late {
            let text = "the deadline passed before all steps of the job were done";
            self.fail(job, JobError::new(ErrorCode::DeadlineExceeded, text));
        }
        let expired = JobError::new(ErrorCode::DeadlineExceeded, "the deadline passed while the job waited");
        for job in self.queue.expire(now) {
            self.fail(job, expired.clone());
        }
        let late: Vec<JobId> = self.jobs.running().filter(|(_, job)| job.deadline <= now).map(|(id, _)| id).collect();
        for job in late {
            self.stop(job, JobError::new(ErrorCode::DeadlineExceeded, "the deadline passed while the job was running"));
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
        let heat = cooling::state_of(&self.thermal);
        let (state, mut reasons) = super::status::state_of(
            self.phase,
            self.governor.level(),
            heat,
            &self.faults,
            &self.models,
            self.journal_trouble(),
        );
        if !self.needs_restart.is_empty() {
            reasons.push(format!("needs_restart: {}", self.needs_restart.join(", ")));
        }
        self.board.tell_ready(&self.models);
        self.board.publish_state(&self.link, &self.topics, state, reasons);
        self.follow_groups();
    }
}
