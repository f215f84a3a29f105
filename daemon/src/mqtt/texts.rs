//! The fields of tasks on texts.

use serde_json::Value;

use crate::job::{ENTITY_TYPE_BYTES_MAX, ENTITY_TYPES_MAX, LABEL_BYTES_MAX, LABELS_MAX};
use crate::job::{Encoding, Input, JobError, Task};

use super::RequestLimits;
use super::body::not_blank;
use super::constraint::distinct_texts;
use super::fields::{Fields, invalid, wrong_type};

/// Reads an `embed` request.
pub(super) fn read_embed(fields: &mut Fields, limits: &RequestLimits) -> Result<Task, JobError> {
    let encodings = [Encoding::Base64, Encoding::Array].map(|encoding| (encoding.as_str(), encoding));
    let encoding = fields.choice("encoding", &encodings)?.unwrap_or_default();
    Ok(Task::Embed { input: read_input(fields, limits)?, encoding })
}

/// The one text or the many of a request.
fn read_input(fields: &mut Fields, limits: &RequestLimits) -> Result<Input, JobError> {
    match (fields.text("input")?, fields.text("prompt")?, fields.take("inputs")) {
        (Some(text), None, None) => Ok(Input::One(not_blank("field \"input\"", text)?)),
        (None, Some(text), None) => Ok(Input::One(not_blank("field \"prompt\"", text)?)),
        (None, None, Some(value)) => read_texts("inputs", value, limits.inputs).map(Input::Many),
        (None, None, None) => Err(invalid("\"input\", \"prompt\" or \"inputs\" is missing")),
        _ => Err(invalid("only one of \"input\", \"prompt\" and \"inputs\" may be given")),
    }
}

/// Reads an `extract` request.
pub(super) fn read_extract(fields: &mut Fields, limits: &RequestLimits) -> Result<Task, JobError> {
    let input = read_input(fields, limits)?;
    let types = fields.take("types").map(read_types).transpose()?.unwrap_or_default();
    Ok(Task::Extract { input, types })
}

/// Reads a `classify` request.
pub(super) fn read_classify(fields: &mut Fields, limits: &RequestLimits) -> Result<Task, JobError> {
    let input = read_input(fields, limits)?;
    let labels = fields.take("labels").map(read_labels).transpose()?.unwrap_or_default();
    match input {
        Input::Many(_) if !labels.is_empty() => {
            Err(invalid("with \"labels\", one \"input\" is needed and not \"inputs\""))
        }
        input => Ok(Task::Classify { input, labels }),
    }
}

fn read_labels(value: Value) -> Result<Vec<String>, JobError> {
    let Value::Array(items) = value else { return Err(wrong_type("labels", &value, "an array of strings")) };
    if items.len() < 2 || items.len() > LABELS_MAX {
        let count = items.len();
        return Err(invalid(format!("field \"labels\" has {count} texts; allowed are 2 to {LABELS_MAX}")));
    }
    let labels = distinct_texts("labels", items)?;
    match labels.iter().position(|label| label.len() > LABEL_BYTES_MAX) {
        Some(index) => {
            let bytes = labels[index].len();
            Err(invalid(format!("field \"labels[{index}]\" has {bytes} bytes; allowed are 1 to {LABEL_BYTES_MAX}")))
        }
        None => Ok(labels),
    }
}

/// Reads an `answer` request.
pub(super) fn read_answer(fields: &mut Fields) -> Result<Task, JobError> {
    let given = (fields.text("question")?, fields.text("input")?, fields.text("prompt")?);
    let question = match given {
        (Some(text), None, None) => not_blank("field \"question\"", text),
        (None, Some(text), None) => not_blank("field \"input\"", text),
        (None, None, Some(text)) => not_blank("field \"prompt\"", text),
        (None, None, None) => Err(invalid("\"question\" is missing")),
        _ => Err(invalid("only one of \"question\", \"input\" and \"prompt\" may be given")),
    }?;
    let context = fields.text("context")?.ok_or_else(|| invalid("\"context\" is missing"))?;
    Ok(Task::Answer { question, context: not_blank("field \"context\"", context)? })
}

fn read_types(value: Value) -> Result<Vec<String>, JobError> {
    let Value::Array(items) = value else { return Err(wrong_type("types", &value, "an array of strings")) };
    if items.is_empty() || items.len() > ENTITY_TYPES_MAX {
        let count = items.len();
        return Err(invalid(format!("field \"types\" has {count} entries; allowed are 1 to {ENTITY_TYPES_MAX}")));
    }
    let mut types = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let name = format!("types[{index}]");
        let Value::String(text) = item else { return Err(wrong_type(&name, &item, "a string")) };
        if text.trim().is_empty() || text.len() > ENTITY_TYPE_BYTES_MAX {
            let bytes = text.len();
            let limit = format!("allowed are 1 to {ENTITY_TYPE_BYTES_MAX}, not blank");
            return Err(invalid(format!("field \"{name}\" has {bytes} bytes; {limit}")));
        }
        if types.contains(&text) {
            return Err(invalid(format!("field \"{name}\" is there twice")));
        }
        types.push(text);
    }
    Ok(types)
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
