//! A step of a pipeline as an operator or a client writes it.

use serde_json::{Map, Value};

use crate::job::{ModelName, OnError, PipelineStep, StepName, TaskName, shown};

/// Fields of a whole request, which are no step's.
pub const OF_REQUESTS: [&str; 11] =
    ["ack", "deadline_ms", "id", "parts", "priority", "ref", "reply", "reply_to", "sent_at", "session", "stream"];

/// Longest name: it is part of the names in the journal.
const NAME_MAX: usize = 32;

/// Reads a step: its own keys, and the fields of its task.
pub fn read_step(mut map: Map<String, Value>) -> Result<PipelineStep, String> {
    let name = text(&mut map, "name")?.ok_or("needs a \"name\"")?;
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    if name.len() > NAME_MAX
        || !name.starts_with(is_letter)
        || !name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
    {
        let rule = "letters, digits and '_', a letter first, as templates write it";
        return Err(format!("has a name that is none: allowed are 1 to {NAME_MAX} of {rule}"));
    }
    let task = text(&mut map, "task")?.ok_or("needs a \"task\"")?;
    let (when, for_each) = (text(&mut map, "when")?, text(&mut map, "for_each")?);
    let model = text(&mut map, "model")?.map(ModelName::new).transpose().map_err(|error| error.to_string())?;
    let needs = match map.remove("needs") {
        None => Vec::new(),
        Some(Value::Array(names)) => names.into_iter().map(need).collect::<Result<_, _>>()?,
        Some(_) => return Err("\"needs\" must be an array of names of steps".to_owned()),
    };
    let default = map.remove("default");
    let on_error = match (text(&mut map, "on_error")?.as_deref(), default) {
        (None | Some("fail"), None) => OnError::Fail,
        (Some("skip"), None) => OnError::Skip,
        (Some("default"), Some(value)) => OnError::Default(value),
        (Some("default"), None) => return Err("on_error = \"default\" needs a \"default\"".to_owned()),
        (None | Some("fail" | "skip"), Some(_)) => return Err("a \"default\" needs on_error = \"default\"".to_owned()),
        (Some(_), _) => return Err("\"on_error\" is none of \"fail\", \"skip\", \"default\"".to_owned()),
    };
    if let Some(field) = map.keys().find(|key| OF_REQUESTS.contains(&key.as_str()) || key.starts_with("x_")) {
        return Err(format!("has the field {}, which only a whole request has", shown(field)));
    }
    let name = StepName::new(name).map_err(|error| error.to_string())?;
    let task = TaskName::new(task).map_err(|error| error.to_string())?;
    Ok(PipelineStep { name, task, model, fields: map, when, for_each, needs, on_error })
}

fn text(map: &mut Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match map.remove(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("\"{key}\" must be a text")),
    }
}

fn need(name: Value) -> Result<StepName, String> {
    match name {
        Value::String(name) => StepName::new(name).map_err(|error| error.to_string()),
        _ => Err("\"needs\" must be an array of names of steps".to_owned()),
    }
}
