//! The topics of a node, and what is sent on each.

use super::schemas::NamedSchema;

/// A topic, and the messages on it.
pub(super) struct Channel {
    pub name: &'static str,
    pub address: &'static str,
    pub description: &'static str,
    pub messages: Carries,
}

/// What a channel carries.
#[derive(Clone, Copy)]
pub(super) enum Carries {
    /// Requests of every task, and plain texts for those that take one.
    Requests,
    /// Control messages of every verb.
    Controls,
    /// These.
    These(&'static [&'static str]),
}

impl Carries {
    /// The names of the messages.
    pub fn names(self, schemas: &[NamedSchema]) -> Vec<String> {
        let begins = |prefix: &str| {
            let names = schemas.iter().map(|schema| schema.name.clone());
            names.filter(|name| name.starts_with(prefix) && !OF_OPERATORS.contains(&name.as_str())).collect::<Vec<_>>()
        };
        match self {
            Self::Requests => [begins("request-"), vec![TEXT.to_owned()]].concat(),
            Self::Controls => begins("control-"),
            Self::These(names) => names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}

/// A request that is the text alone, an output that is, and one that is another value alone.
pub(super) const TEXT: &str = "request-text";
pub(super) const TEXT_RESULT: &str = "result-text";
pub(super) const VALUE_RESULT: &str = "result-value";

/// Answers whose names begin as those of control messages do.
const OF_OPERATORS: [&str; 2] = ["control-result", "control-progress"];

/// Sent once it is certain, at `QoS` 1.
const CERTAIN: [&str; 7] = ["result", "part", TEXT_RESULT, VALUE_RESULT, "error", "accepted", "control-result"];
/// Sent as it happens, at `QoS` 0: it may be lost.
const AS_IT_HAPPENS: [&str; 3] = ["delta", "progress", "control-progress"];
const RESPONSES: [&str; 10] = [
    "result",
    "part",
    TEXT_RESULT,
    VALUE_RESULT,
    "error",
    "accepted",
    "delta",
    "progress",
    "control-result",
    "control-progress",
];

/// Who sends on a channel, and how.
pub(super) struct Operation {
    pub name: &'static str,
    /// `receive`: the node is sent it. `send`: the node sends it.
    pub action: &'static str,
    pub channel: &'static str,
    pub summary: &'static str,
    pub qos: u8,
    pub retain: bool,
    /// Some of the channel's messages; none is all of them.
    pub messages: Option<&'static [&'static str]>,
}

const fn channel(name: &'static str, address: &'static str, description: &'static str, messages: Carries) -> Channel {
    Channel { name, address, description, messages }
}

/// Every topic. The root `promptd` is `mqtt.root` of the configuration.
pub(super) const CHANNELS: [Channel; 17] = [
    channel("request", "promptd/{node}/request/{task}/{client}", "Requests of a client.", Carries::Requests),
    channel(
        "anonymousRequest",
        "promptd/{node}/request/{task}",
        "Requests of nobody in particular: no sessions, no shared caches.",
        Carries::Requests,
    ),
    channel(
        "groupRequest",
        "promptd/group/{group}/request/{task}/{client}",
        "Requests to any node of a group; nodes subscribe it as `$share/promptd/…`.",
        Carries::Requests,
    ),
    channel(
        "anonymousGroupRequest",
        "promptd/group/{group}/request/{task}",
        "The same of nobody in particular.",
        Carries::Requests,
    ),
    channel(
        "response",
        "promptd/{node}/response/{client}/{id}",
        "Answers, unless the request names another topic. Operators are the client `control`.",
        Carries::These(&RESPONSES),
    ),
    channel("cancel", "promptd/{node}/cancel/{client}", "Cancels of a client's own jobs.", Carries::These(&["cancel"])),
    channel("control", "promptd/{node}/control/{verb}", "What operators ask for.", Carries::Controls),
    channel(
        "groupControl",
        "promptd/group/{group}/control/{verb}",
        "The same of every node of a group.",
        Carries::Controls,
    ),
    channel(
        "availability",
        "promptd/{node}/availability",
        "Whether the node is there.",
        Carries::These(&["availability"]),
    ),
    channel(
        "status",
        "promptd/{node}/status",
        "The node's state, and why it is not better.",
        Carries::These(&["status"]),
    ),
    channel("info", "promptd/{node}/info", "What the node is and can do.", Carries::These(&["info"])),
    channel("model", "promptd/{node}/model/{model}", "How a model runs.", Carries::These(&["model"])),
    channel("health", "promptd/{node}/health", "The machine, when it changes.", Carries::These(&["health"])),
    channel("telemetry", "promptd/{node}/telemetry", "Numbers for time series.", Carries::These(&["telemetry"])),
    channel("event", "promptd/{node}/event", "What happens to models and to the node.", Carries::These(&["event"])),
    channel("job", "promptd/{node}/jobs/{client}/{id}", "What becomes of a request.", Carries::These(&["job"])),
    channel(
        "elsewhere",
        "{topic}",
        "Answers on a topic that the request names and `mqtt.reply_allow` allows, or that a binding publishes.",
        Carries::These(&RESPONSES),
    ),
];

const fn takes(name: &'static str, channel: &'static str, summary: &'static str) -> Operation {
    Operation { name, action: "receive", channel, summary, qos: 1, retain: false, messages: None }
}

const fn tells(name: &'static str, channel: &'static str, qos: u8, retain: bool, summary: &'static str) -> Operation {
    Operation { name, action: "send", channel, summary, qos, retain, messages: None }
}

const fn answers(
    name: &'static str,
    channel: &'static str,
    qos: u8,
    messages: &'static [&'static str],
    summary: &'static str,
) -> Operation {
    Operation { name, action: "send", channel, summary, qos, retain: false, messages: Some(messages) }
}

