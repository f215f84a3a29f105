//! Which state the node is in, and where it is shown: retained topics, systemd, the log.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::driver::Phase;
use super::governor::Level;
use super::models::{DownWhy, ModelEntry, Stage, Then};
use super::systemd;
use super::tasks::task_infos;
use serde_json::Value;

use crate::config::Config;
use crate::health::Machine;
use crate::job::{ModelName, NodeName};
use crate::mqtt::{Fault, LinkHandle, Publication, Topics};
use crate::telemetry::{
    DOCUMENT_MAX, Documents, InfoLimits, ModelDocument, ModelEvent, NodeEvent, NodeInfo, NodeState, SelfTest, Status,
    TaskInfo, TlsDates,
};

/// What to do about a node without a model.
const NO_MODEL: &str = "no model is configured: `promptd model add FILE|URL` brings one";

/// Publishes the documents and remembers what was said last.
pub struct StatusBoard {
    documents: Documents,
    machine: Machine,
    tls: Option<TlsDates>,
    self_test: Option<SelfTest>,
    last: (NodeState, Vec<String>),
    since: SystemTime,
    clock_synced: Option<bool>,
    durability: &'static str,
    /// The longest silence of `telemetry`.
    heartbeat: Duration,
    told_ready: bool,
}

impl StatusBoard {
    /// The board of a node that starts.
    pub fn new(node: NodeName, heartbeat: Duration) -> Self {
        // Nothing was said yet: any state is a change.
        let last = (NodeState::Starting, vec![String::new()]);
        Self {
            documents: Documents::new(node),
            machine: Machine::this(),
            tls: None,
            self_test: None,
            last,
            since: UNIX_EPOCH,
            clock_synced: None,
            durability: "memory",
            heartbeat,
            told_ready: false,
        }
    }

    /// Remembers when the certificates end; none without TLS. Whether that has changed.
    pub fn set_tls_dates(&mut self, dates: Option<TlsDates>) -> bool {
        std::mem::replace(&mut self.tls, dates) != dates
    }

    /// What the node's look at itself has found; `info` tells it from now on.
    pub fn set_self_test(&mut self, found: SelfTest) {
        self.self_test = Some(found);
    }

    /// `info`, when it has changed.
    pub fn publish_info(&self, link: &LinkHandle, topics: &Topics, config: &Config) {
        link.set_retained(topics.info(), self.info(config));
    }

    /// Fields of tasks are told as long as the document stays small.
    fn info(&self, config: &Config) -> Vec<u8> {
        let tasks = task_infos(config);
        let document = self.info_with(config, &tasks);
        if document.len() < DOCUMENT_MAX {
            return document;
        }
        let names: Vec<_> = tasks.into_iter().map(|task| TaskInfo { fields: &[], ..task }).collect();
        self.info_with(config, &names)
    }

