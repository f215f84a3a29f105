//! The topics of one node.

use crate::job::{ClientName, GroupName, ModelName, NodeName, RequestId};

use super::TopicError;
use super::filter::check_topic;

/// Longest root in bytes, so that every topic stays far below MQTT's limit.
const ROOT_MAX: usize = 256;

/// Builds and reads every topic of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    root: String,
    base: String,
}

/// What a topic that the node received a message on means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboundTopic {
    /// `request/<task>` or `request/<task>/<client>`.
    Request {
        /// The task as it stands in the topic; perhaps no task at all.
        task: String,
        /// The client, `anonymous` without a segment for it.
        client: ClientName,
    },
    /// `cancel/<client>`.
    Cancel {
        /// The client.
        client: ClientName,
    },
    /// `control/<verb>`.
    Control {
        /// The verb as it stands in the topic; perhaps none at all.
        verb: String,
    },
    /// A topic of nobody's here.
    Other,
}

/// Checks what every topic of a fleet begins with.
pub(super) fn check_root(root: &str) -> Result<(), TopicError> {
    check_topic("root", root, ROOT_MAX)?;
    if root.starts_with('$') || root.split('/').any(str::is_empty) {
        return Err(TopicError::Root { root: root.to_owned() });
    }
    Ok(())
}

impl Topics {
    /// The topics under `<root>/<node>`.
    pub fn new(root: &str, node: &NodeName) -> Result<Self, TopicError> {
        check_root(root)?;
        Ok(Self { root: root.to_owned(), base: format!("{root}/{node}") })
    }

    /// What all nodes of the fleet have in common.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The filters to subscribe.
    pub fn subscriptions(&self) -> Vec<String> {
        ["request/+", "request/+/+", "cancel/+", "control/+"].map(|filter| format!("{}/{filter}", self.base)).into()
    }

    /// The filters to subscribe for requests to groups: each request goes to one of those who have subscribed.
    pub fn group_requests(&self, groups: &[GroupName]) -> Vec<String> {
        let filters =
            |group| ["+", "+/+"].map(|levels| format!("$share/promptd/{}/group/{group}/request/{levels}", self.root));
        groups.iter().flat_map(filters).collect()
    }

    /// The filters to subscribe for what operators ask of whole groups.
    pub fn group_controls(&self, groups: &[GroupName]) -> Vec<String> {
        groups.iter().map(|group| format!("{}/group/{group}/control/+", self.root)).collect()
    }

    /// Where a client's requests of a task go.
    pub fn request(&self, task: &str, client: &ClientName) -> String {
        format!("{}/request/{task}/{client}", self.base)
    }

    /// Where a client cancels its own requests.
    pub fn cancel(&self, client: &ClientName) -> String {
        format!("{}/cancel/{client}", self.base)
    }

    /// Where the answers to one request go when it names no other topic.
    pub fn response(&self, client: &ClientName, id: &RequestId) -> String {
        format!("{}/response/{client}/{id}", self.base)
    }

    /// Filter for the answers to all requests of a client.
    pub fn responses(&self, client: &ClientName) -> String {
        format!("{}/response/{client}/#", self.base)
    }

    /// Where operators ask for something.
    pub fn control(&self, verb: &str) -> String {
        format!("{}/control/{verb}", self.base)
    }

    /// Where the answers to an operator go when it names no other topic.
    pub fn control_response(&self, id: &RequestId) -> String {
        self.response(&operator(), id)
    }

    /// `online` or `offline`, the will's topic.
    pub fn availability(&self) -> String {
        format!("{}/availability", self.base)
    }

    /// The state document.
    pub fn status(&self) -> String {
        format!("{}/status", self.base)
    }

    /// The description of the node.
    pub fn info(&self) -> String {
        format!("{}/info", self.base)
    }

    /// The document of one model.
    pub fn model(&self, name: &ModelName) -> String {
        format!("{}/model/{name}", self.base)
    }

    /// Memory, heat, power and disks of the machine.
    pub fn health(&self) -> String {
        format!("{}/health", self.base)
    }

    /// Numbers for time series.
    pub fn telemetry(&self) -> String {
        format!("{}/telemetry", self.base)
    }

