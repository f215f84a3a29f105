//! The tasks that the node serves.

use serde_json::{Value, json};

use super::driver::Driver;
use super::intake::FETCH;
use crate::config::Config;
use crate::job::Constraint;
use crate::task::{Definition, Form, PipelineDefinition};
use crate::telemetry::TaskInfo;

/// The tasks of the interface, with what each does.
const INTERFACE: [(&str, &str); 9] = [
    ("answer", "Finds the part of a text that answers a question."),
    ("chat", "Answers the last message of a conversation."),
    ("classify", "Finds the class of a text: by a trained head, or which of given labels fits."),
    ("embed", "Makes an embedding of each text."),
    ("extract", "Finds what a text names: by a head for tokens, or things of given types."),
    (FETCH, "Publishes answers again that the client has missed."),
    ("generate", "Continues or answers a prompt."),
    ("pipeline", "Does the steps that the request gives."),
    ("rerank", "Orders documents by how well they fit a question."),
];

/// Every task, as `info` lists it.
pub(super) fn task_infos(config: &Config) -> Vec<TaskInfo<'_>> {
    let interface = INTERFACE.into_iter().map(|(name, _)| TaskInfo { name, fields: &[] });
    let defined = config.tasks.iter().map(|task| TaskInfo { name: task.name().as_str(), fields: task.fields() });
    let pipelines = config.pipelines.iter();
    let pipelines = pipelines.map(|pipeline| TaskInfo { name: pipeline.name().as_str(), fields: pipeline.fields() });
    interface.chain(defined).chain(pipelines).collect()
}

impl Driver {
    /// Every task, with its schema if it is data.
    pub(super) fn tasks_document(&self) -> Value {
        let interface =
            INTERFACE.into_iter().map(|(name, description)| json!({ "name": name, "description": description }));
        let pipelines = self.config.pipelines.iter().map(pipeline_document);
        interface.chain(self.config.tasks.iter().map(document)).chain(pipelines).collect()
    }
}

fn document(task: &Definition) -> Value {
    let parts = task.parts();
    json!({
        "name": parts.name, "description": parts.description, "input": parts.input, "output": output(&parts.defaults.form),
        "model": parts.defaults.model, "max_tokens": parts.defaults.max_tokens,
    })
}

/// The schema of what a task gives.
fn output(form: &Form) -> Value {
    match form {
        Form::Text => json!({ "type": "string" }),
        Form::Fixed(Constraint::Schema(text)) => serde_json::from_str(text).unwrap_or_default(),
        Form::Fixed(Constraint::Choices(choices)) => json!({ "enum": choices }),
        Form::Fixed(Constraint::Regex(regex)) => json!({ "type": "string", "pattern": format!("^(?:{regex})$") }),
        Form::Requested => json!({ "description": "as the request's schema, choices or regex say" }),
    }
}

fn pipeline_document(pipeline: &PipelineDefinition) -> Value {
    let parts = pipeline.parts();
    let steps: Vec<Value> = parts.steps.iter().map(|step| json!({ "name": step.name, "task": step.task })).collect();
    json!({
        "name": parts.name, "description": parts.description, "input": parts.input, "model": parts.model, "steps": steps,
    })
}