    fn info_with(&self, config: &Config, tasks: &[TaskInfo<'_>]) -> Vec<u8> {
        let limits = &config.limits;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let info_limits = InfoLimits {
            request_bytes: limits.request,
            result_bytes: limits.result,
            queue_jobs: limits.queue_jobs,
            queue_jobs_per_client: limits.queue_jobs_per_client,
            inputs: limits.inputs,
            max_tokens: limits.max_tokens,
            max_tokens_cap: limits.max_tokens_cap,
            deadline_ms: millis(limits.deadline),
            deadline_cap_ms: millis(limits.deadline_cap),
        };
        let models: Vec<_> = config.models.iter().map(|model| model.name.clone()).collect();
        self.documents.info(&NodeInfo {
            tasks,
            models: &models,
            limits: &info_limits,
            groups: &config.node.groups,
            labels: &config.node.labels,
            machine: &self.machine,
            profile: &config.profile,
            tls: self.tls,
            self_test: self.self_test.as_ref(),
        })
    }

    /// The `info` document.
    pub fn info_document(&self, config: &Config) -> Value {
        serde_json::from_slice(&self.info(config)).unwrap_or_default()
    }

    /// The `status` document.
    pub fn status_document(&self) -> Value {
        serde_json::from_slice(&self.status()).unwrap_or_default()
    }

    fn status(&self) -> Vec<u8> {
        let (state, reasons) = (self.last.0, self.last.1.as_slice());
        let Self { since, heartbeat, clock_synced, durability, .. } = *self;
        self.documents.status(Status { state, reasons, since, heartbeat, clock_synced, durability })
    }

    /// The state that was said last, and why it is not better.
    pub fn state(&self) -> (NodeState, &[String]) {
        (self.last.0, &self.last.1)
    }

    /// Whether the clock can be believed; `status` tells it.
    pub fn set_clock_synced(&mut self, link: &LinkHandle, topics: &Topics, synced: Option<bool>) {
        if self.clock_synced != synced {
            self.clock_synced = synced;
            link.set_retained(topics.status(), self.status());
        }
    }

    /// Whether accepted jobs outlive the daemon: `full`, or `memory`; `status` tells it.
    pub fn set_durability(&mut self, link: &LinkHandle, topics: &Topics, durability: &'static str) {
        if self.durability != durability {
            self.durability = durability;
            link.set_retained(topics.status(), self.status());
        }
    }

    /// How long `telemetry` may be silent; `status` tells it.
    pub fn set_heartbeat(&mut self, link: &LinkHandle, topics: &Topics, heartbeat: Duration) {
        self.heartbeat = heartbeat;
        link.set_retained(topics.status(), self.status());
    }

    /// `event`. Whoever is not there misses it: the retained documents tell where things are.
    pub fn publish_event(&self, link: &LinkHandle, topics: &Topics, model: &ModelName, event: &ModelEvent) {
        let Some(slot) = link.try_reserve().filter(|_| link.is_connected()) else { return };
        let payload = self.documents.event(model, event).into();
        slot.publish(Publication {
            topic: topics.event(),
            payload,
            content_type: None,
            correlation: None,
            parts: None,
        });
    }

    /// The same about the node as a whole.
    pub fn publish_node_event(&self, link: &LinkHandle, topics: &Topics, event: &NodeEvent) {
        let Some(slot) = link.try_reserve().filter(|_| link.is_connected()) else { return };
        let payload = self.documents.node_event(event).into();
        slot.publish(Publication {
            topic: topics.event(),
            payload,
            content_type: None,
            correlation: None,
            parts: None,
        });
    }

    /// `model/<name>`.
    pub fn publish_model(&self, link: &LinkHandle, topics: &Topics, document: &ModelDocument) {
        link.set_retained(topics.model(&document.name), self.documents.model(document));
    }

    /// A model makes progress on its way.
    pub fn still_loading(&self) {
        if !self.told_ready {
            systemd::still_loading();
        }
    }

    /// Tells systemd, once, that every configured model has been loaded or refused.
    pub fn tell_ready(&mut self, models: &[ModelEntry]) {
        if !self.told_ready && models.iter().all(ModelEntry::is_settled) {
            self.told_ready = true;
            systemd::ready();
        }
    }

    /// Tells systemd that the configuration is read again. One that has not heard yet that the daemon is ready would take the
    /// end of it for that.
    pub fn reload_begins(&self) {
        if self.told_ready {
            systemd::reloading();
        }
    }

    /// Tells systemd that this is over; models may still load.
    pub fn reload_ends(&self) {
        if self.told_ready {
            systemd::ready();
        }
    }

    /// `status`, when it has changed.
    pub fn publish_state(&mut self, link: &LinkHandle, topics: &Topics, state: NodeState, reasons: Vec<String>) {
        if (state, &reasons) == (self.last.0, &self.last.1) {
            return;
        }
        if state != self.last.0 {
            self.since = SystemTime::now();
        }
        let words = if reasons.is_empty() {
            state.as_str().to_owned()
        } else {
            format!("{}: {}", state.as_str(), reasons.join("; "))
        };
        tracing::info!("the node is {words}");
        systemd::status(&words);
        self.last = (state, reasons);
        link.set_retained(topics.status(), self.status());
    }
}

/// What an operator has to mend: in the configuration, or in the node's place at the broker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeFault {
    /// The configuration that is there now is broken, and another one is in force.
    Configuration(String),
    /// Another client uses our client id: two nodes of one name throw each other out.
    DuplicateNode,
    /// The broker speaks only the version of MQTT before ours.
    OldBroker,
    /// The broker's access control keeps requests from us.
    SubscriptionRefused(String),
    /// The broker's access control keeps what we say from others.
    PublicationRefused {
        /// The topic, or the filter of all answers to one client.
        topic: String,
        /// The broker's reason.
        reason: String,
    },
}

