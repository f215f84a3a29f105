//! The schema of a request's own fields.

use std::fmt;

use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value};

use super::{COMMON_FIELDS, DefinitionError};
use crate::job::{ErrorCode, JobError};

/// A JSON Schema of an object whose fields are known.
pub(super) struct Schema {
    validator: Validator,
    /// Sorted.
    fields: Vec<String>,
}

impl Schema {
    /// Checks and compiles a schema.
    pub(super) fn new(source: &Value) -> Result<Self, DefinitionError> {
        let fields = fields_of(source)?;
        let validator = jsonschema::draft202012::options()
            .with_pattern_options(PatternOptions::regex())
            .build(source)
            .map_err(|error| DefinitionError::Schema(format!("is no JSON Schema: {error}")))?;
        Ok(Self { validator, fields })
    }

    /// The names of the fields, sorted.
    pub(super) fn fields(&self) -> &[String] {
        &self.fields
    }

    /// Whether a request's fields are as it says.
    pub(super) fn check(&self, fields: &Map<String, Value>) -> Result<(), JobError> {
        let instance = Value::Object(fields.clone());
        // To look for errors costs more than to look whether there is one.
        if self.validator.is_valid(&instance) {
            return Ok(());
        }
        let Err(error) = self.validator.validate(&instance) else { return Ok(()) };
        let path = error.instance_path().to_string();
        let place = if path.is_empty() { String::new() } else { format!("field \"{}\": ", &path[1..]) };
        Err(JobError::new(ErrorCode::InvalidRequest, format!("{place}{}", error.masked())))
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({})", self.fields.join(", "))
    }
}

/// The fields that a schema names. One that allows any would let a misspelt field through.
fn fields_of(schema: &Value) -> Result<Vec<String>, DefinitionError> {
    let properties = schema.get("properties").and_then(Value::as_object).filter(|properties| !properties.is_empty());
    let Some(properties) = properties else {
        return Err(DefinitionError::Schema("names no field: input.properties is missing or empty".to_owned()));
    };
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    if let Some(unknown) = required.filter_map(Value::as_str).find(|name| !properties.contains_key(*name)) {
        return Err(DefinitionError::Schema(format!("requires {unknown:?}, which is none of input.properties")));
    }
    if refers(schema) {
        // Schemas that refer to each other can take time without bound.
        return Err(DefinitionError::Schema("uses $ref, which is not supported here: write it out".to_owned()));
    }
    if let Some(name) = properties.keys().find(|name| COMMON_FIELDS.contains(&name.as_str()) || name.starts_with("x_"))
    {
        return Err(DefinitionError::Schema(format!("has {name:?} in input.properties, a field that every task has")));
    }
    let mut fields: Vec<String> = properties.keys().cloned().collect();
    fields.sort_unstable();
    Ok(fields)
}

/// Whether a schema refers to another one, or to a part of itself.
fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(keys) => {
            keys.iter().any(|(key, value)| ["$ref", "$dynamicRef"].contains(&key.as_str()) || refers(value))
        }
        Value::Array(items) => items.iter().any(refers),
        _ => false,
    }
}
