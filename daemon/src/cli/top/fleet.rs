//! The fleet as it is known: a model fed by messages. Pure; what time it is, is passed in. Nothing in it grows without bound.

use std::collections::BTreeMap;
use std::time::Instant;

use promptd::job::NodeName;
use promptd::mqtt::NodeTopic;
use serde_json::Value;

use super::condition::{Condition, Level};
use super::node::{Kept, Node};
use super::numbers::Numbers;

/// Most nodes that are kept. Whoever has more watches parts of the fleet.
pub const NODES_MAX: usize = 4096;

/// Longest payload that is read, in bytes: promptd's own stay under 4 KiB.
pub const PAYLOAD_MAX: usize = 16 * 1024;

/// Something that a node told.
#[derive(Debug)]
pub struct Message<'a> {
    /// Who.
    pub node: NodeName,
    /// What about.
    pub topic: NodeTopic,
    /// What; nothing if a document was removed.
    pub payload: &'a [u8],
}

/// The connection to the broker.
#[derive(Debug)]
pub enum Line {
    /// There is one, since then.
    Up(Instant),
    /// There is none, and why. What is known stands as it was.
    Down(String),
}

/// Every node that has told something.
#[derive(Debug)]
pub struct Fleet {
    nodes: BTreeMap<NodeName, Kept<Node>>,
    line: Line,
    /// Counts connections: what no document of the last one has told is gone when all have come.
    round: u64,
    has_more: bool,
}

/// A node at one moment.
#[derive(Debug)]
pub struct Row<'a> {
    pub name: &'a NodeName,
    pub node: &'a Node,
    pub condition: Condition,
    /// Its numbers as far as they still stand for it.
    pub numbers: Numbers,
}

/// All nodes together.
#[derive(Debug, Default, PartialEq)]
pub struct Summary {
    /// Nodes.
    pub nodes: usize,
    /// Those that are there.
    pub online: usize,
    /// How many are in which condition, worst first: the word, its level, the number.
    pub conditions: Vec<(String, Level, usize)>,
    /// Tokens that all engines choose in a second.
    pub tokens_per_s: f64,
    /// Jobs in engines.
    pub jobs_running: u64,
    /// Jobs in queues.
    pub jobs_waiting: u64,
}

impl Fleet {
    /// Nothing is known yet; the connection was made at this moment.
    pub fn new(now: Instant) -> Self {
        Self { nodes: BTreeMap::new(), line: Line::Up(now), round: 0, has_more: false }
    }

    /// The connection was made anew, and every document comes again.
    pub fn connected(&mut self, now: Instant) {
        self.line = Line::Up(now);
        self.round += 1;
    }

    /// There is no connection.
    pub fn disconnected(&mut self, reason: String) {
        self.line = Line::Down(reason);
    }

    /// All documents have come since the connection was made: what has not is no more.
    pub fn complete(&mut self) {
        let round = self.round;
        self.nodes.retain(|_, kept| kept.round == round);
        for kept in self.nodes.values_mut() {
            kept.value.models.retain(|_, model| model.round == round);
        }
    }

    /// Takes what a node told.
    pub fn take(&mut self, message: Message<'_>, now: Instant) {
        let Message { node: name, topic, payload } = message;
        if payload.len() > PAYLOAD_MAX {
            return;
        }
        if self.nodes.len() >= NODES_MAX && !self.nodes.contains_key(&name) {
            self.has_more = true;
            return;
        }
        let document: Option<Value> = serde_json::from_slice(payload).ok();
        let kept = self.nodes.entry(name.clone()).or_insert_with(|| Kept { value: Node::default(), round: self.round });
        kept.round = self.round;
        let node = &mut kept.value;
        match topic {
            NodeTopic::Availability => node.take_availability(payload),
            NodeTopic::Status => node.take_status(document.as_ref()),
            NodeTopic::Model(model) => node.take_model(model, document.as_ref(), self.round),
            NodeTopic::Health => node.take_health(document.as_ref()),
            NodeTopic::Telemetry => {
                if let Some(numbers) = document {
                    node.take_telemetry(&numbers, now);
                }
            }
        }
        // Of a node that was taken off the broker nothing is left but numbers of its last days.
        if node.is_empty() || payload.is_empty() && node.online.is_none() && node.status.is_none() {
            self.nodes.remove(&name);
        }
    }

    /// The node's sensors are watched no longer: what they said grows old.
    pub fn forget_health(&mut self, name: &NodeName) {
        if let Some(kept) = self.nodes.get_mut(name) {
            kept.value.take_health(None);
        }
    }

    /// The connection.
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// Whether there are more nodes than are kept.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// Every node, by name.
    pub fn rows(&self, now: Instant) -> Vec<Row<'_>> {
        self.nodes.iter().map(|(name, kept)| self.row_of(name, &kept.value, now)).collect()
    }

    /// One node.
    pub fn row(&self, name: &NodeName, now: Instant) -> Option<Row<'_>> {
        self.nodes.get_key_value(name).map(|(name, kept)| self.row_of(name, &kept.value, now))
    }

    fn row_of<'a>(&self, name: &'a NodeName, node: &'a Node, now: Instant) -> Row<'a> {
        let hearing = if let Line::Up(since) = self.line { Some(since) } else { None };
        let condition = node.condition(now, hearing);
        let numbers = node.live_numbers(&condition);
        Row { name, node, condition, numbers }
    }
}

/// What rows are together.
pub fn summary(rows: &[Row<'_>]) -> Summary {
    let mut conditions = BTreeMap::new();
    let mut summary = Summary { nodes: rows.len(), ..Summary::default() };
    for Row { node, condition, numbers, .. } in rows {
        let key = (condition.rank(), condition.as_str());
        conditions.entry(key).or_insert((condition.level(), 0)).1 += 1;
        summary.online += usize::from(node.online == Some(true));
        summary.tokens_per_s += numbers.tokens_per_s.unwrap_or_default();
        summary.jobs_running = summary.jobs_running.saturating_add(numbers.jobs_running.unwrap_or_default());
        summary.jobs_waiting = summary.jobs_waiting.saturating_add(numbers.jobs_waiting.unwrap_or_default());
    }
    let counted = conditions.into_iter().map(|((_, word), (level, count))| (word.to_owned(), level, count));
    summary.conditions = counted.collect();
    summary
}