impl NodeFault {
    fn reason(&self) -> String {
        match self {
            Self::Configuration(reason) => format!("broken_configuration: {reason}"),
            Self::DuplicateNode => "duplicate_node: another client uses this client id".to_owned(),
            Self::OldBroker => format!("old_broker: {}", Fault::OldVersion),
            Self::SubscriptionRefused(filter) => {
                format!("subscription_refused: the broker refuses the subscription {filter}")
            }
            Self::PublicationRefused { topic, reason } => {
                format!("publication_refused: the broker takes nothing on {topic}: {reason}")
            }
        }
    }
}

/// The node's state, which follows from its models and from what the governors say, and why it is not better. Heat comes and
/// goes, so that it is told before what degrades the node for long.
pub fn state_of(
    phase: Phase,
    level: Level,
    heat: Option<(NodeState, String)>,
    faults: &BTreeSet<NodeFault>,
    models: &[ModelEntry],
    journal_trouble: Option<&str>,
) -> (NodeState, Vec<String>) {
    match phase {
        Phase::Draining { .. } => return (NodeState::Draining, Vec::new()),
        Phase::Paused => return (NodeState::Draining, vec!["an operator drains the node".to_owned()]),
        Phase::Open => {}
    }
    if !faults.is_empty() {
        return (NodeState::Misconfigured, faults.iter().map(NodeFault::reason).collect());
    }
    let models: Vec<&ModelEntry> = models.iter().filter(|entry| !entry.is_leaving()).collect();
    if models.is_empty() {
        return (NodeState::NoModel, vec![NO_MODEL.to_owned()]);
    }
    let failures = models.iter().filter_map(|entry| {
        let failure = entry.failure().filter(|_| entry.is_settled())?;
        Some(format!("{}: {}", entry.name(), entry.without_folders(failure)))
    });
    let shortcomings = models.iter().flat_map(|entry| {
        entry.shortcomings().into_iter().map(|reason| format!("{}: {}", entry.name(), entry.without_folders(&reason)))
    });
    let pressure = (level >= Level::Refuse).then(|| format!("memory: {level}, new work is refused"));
    let unwritable = journal_trouble.map(|trouble| format!("journal: {trouble}"));
    let reasons: Vec<String> = pressure.into_iter().chain(unwritable).chain(failures).chain(shortcomings).collect();
    if let Some((state, reason)) = heat {
        return (state, std::iter::once(reason).chain(reasons).collect());
    }
    if !reasons.is_empty() {
        return (NodeState::Degraded, reasons);
    }
    let is_well = |entry: &&ModelEntry| match &entry.stage {
        Stage::Serving(_) => true,
        Stage::Down(down) => down.why == DownWhy::Idle,
        Stage::Ending { then, .. } => matches!(then, Then::Unload(DownWhy::Idle, _)),
        _ => false,
    };
    (if models.iter().all(is_well) { NodeState::Ready } else { NodeState::Loading }, Vec::new())
}
