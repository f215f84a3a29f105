//! What the node is like at one moment: metrics, topics and the status page are made of it. What is not known is none or
//! left out, never 0.

use std::time::Duration;

use super::{ModelDocument, ModelStage, NodeState};
use crate::health::{HealthReading, Psi};
use crate::journal::Usage;
use crate::mqtt::Counters;
use crate::plan::{MemoryLimit, Slack};

/// One moment of the node.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// How long the daemon has run.
    pub uptime: Duration,
    /// The node's state.
    pub state: NodeState,
    /// Why it is not better.
    pub reasons: Vec<String>,
    /// Whether the clock can be believed.
    pub clock_synced: Option<bool>,
    /// Open jobs.
    pub jobs: OpenJobs,
    /// Tokens that all engines choose in a second.
    pub tokens_per_second: f64,
    /// The link to the broker.
    pub link: LinkReading,
    /// The second link, on which work for groups comes; none before there was any to take.
    pub group_link: Option<LinkReading>,
    /// The models.
    pub models: Vec<ModelReading>,
    /// What limits memory, and what of it is left for new work.
    pub limits: Vec<MemoryLimit>,
    /// How much of the reserve the tightest limit still has.
    pub slack: Option<Slack>,
    /// How long programs wait for memory.
    pub psi: Option<Psi>,
    /// What keeps the machine within its limits, and how far it has to go for that.
    pub governors: Vec<GovernorLevel>,
    /// Share of the time in which engines may compute, 0 to 1; less when it is hot.
    pub duty: f64,
    /// Heat, power, processors and disks.
    pub health: HealthReading,
    /// Memory of the daemon's own process, bytes.
    pub resident: Option<u64>,
    /// What was drawn from the supply.
    pub energy: Energy,
    /// The journal.
    pub journal: JournalReading,
}

/// The journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalReading {
    /// What it holds.
    pub usage: Usage,
    /// Whether what is accepted reaches the disk; true as well if nothing is meant to.
    pub writable: bool,
}

/// One that is empty and takes everything.
impl Default for JournalReading {
    fn default() -> Self {
        Self { usage: Usage::default(), writable: true }
    }
}

/// Jobs that have not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenJobs {
    /// In the queue.
    pub waiting: usize,
    /// In an engine.
    pub running: usize,
}

/// A link to the broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkReading {
    /// Whether the broker can be reached.
    pub connected: bool,
    /// Messages that the broker has not taken yet, and places that are reserved for one.
    pub outbox: usize,
    /// What was done so far.
    pub counters: Counters,
}

/// One model.
#[derive(Debug, Clone)]
pub struct ModelReading {
    /// As its topic has it.
    pub document: ModelDocument,
    /// Jobs in its engines.
    pub running: usize,
    /// Share of its engines' context memory that holds tokens, 0 to 1.
    pub context_used: Option<f64>,
    /// Threads that compute now.
    pub threads: Option<u32>,
    /// Bytes that its engines keep of prompts.
    pub prefix_bytes: u64,
    /// Memory of its engines' processes, bytes.
    pub resident: Option<u64>,
}

/// How far a governor has gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GovernorLevel {
    /// What it governs, such as `memory`.
    pub name: &'static str,
    /// 0 if all is well.
    pub level: u8,
    /// The same in a word, such as `normal`.
    pub word: &'static str,
}

/// Energy since the daemon started, where the machine tells how much power it draws.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Energy {
    /// All of it, joules.
    pub total: Option<f64>,
    /// What was drawn while jobs ran, joules.
    pub jobs: Option<f64>,
}

impl Snapshot {
    /// Models that answer at once.
    pub fn models_ready(&self) -> usize {
        self.models.iter().filter(|model| model.document.state == ModelStage::Ready).count()
    }

    /// Whether requests are answered: the node takes work and a model serves, or comes back when it is asked.
    pub fn is_ready(&self) -> bool {
        let serves = |model: &ModelReading| match model.document.state {
            ModelStage::Ready => true,
            ModelStage::Unloaded => model.document.reason.is_none(),
            ModelStage::Loading | ModelStage::Unavailable => false,
        };
        self.state.takes_work() && self.models.iter().any(serves)
    }

    /// The tightest limit: that with the least left.
    pub fn tightest(&self) -> Option<&MemoryLimit> {
        self.limits.iter().min_by_key(|limit| limit.available)
    }

    /// Memory of all engines' processes, bytes.
    pub fn engines_resident(&self) -> u64 {
        self.models.iter().filter_map(|model| model.resident).sum()
    }
}
