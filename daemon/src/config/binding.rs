//! `[[binding]]`: devices whose topics can't change.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Map;

use crate::job::{BINDING_NAME_MAX, BindingName, ClientName, ReplyFormat, TaskName};

use super::binding_topic::{PublishTopic, overlap, subscribed};
use super::section::Section;
use super::task::json_of;
use super::tree::Value;
use super::unit::Span;
use super::{Limits, value};

/// Each is looked at for each message.
const BINDINGS_MAX: usize = 64;

/// Longest JSON pointer in bytes.
const POINTER_MAX: usize = 256;

/// Fields of a request that come from the message or the binding, and not from `params`.
const RESERVED: [&str; 12] = [
    "id",
    "input",
    "prompt",
    "messages",
    "stream",
    "ack",
    "parts",
    "reply",
    "reply_to",
    "ref",
    "deadline_ms",
    "sent_at",
];

const ON_BUSY: [(&str, OnBusy); 3] = [("queue", OnBusy::Queue), ("drop", OnBusy::Drop), ("latest", OnBusy::Latest)];
const REPLIES: [(&str, ReplyFormat); 2] = [("text", ReplyFormat::Text), ("json", ReplyFormat::Json)];

/// What is published on some topics is a request of a task, whose output goes to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// What messages call it; its requests are those of the client `binding.<name>`.
    pub name: BindingName,
    /// The filter of the topics.
    pub subscribe: String,
    /// The task, whatever kind of task it is; whether there is one of this name shows when it is asked for.
    pub task: TaskName,
    /// Fields of each request.
    pub params: Map<String, serde_json::Value>,
    /// Which part of the payload is the input: a JSON pointer. None takes all of it, as text.
    pub pointer: Option<String>,
    /// Where the output goes.
    pub publish: PublishTopic,
    /// As text alone, or as a document.
    pub reply: ReplyFormat,
    /// Whether errors go there as well.
    pub errors: bool,
    /// How long an answer is worth something after its message came; none is what requests have.
    pub max_age: Option<Duration>,
    /// What happens to a message while another is being answered.
    pub on_busy: OnBusy,
}

/// What happens to a message of a binding that is busy with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBusy {
    /// It waits like any request.
    Queue,
    /// It is dropped.
    Drop,
    /// It waits in the place of the one that waits.
    Latest,
}

impl Binding {
    /// As which client its requests are made.
    pub fn client(&self) -> ClientName {
        ClientName::of_binding(&self.name)
    }

    /// Reads all of them, when root and limits are known.
    pub(super) fn read_all(root: &mut Section<'_, '_, '_>, topics: &str, limits: &Limits) -> Vec<Self> {
        let mut names = BTreeSet::new();
        let bindings = root.tables("binding", |section| Self::read(section, topics, limits, &mut names));
        let count = bindings.len();
        if count > BINDINGS_MAX {
            root.blame_key("binding", format!("there are {count} bindings; allowed are 0 to {BINDINGS_MAX}"));
        }
        let bindings: Vec<Self> = bindings.into_iter().flatten().collect();
        refuse_loops(root, &bindings);
        bindings
    }

    fn read(
        section: &mut Section<'_, '_, '_>,
        topics: &str,
        limits: &Limits,
        names: &mut BTreeSet<BindingName>,
    ) -> Option<Self> {
        let name = section.required("name", |value| name(value, names));
        let subscribe = section.required("subscribe", |value| subscribed(value, topics));
        let task =
            section.required("task", |value| TaskName::new(value::text(value)?).map_err(|error| error.to_string()));
        let params = section.optional("params", params).unwrap_or_default();
        let pointer = section.optional("pointer", pointer);
        let publish = section.required("publish", PublishTopic::read);
        let reply = section.choice("reply", ReplyFormat::Text, &REPLIES);
        let errors = section.flag("errors", false);
        let max_age = section.optional("max_age", |value| value::span(value, &(Span::millis(100)..=Span::days(7))));
        if let Some(max_age) = max_age {
            let path = section.path_of("max_age");
            section.report.at_most((&path, max_age), ("limits.deadline_cap", Span(limits.deadline_cap)));
        }
        let on_busy = section.choice("on_busy", OnBusy::Queue, &ON_BUSY);
        let (subscribe, publish) = (subscribe?, publish?);
        if let Err(reason) = publish.fits(&subscribe) {
            section.blame_key("publish", reason);
        } else if overlap(&publish.reach(&subscribe), &format!("{topics}/#")) {
            section.blame_key("publish", format!("may be below \"{topics}\" (mqtt.root), which is promptd's own"));
        }
        let max_age = max_age.map(|span| span.0);
        let (name, task) = (name?, task?);
        Some(Self { name, subscribe, task, params, pointer, publish, reply, errors, max_age, on_busy })
    }
}

/// What one publishes is no message for itself or another; and one message is for one of them, for brokers differ in how often
/// they deliver what matches two filters.
fn refuse_loops(root: &mut Section<'_, '_, '_>, bindings: &[Binding]) {
    for (index, binding) in bindings.iter().enumerate() {
        let reach = binding.publish.reach(&binding.subscribe);
        if let Some(other) = bindings.iter().find(|other| overlap(&reach, &other.subscribe)) {
            let reason = format!(
                "would be a message for binding[{}], which subscribes {:?}: that may become a loop; a pipeline does one \
                 task after the other",
                other.name, other.subscribe
            );
            let key = format!("binding[{}].publish", binding.name);
            root.report.blame(&key, format!("{:?}", binding.publish.as_str()), reason);
        }
        if let Some(other) = bindings[..index].iter().find(|other| overlap(&binding.subscribe, &other.subscribe)) {
            let reason =
                format!("has topics in common with binding[{}], which subscribes {:?}", other.name, other.subscribe);
            let key = format!("binding[{}].subscribe", binding.name);
            root.report.blame(&key, format!("{:?}", binding.subscribe), reason);
        }
    }
}

fn name(value: &Value, others: &mut BTreeSet<BindingName>) -> Result<BindingName, String> {
    let text = value::text(value)?;
    let name = BindingName::new(text).map_err(|error| error.to_string())?;
    if text.len() > BINDING_NAME_MAX {
        return Err(format!("has {} bytes; allowed are 1 to {BINDING_NAME_MAX}", text.len()));
    }
    if others.insert(name.clone()) { Ok(name) } else { Err("is the name of an earlier binding".to_owned()) }
}

fn params(value: &Value) -> Result<Map<String, serde_json::Value>, String> {
    let serde_json::Value::Object(params) = json_of(value)? else {
        return Err("must be a table, such as { max_tokens = 20 }".to_owned());
    };
    match params.keys().find(|name| RESERVED.contains(&name.as_str())) {
        Some(name) => Err(format!("must not have \"{name}\", which the binding itself says")),
        None => Ok(params),
    }
}

fn pointer(value: &Value) -> Result<String, String> {
    let text = value::line(value, POINTER_MAX)?;
    if text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err("must start with '/', as \"/values/0\" does".to_owned())
    }
}