/// Every operation, as the node does it.
pub(super) const OPERATIONS: [Operation; 19] = [
    takes(
        "takeRequest",
        "request",
        "Does a task for a client. Any QoS; at 1, the PUBACK is the promise. Never retained.",
    ),
    takes("takeAnonymousRequest", "anonymousRequest", "The same for nobody in particular."),
    takes("takeGroupRequest", "groupRequest", "The same, whichever node of the group gets it."),
    takes("takeAnonymousGroupRequest", "anonymousGroupRequest", "The same for nobody in particular."),
    takes("takeCancel", "cancel", "Cancels a job, which ends with `cancelled`. Never retained."),
    takes("takeControl", "control", "Does what an operator asks for. Never retained."),
    takes("takeGroupControl", "groupControl", "The same, as every node of the group does."),
    answers(
        "sendOutcome",
        "response",
        1,
        &CERTAIN,
        "The one message that ends a request, `part` messages being one together; before it `accepted`, when it was asked for.",
    ),
    answers(
        "sendOnTheWay",
        "response",
        0,
        &AS_IT_HAPPENS,
        "What is told while the work is done, when it was asked for; it may be lost.",
    ),
    answers("sendOutcomeElsewhere", "elsewhere", 1, &CERTAIN, "The same on a topic that was asked for."),
    answers("sendOnTheWayElsewhere", "elsewhere", 0, &AS_IT_HAPPENS, "The same on a topic that was asked for."),
    tells("tellAvailability", "availability", 1, true, "After each connect; the will says `offline`."),
    tells("tellStatus", "status", 1, true, "After each connect, and when it changes."),
    tells("tellInfo", "info", 1, true, "After each connect, and when it changes."),
    tells("tellModel", "model", 1, true, "After each connect, and when it changes."),
    tells("tellHealth", "health", 1, true, "When it has changed enough, and from time to time."),
    tells("tellTelemetry", "telemetry", 0, false, "From time to time; more often while jobs run."),
    tells("tellEvent", "event", 1, false, "As it happens."),
    tells("tellJob", "job", 0, false, "As it happens."),
];
