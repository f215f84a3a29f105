//! The fields that hold an answer to a form.

use std::collections::HashSet;

use serde_json::Value;

use crate::job::{CHOICES_MAX, Constraint, ErrorCode, JobError};
use crate::task::check_schema;

use super::fields::{Fields, invalid, wrong_type};

/// The constraint of a request, if it names one.
pub(super) fn read_constraint(fields: &mut Fields, most: usize) -> Result<Option<Constraint>, JobError> {
    let constraint = match (fields.take("schema"), fields.take("choices"), fields.text("regex")?) {
        (None, None, None) => return Ok(None),
        (Some(schema), None, None) => Constraint::Schema(read_schema(&schema)?),
        (None, Some(choices), None) => Constraint::Choices(read_choices(choices)?),
        (None, None, Some(regex)) if regex.is_empty() => return Err(invalid("field \"regex\" is empty")),
        (None, None, Some(regex)) => Constraint::Regex(regex),
        _ => return Err(invalid("only one of \"schema\", \"choices\" and \"regex\" may be given")),
    };
    let bytes = constraint.bytes();
    if bytes > most {
        let text =
            format!("the answer's schema, choices or regex has {bytes} bytes; allowed are {most} (limits.schema)");
        return Err(JobError::new(ErrorCode::InvalidSchema, text));
    }
    Ok(Some(constraint))
}

fn read_schema(schema: &Value) -> Result<String, JobError> {
    if !schema.is_object() {
        return Err(wrong_type("schema", schema, "an object"));
    }
    check_schema(schema)
        .map_err(|reason| JobError::new(ErrorCode::InvalidSchema, format!("field \"schema\" {reason}")))?;
    Ok(schema.to_string())
}

fn read_choices(value: Value) -> Result<Vec<String>, JobError> {
    let Value::Array(items) = value else { return Err(wrong_type("choices", &value, "an array of strings")) };
    if items.is_empty() || items.len() > CHOICES_MAX {
        let count = items.len();
        return Err(invalid(format!("field \"choices\" has {count} texts; allowed are 1 to {CHOICES_MAX}")));
    }
    distinct_texts("choices", items)
}

/// Strings that are all different, and none of them blank.
pub(super) fn distinct_texts(name: &str, items: Vec<Value>) -> Result<Vec<String>, JobError> {
    let mut seen = HashSet::new();
    let text = |(index, item)| match item {
        Value::String(text) if text.trim().is_empty() => Err(invalid(format!("field \"{name}[{index}]\" is empty"))),
        Value::String(text) if !seen.insert(text.clone()) => {
            Err(invalid(format!("field \"{name}[{index}]\" is there twice")))
        }
        Value::String(text) => Ok(text),
        other => Err(wrong_type(&format!("{name}[{index}]"), &other, "a string")),
    };
    items.into_iter().enumerate().map(text).collect()
}
