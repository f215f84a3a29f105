//! Which state the node is in, and where it is shown: retained topics, systemd, the log.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use super::driver::Phase;
use super::models::{ModelEntry, ModelState};
use super::systemd;
use crate::config::Config;
use crate::job::NodeName;
use crate::mqtt::{LinkHandle, Topics};
use crate::telemetry::{Documents, InfoLimits, ModelDocument, NodeState, TaskInfo};

/// The tasks that this version serves.
const TASKS: [TaskInfo; 2] = [TaskInfo { name: "chat" }, TaskInfo { name: "generate" }];

/// Publishes the documents and remembers what was said last.
pub struct StatusBoard {
    documents: Documents,
    last: (NodeState, Vec<String>),
    since: SystemTime,
    told_ready: bool,
}

impl StatusBoard {
    /// The board of a node that starts.
    pub fn new(node: NodeName) -> Self {
        // Nothing was said yet: any state is a change.
        let last = (NodeState::Starting, vec![String::new()]);
        Self { documents: Documents::new(node), last, since: UNIX_EPOCH, told_ready: false }
    }

    /// `info`, once.
    pub fn publish_info(&self, link: &LinkHandle, topics: &Topics, config: &Config) {
        let limits = &config.limits;
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let info_limits = InfoLimits {
            request_bytes: limits.request,
            result_bytes: limits.result,
            queue_jobs: limits.queue_jobs,
            queue_jobs_per_client: limits.queue_jobs_per_client,
            max_tokens: limits.max_tokens,
            max_tokens_cap: limits.max_tokens_cap,
            deadline_ms: millis(limits.deadline),
            deadline_cap_ms: millis(limits.deadline_cap),
        };
        let models: Vec<_> = config.models.iter().map(|model| model.name.clone()).collect();
        let info = self.documents.info(&TASKS, &models, &info_limits, &config.node.labels);
        link.set_retained(topics.info(), info);
    }

    /// `model/<name>`.
    pub fn publish_model(&self, link: &LinkHandle, topics: &Topics, document: &ModelDocument) {
        link.set_retained(topics.model(&document.name), self.documents.model(document));
    }

    /// Tells systemd, once, that every configured model has been loaded or refused.
    pub fn tell_ready(&mut self, models: &[ModelEntry]) {
        if !self.told_ready && models.iter().all(ModelEntry::is_settled) {
            self.told_ready = true;
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
        link.set_retained(topics.status(), self.documents.status(state, &reasons, self.since));
        self.last = (state, reasons);
    }
}

/// What is wrong with the node's place at the broker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum BrokerFault {
    /// Another client uses our client id: two nodes of one name throw each other out.
    DuplicateNode,
    /// The broker's access control keeps requests from us.
    SubscriptionRefused(String),
}

impl BrokerFault {
    fn reason(&self) -> String {
        match self {
            Self::DuplicateNode => "duplicate_node: another client uses this client id".to_owned(),
            Self::SubscriptionRefused(filter) => format!("the broker refuses the subscription {filter}"),
        }
    }
}

/// The node's state, which follows from its models, and why it is not better.
pub fn state_of(phase: Phase, faults: &BTreeSet<BrokerFault>, models: &[ModelEntry]) -> (NodeState, Vec<String>) {
    if let Phase::Draining { .. } = phase {
        return (NodeState::Draining, Vec::new());
    }
    if !faults.is_empty() {
        return (NodeState::Misconfigured, faults.iter().map(BrokerFault::reason).collect());
    }
    if models.is_empty() {
        return (NodeState::NoModel, vec!["no model is configured".to_owned()]);
    }
    let reasons: Vec<String> =
        models.iter().filter_map(|entry| Some(format!("{}: {}", entry.name(), entry.failure()?))).collect();
    if !reasons.is_empty() {
        return (NodeState::Degraded, reasons);
    }
    let ready = models.iter().all(|entry| matches!(entry.state, ModelState::Ready(_)));
    (if ready { NodeState::Ready } else { NodeState::Loading }, Vec::new())
}
