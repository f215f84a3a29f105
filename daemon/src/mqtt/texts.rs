//! The fields of tasks for encoders.

use serde_json::Value;

use crate::job::{Encoding, Input, JobError, Task};

use super::RequestLimits;
use super::body::not_blank;
use super::fields::{Fields, invalid, wrong_type};

/// Reads an `embed` request.
pub(super) fn read_embed(fields: &mut Fields, limits: &RequestLimits) -> Result<Task, JobError> {
    let encodings = [Encoding::Base64, Encoding::Array].map(|encoding| (encoding.as_str(), encoding));
    let encoding = fields.choice("encoding", &encodings)?.unwrap_or_default();
    Ok(Task::Embed { input: read_input(fields, limits)?, encoding })
}

/// The one text or the many of a request.
pub(super) fn read_input(fields: &mut Fields, limits: &RequestLimits) -> Result<Input, JobError> {
    match (fields.text("input")?, fields.text("prompt")?, fields.take("inputs")) {
        (Some(text), None, None) => Ok(Input::One(not_blank("field \"input\"", text)?)),
        (None, Some(text), None) => Ok(Input::One(not_blank("field \"prompt\"", text)?)),
        (None, None, Some(value)) => read_texts("inputs", value, limits.inputs).map(Input::Many),
        (None, None, None) => Err(invalid("\"input\", \"prompt\" or \"inputs\" is missing")),
        _ => Err(invalid("only one of \"input\", \"prompt\" and \"inputs\" may be given")),
    }
}

/// Reads a `rerank` request.
pub(super) fn read_rerank(fields: &mut Fields, limits: &RequestLimits) -> Result<Task, JobError> {
    let question = match (fields.text("input")?, fields.text("prompt")?) {
        (Some(text), None) => not_blank("field \"input\"", text),
        (None, Some(text)) => not_blank("field \"prompt\"", text),
        (None, None) => Err(invalid("\"input\" or \"prompt\" is missing: what the documents shall fit")),
        (Some(_), Some(_)) => Err(invalid("only one of \"input\" and \"prompt\" may be given")),
    }?;
    let documents = fields.take("documents").ok_or_else(|| invalid("\"documents\" is missing"))?;
    Ok(Task::Rerank { question, documents: read_texts("documents", documents, limits.inputs)? })
}

/// A list of texts. An empty one among them is no fault of the request: it gets an error of its own.
fn read_texts(name: &str, value: Value, most: usize) -> Result<Vec<String>, JobError> {
    let Value::Array(items) = value else { return Err(wrong_type(name, &value, "an array of strings")) };
    if items.is_empty() || items.len() > most {
        let count = items.len();
        return Err(invalid(format!("field \"{name}\" has {count} texts; allowed are 1 to {most} (limits.inputs)")));
    }
    let text = |(index, item)| match item {
        Value::String(text) => Ok(text),
        other => Err(wrong_type(&format!("{name}[{index}]"), &other, "a string")),
    };
    items.into_iter().enumerate().map(text).collect()
}
