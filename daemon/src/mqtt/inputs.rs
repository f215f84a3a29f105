//! `inputs` of tasks that generate text: the same with each of them.

use serde_json::{Map, Value};

use crate::job::{JobError, Task, shown};
use crate::task::Definition;

use super::RequestLimits;
use super::body::{not_blank, read_messages};
use super::fields::{invalid, wrong_type};
use super::kind::TaskKind;

/// Conversations of all inputs together may have so many times the bytes of the largest request: what a definition's template
/// says, and the fields that all of them share, are in each.
const EACH_GROWTH: usize = 4;

/// Reads the inputs of `generate`, which are texts, or of `chat`, which are texts or conversations. One that can't be used has an
/// error of its own.
pub(super) fn read_each(kind: TaskKind, value: Value, limits: &RequestLimits) -> Result<Task, JobError> {
    let chat = kind == TaskKind::Chat;
    let item = |(index, item): (usize, Value)| match item {
        Value::String(text) => Ok(not_blank("the input", text).and_then(|text| kind.on(text))),
        messages @ Value::Array(_) if chat => Ok(read_messages(messages)),
        other if chat => Err(wrong_type(&format!("inputs[{index}]"), &other, "a string or an array of messages")),
        other => Err(wrong_type(&format!("inputs[{index}]"), &other, "a string")),
    };
    let items = items_of(value, limits)?.into_iter().enumerate().map(item).collect::<Result<_, JobError>>()?;
    Ok(Task::Each { chat, items })
}

/// Reads the inputs of a task that is data: texts, or objects with its fields. What they do not give the request does, for all.
pub(super) fn read_each_defined(
    definition: &Definition,
    shared: &Map<String, Value>,
    value: Value,
    limits: &RequestLimits,
) -> Result<Task, JobError> {
    let mut room = EACH_GROWTH * limits.request_bytes;
    let item = |(index, item): (usize, Value)| {
        let mut fields = shared.clone();
        match item {
            Value::String(text) => _ = fields.insert("input".to_owned(), Value::String(text)),
            Value::Object(own) => fields.extend(own),
            other => return Err(wrong_type(&format!("inputs[{index}]"), &other, "a string or an object")),
        }
        if let Some(unknown) = fields.keys().find(|name| !definition.fields().contains(name)) {
            let text = format!("the task \"{}\" has no field {}", definition.name(), shown(unknown));
            return Ok(Err(invalid(text)));
        }
        let task = definition.task(fields, limits.request_bytes.min(room));
        room -= task.as_ref().map_or(0, Task::bytes);
        Ok(task)
    };
    let items = items_of(value, limits)?.into_iter().enumerate().map(item).collect::<Result<_, JobError>>()?;
    Ok(Task::Each { chat: true, items })
}

fn items_of(value: Value, limits: &RequestLimits) -> Result<Vec<Value>, JobError> {
    let Value::Array(items) = value else { return Err(wrong_type("inputs", &value, "an array")) };
    let (count, most) = (items.len(), limits.inputs);
    if count == 0 || count > most {
        return Err(invalid(format!("field \"inputs\" has {count} texts; allowed are 1 to {most} (limits.inputs)")));
    }
    Ok(items)
}