    /// What becomes of one request, as it happens.
    pub fn job(&self, client: &ClientName, id: &RequestId) -> String {
        format!("{}/jobs/{client}/{id}", self.base)
    }

    /// What happened, as it happens.
    pub fn event(&self) -> String {
        format!("{}/event", self.base)
    }

    /// The part of what this node publishes that a topic belongs to: all answers to one client, or the topic itself. None
    /// for a topic elsewhere, which a client has chosen for its answer.
    pub fn outbound(&self, topic: &str) -> Option<String> {
        let rest = topic.strip_prefix(&self.base)?.strip_prefix('/')?;
        let mut levels = rest.split('/');
        Some(match (levels.next(), levels.next()) {
            (Some("response"), Some(client)) => format!("{}/response/{client}/#", self.base),
            _ => topic.to_owned(),
        })
    }

    /// Reads a topic; an error means a client name that cannot be answered.
    pub fn classify(&self, topic: &str) -> Result<InboundTopic, TopicError> {
        let own = topic.strip_prefix(&self.base).and_then(|rest| rest.strip_prefix('/'));
        let Some(rest) = own.or_else(|| self.below_group(topic)) else { return Ok(InboundTopic::Other) };
        let mut levels = rest.split('/');
        let kind = match (levels.next(), levels.next(), levels.next(), levels.next()) {
            (Some("request"), Some(task), client, None) => InboundTopic::Request {
                task: task.to_owned(),
                client: client.map_or_else(|| Ok(ClientName::anonymous()), ClientName::new)?,
            },
            (Some("cancel"), Some(client), None, None) => InboundTopic::Cancel { client: ClientName::new(client)? },
            (Some("control"), Some(verb), None, None) => InboundTopic::Control { verb: verb.to_owned() },
            _ => InboundTopic::Other,
        };
        Ok(kind)
    }

    /// What follows the group's name in one of its topics. Only those of our groups are subscribed.
    fn below_group<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let below = topic.strip_prefix(&self.root)?.strip_prefix("/group/")?;
        below.split_once('/').map(|(_, rest)| rest).filter(|rest| !rest.starts_with("cancel/"))
    }
}

