//! The tasks that the node serves.

use serde_json::{Value, json};

use super::driver::Driver;
use super::intake::FETCH;
use crate::config::Config;
use crate::task::Definition;
use crate::telemetry::TaskInfo;

/// The tasks of the interface, with what each does.
const INTERFACE: [(&str, &str); 7] = [
    ("chat", "Answers the last message of a conversation."),
    ("classify", "Finds the class of each text, by a trained head."),
    ("embed", "Makes an embedding of each text."),
    ("extract", "Finds what a text names, by a head for tokens."),
    (FETCH, "Publishes answers again that the client has missed."),
    ("generate", "Continues or answers a prompt."),
    ("rerank", "Orders documents by how well they fit a question."),
];

/// Every task, as `info` lists it.
pub(super) fn task_infos(config: &Config) -> Vec<TaskInfo<'_>> {
    let interface = INTERFACE.into_iter().map(|(name, _)| TaskInfo { name, fields: &[] });
    let defined = config.tasks.iter().map(|task| TaskInfo { name: task.name().as_str(), fields: task.fields() });
    interface.chain(defined).collect()
}

impl Driver {
    /// Every task, with its schema if it is data.
    pub(super) fn tasks_document(&self) -> Value {
        let interface =
            INTERFACE.into_iter().map(|(name, description)| json!({ "name": name, "description": description }));
        interface.chain(self.config.tasks.iter().map(document)).collect()
    }
}

fn document(task: &Definition) -> Value {
    let parts = task.parts();
    json!({
        "name": parts.name, "description": parts.description, "input": parts.input, "output": { "type": "string" },
        "model": parts.defaults.model, "max_tokens": parts.defaults.max_tokens,
    })
}
