//! Which topics a client may have its answers published to.

use crate::job::{ClientName, ErrorCode, JobError};

use super::filter::{TopicFilter, check_topic};

/// Longest reply topic in bytes: it is kept with the job.
const REPLY_TOPIC_MAX: usize = 1024;
/// Branches of a node that belong to promptd: what it subscribes to, which would be a loop, and what it says about
/// itself, which a client could forge.
const OWN_BRANCHES: [&str; 11] =
    ["request", "cancel", "control", "availability", "status", "info", "model", "health", "telemetry", "event", "jobs"];

/// Decides on reply topics. Without it any client could make promptd publish anywhere with promptd's rights.
#[derive(Debug, Clone)]
pub struct ReplyPolicy {
    root: String,
    allow: Vec<TopicFilter>,
    /// What bindings subscribe.
    bound: Vec<TopicFilter>,
}

impl ReplyPolicy {
    /// `allow` is `mqtt.reply_allow`; each client's own response topics under `root` are always allowed, and never what
    /// bindings subscribe.
    pub fn new(root: &str, allow: Vec<TopicFilter>, bound: Vec<TopicFilter>) -> Self {
        Self { root: root.to_owned(), allow, bound }
    }

    /// Whether `client` may have its answer on `topic`.
    pub fn check(&self, client: &ClientName, topic: &str) -> Result<(), JobError> {
        check_topic("the reply topic", topic, REPLY_TOPIC_MAX).map_err(|error| forbidden(error.to_string()))?;
        if topic.starts_with('$') {
            return Err(forbidden("the reply topic starts with '$'"));
        }
        if let Some(below) = topic.strip_prefix(&self.root).and_then(|rest| rest.strip_prefix('/')) {
            if is_own(below) {
                return Err(forbidden("the reply topic is one of promptd's own topics"));
            }
            if is_response_of(below, client) {
                return Ok(());
            }
        }
        if self.bound.iter().any(|filter| filter.matches(topic)) {
            return Err(forbidden("the reply topic is one that a binding subscribes"));
        }
        if self.allow.iter().any(|filter| filter.matches(topic)) {
            return Ok(());
        }
        Err(forbidden("the reply topic matches no filter of mqtt.reply_allow"))
    }
}

/// `<node>/<branch>/…` or `group/<group>/<branch>/…`, of any node and group.
fn is_own(below_root: &str) -> bool {
    let levels: Vec<&str> = below_root.splitn(4, '/').collect();
    let own = |index: usize| levels.get(index).is_some_and(|level| OWN_BRANCHES.contains(level));
    own(1) || (levels.first() == Some(&"group") && own(2))
}

fn is_response_of(below_root: &str, client: &ClientName) -> bool {
    let mut levels = below_root.split('/');
    levels.next().is_some_and(|node| !node.is_empty())
        && levels.next() == Some("response")
        && levels.next() == Some(client.as_str())
}

fn forbidden(message: impl Into<String>) -> JobError {
    JobError::new(ErrorCode::ReplyForbidden, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allow: &[&str], topic: &str) -> Result<(), JobError> {
        let allow = allow.iter().map(|filter| filter.parse().unwrap()).collect();
        ReplyPolicy::new("promptd", allow, vec!["bound/+".parse().unwrap()])
            .check(&ClientName::new("cam").unwrap(), topic)
    }

    #[test]
    fn allows_own_responses_and_what_the_operator_allows() {
        for (allow, topic) in [
            (&[][..], "promptd/gw1/response/cam/7"),
            (&[], "promptd/gw2/response/cam/deep/er"),
            (&[], "promptd/gw1/response/cam"),
            (&["alarms/+"], "alarms/1"),
            (&["alarms/#"], "alarms//x"),
            (&["#"], "anything/at/all"),
            (&["promptd/#"], "promptd/gw1/response/other/7"),
            (&["a", "b"], "b"),
            (&["promptd/#"], "promptd"),
            (&["#"], "other/gw1/request/generate"),
        ] {
            assert_eq!(check(allow, topic), Ok(()), "{topic}");
        }
    }

    #[test]
    fn forbids_everything_else() {
        let long = format!("a/{}", "x".repeat(1023));
        for (allow, topic) in [
            (&[][..], "alarms/1"),
            (&[], "promptd/gw1/response/camera/7"),
            (&[], "promptd/gw1/response/other/cam"),
            (&[], "promptd//response/cam/7"),
            (&[], "promptd/gw1/responses/cam/7"),
            (&[], "xpromptd/gw1/response/cam/7"),
            (&["#"], "promptd/gw1/request/generate/cam"),
            (&["#"], "promptd/gw1/request/generate"),
            (&["#"], "promptd/gw1/cancel/cam"),
            (&["#"], "promptd/gw1/control/drain"),
            (&["#"], "promptd/group/all/request/generate/cam"),
            (&["#"], "promptd/group/all/control/drain"),
            (&["#"], "promptd/gw1/availability"),
            (&["#"], "promptd/gw1/model/main"),
            (&["$SYS/#"], "$SYS/broker"),
            (&["$share/a/#"], "$share/a/b"),
            (&["#"], "bound/x"),
            (&["#"], "a/+"),
            (&["#"], "a/#"),
            (&["#"], ""),
            (&["#"], "a\0b"),
            (&["#"], "a\u{1}b"),
            (&["#"], &long),
        ] {
            let error = check(allow, topic).unwrap_err();
            assert_eq!(error.code, ErrorCode::ReplyForbidden, "{topic}");
        }
    }
}
