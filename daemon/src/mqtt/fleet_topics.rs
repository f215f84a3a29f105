//! The topics of all nodes of a fleet, as those who watch it read them.

use super::TopicError;
use super::topic::check_root;
use crate::job::{ModelName, NodeName};

/// The topics below a root, of one node or of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetTopics {
    root: String,
}

/// What a node tells on one of its topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeTopic {
    /// Whether it is there: `online` or `offline`.
    Availability,
    /// Its state.
    Status,
    /// How a model runs.
    Model(ModelName),
    /// The machine's memory, heat, power and disks.
    Health,
    /// Numbers for time series.
    Telemetry,
}

impl FleetTopics {
    /// The topics below `root`.
    pub fn new(root: &str) -> Result<Self, TopicError> {
        check_root(root)?;
        Ok(Self { root: root.to_owned() })
    }

    /// Filters for availability, status and models of one node or of all.
    pub fn documents(&self, node: Option<&NodeName>) -> [String; 3] {
        ["availability", "status", "model/+"].map(|topic| self.filter(node, topic))
    }

    /// Filter for `health` of one node or of all.
    pub fn health(&self, node: Option<&NodeName>) -> String {
        self.filter(node, "health")
    }

    /// Filter for `telemetry` of one node or of all.
    pub fn telemetry(&self, node: Option<&NodeName>) -> String {
        self.filter(node, "telemetry")
    }

    fn filter(&self, node: Option<&NodeName>, topic: &str) -> String {
        format!("{}/{}/{topic}", self.root, node.map_or("+", NodeName::as_str))
    }

    /// Whose topic it is, and which; none for any other topic, and for names that no node or model can have.
    pub fn read(&self, topic: &str) -> Option<(NodeName, NodeTopic)> {
        let rest = topic.strip_prefix(&self.root)?.strip_prefix('/')?;
        let (node, rest) = rest.split_once('/')?;
        let topic = match rest {
            "availability" => NodeTopic::Availability,
            "status" => NodeTopic::Status,
            "health" => NodeTopic::Health,
            "telemetry" => NodeTopic::Telemetry,
            _ => NodeTopic::Model(ModelName::new(rest.strip_prefix("model/")?).ok()?),
        };
        Some((NodeName::new(node).ok()?, topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_for_one_node_or_for_all() {
        let topics = FleetTopics::new("plant/promptd").unwrap();
        let gw = NodeName::new("gw").unwrap();
        assert_eq!(topics.documents(None)[2], "plant/promptd/+/model/+");
        assert_eq!(topics.documents(Some(&gw))[0], "plant/promptd/gw/availability");
        assert_eq!(
            (topics.telemetry(None).as_str(), topics.health(Some(&gw)).as_str()),
            ("plant/promptd/+/telemetry", "plant/promptd/gw/health")
        );
        assert!(FleetTopics::new("a/+").is_err() && FleetTopics::new("").is_err() && FleetTopics::new("a//b").is_err());
    }

    #[test]
    fn reads_what_nodes_tell_and_nothing_else() {
        let topics = FleetTopics::new("promptd").unwrap();
        let read = |topic: &str| topics.read(topic).map(|(node, topic)| (node.to_string(), topic));
        let gw = |topic| Some(("gw".to_owned(), topic));
        assert_eq!(read("promptd/gw/status"), gw(NodeTopic::Status));
        assert_eq!(read("promptd/gw/model/main"), gw(NodeTopic::Model(ModelName::new("main").unwrap())));
        for other in [
            "promptd/gw",
            "promptd/gw/info",
            "promptd/gw/model/",
            "promptd/gw/model/a/b",
            "promptd/gw/status/x",
            "promptd//status",
            "promptd/g w/status",
            "promptd/\u{1b}[2J/status",
            "promptdx/gw/status",
            "",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