/// As which client operators are answered: control topics have no segment for one. A broker's ACL should leave the name
/// to operators, or a client of that name reads their answers.
pub(super) fn operator() -> ClientName {
    ClientName::new("control").expect("letters are a valid name")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> Topics {
        Topics::new("site/promptd", &NodeName::new("gw1").unwrap()).unwrap()
    }

    #[test]
    fn builds_every_topic() {
        let topics = topics();
        assert_eq!(
            topics.subscriptions(),
            ["request/+", "request/+/+", "cancel/+", "control/+"].map(|filter| format!("site/promptd/gw1/{filter}"))
        );
        let groups = ["a", "b"].map(|name| GroupName::new(name).unwrap());
        assert_eq!(
            topics.group_requests(&groups),
            ["a/request/+", "a/request/+/+", "b/request/+", "b/request/+/+"]
                .map(|filter| format!("$share/promptd/site/promptd/group/{filter}"))
        );
        let controls = ["a", "b"].map(|group| format!("site/promptd/group/{group}/control/+"));
        assert_eq!(topics.group_controls(&groups), controls);
        let (client, id) = (ClientName::new("cam").unwrap(), RequestId::new("7").unwrap());
        assert_eq!(topics.response(&client, &id), "site/promptd/gw1/response/cam/7");
        assert_eq!(topics.responses(&client), "site/promptd/gw1/response/cam/#");
        assert_eq!(topics.request("chat", &client), "site/promptd/gw1/request/chat/cam");
        assert_eq!(topics.cancel(&client), "site/promptd/gw1/cancel/cam");
        assert_eq!(topics.control("drain"), "site/promptd/gw1/control/drain");
        assert_eq!(topics.control_response(&id), "site/promptd/gw1/response/control/7");
        assert_eq!(topics.event(), "site/promptd/gw1/event");
        assert_eq!(topics.health(), "site/promptd/gw1/health");
        assert_eq!(topics.telemetry(), "site/promptd/gw1/telemetry");
        assert_eq!(topics.job(&client, &id), "site/promptd/gw1/jobs/cam/7");
        assert_eq!(topics.availability(), "site/promptd/gw1/availability");
        assert_eq!(topics.status(), "site/promptd/gw1/status");
        assert_eq!(topics.info(), "site/promptd/gw1/info");
        assert_eq!(topics.model(&ModelName::new("main").unwrap()), "site/promptd/gw1/model/main");
        assert_eq!(topics.root(), "site/promptd");
    }

    #[test]
    fn reads_topics() {
        let request = |task: &str, client: &str| InboundTopic::Request {
            task: task.to_owned(),
            client: ClientName::new(client).unwrap(),
        };
        let cancel = InboundTopic::Cancel { client: ClientName::new("cam").unwrap() };
        let control = |verb: &str| InboundTopic::Control { verb: verb.to_owned() };
        for (topic, expected) in [
            ("request/generate/cam", request("generate", "cam")),
            ("request/generate", request("generate", "anonymous")),
            ("request/no such task/cam", request("no such task", "cam")),
            ("request//cam", request("", "cam")),
            ("cancel/cam", cancel),
            ("control/load", control("load")),
            ("control/no such verb", control("no such verb")),
            ("control/", control("")),
            ("request", InboundTopic::Other),
            ("request/generate/cam/x", InboundTopic::Other),
            ("cancel", InboundTopic::Other),
            ("cancel/cam/x", InboundTopic::Other),
            ("control", InboundTopic::Other),
            ("control/load/main", InboundTopic::Other),
            ("status", InboundTopic::Other),
        ] {
            assert_eq!(topics().classify(&format!("site/promptd/gw1/{topic}")), Ok(expected), "{topic}");
        }
        for (topic, expected) in [
            ("a/request/generate/cam", request("generate", "cam")),
            ("a/request/generate", request("generate", "anonymous")),
            ("a/control/drain", InboundTopic::Control { verb: "drain".to_owned() }),
            ("a/cancel/cam", InboundTopic::Other),
            ("a", InboundTopic::Other),
        ] {
            assert_eq!(topics().classify(&format!("site/promptd/group/{topic}")), Ok(expected), "{topic}");
        }
        for other in ["", "site/promptd/gw1", "site/promptd/gw10/request/generate/cam", "promptd/gw1/request/generate"]
        {
            assert_eq!(topics().classify(other), Ok(InboundTopic::Other), "{other}");
        }
    }

    #[test]
    fn knows_what_is_its_own_to_publish() {
        for (topic, expected) in [
            ("site/promptd/gw1/status", Some("site/promptd/gw1/status")),
            ("site/promptd/gw1/model/main", Some("site/promptd/gw1/model/main")),
            ("site/promptd/gw1/response/cam/7", Some("site/promptd/gw1/response/cam/#")),
            ("site/promptd/gw1/response/cam/a/b", Some("site/promptd/gw1/response/cam/#")),
            ("site/promptd/gw10/status", None),
            ("site/promptd/gw1", None),
            ("alarms/7", None),
        ] {
            assert_eq!(topics().outbound(topic).as_deref(), expected, "{topic}");
        }
    }

    #[test]
    fn refuses_client_names_that_cannot_be_answered() {
        for bad in ["request/generate/", "request/generate/a b", "request/generate/ä", "cancel/", "cancel/a*b"] {
            assert!(topics().classify(&format!("site/promptd/gw1/{bad}")).is_err(), "{bad}");
        }
        let long = format!("site/promptd/gw1/request/generate/{}", "x".repeat(65));
        assert_eq!(topics().classify(&long).unwrap_err().to_string(), "client has 65 bytes; allowed are 1 to 64");
    }

    #[test]
    fn refuses_roots_that_no_broker_could_serve() {
        let node = NodeName::new("gw1").unwrap();
        for bad in ["", "/", "/a", "a/", "a//b", "$SYS", "$share/x", "a/+", "#", "a\0b"] {
            assert!(Topics::new(bad, &node).is_err(), "{bad:?}");
        }
        assert!(Topics::new(&"x".repeat(257), &node).is_err());
    }
}
