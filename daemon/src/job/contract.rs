//! How the types that are written become the schemas of the contract.

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform, transform_subschemas};
use schemars::{JsonSchema, Schema};
use serde_json::Value;

/// JSON Schema 2020-12 of what a type writes. It allows unknown fields, as readers of the contract must.
pub fn schema_of<T: JsonSchema + ?Sized>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let settings = settings.with_transform(RecursiveTransform(one_line));
    let settings = settings.with_transform(RecursiveTransform(plain_numbers)).with_transform(LeftOut);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// The same of a document from which all that is not known is left out, at any depth.
pub fn sparse_schema_of<T: JsonSchema + ?Sized>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with_transform(RecursiveTransform(one_line));
    let settings = settings.with_transform(RecursiveTransform(plain_numbers));
    let settings = settings.with_transform(RecursiveTransform(all_optional)).with_transform(LeftOut);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

fn all_optional(schema: &mut Schema) {
    schema.remove("required");
}

/// A comment has lines because the code is narrow.
fn one_line(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}

/// `uint32` is no format of JSON Schema, and `float` tells nothing that a reader needs.
fn plain_numbers(schema: &mut Schema) {
    let is_number = |kind: &Value| matches!(kind.as_str(), Some("integer" | "number" | "null"));
    let numeric = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().all(is_number),
        Some(kind) => is_number(kind),
        None => false,
    };
    if numeric {
        schema.remove("format");
    }
}

/// What is not known is left out of a document: a field that may be missing is never null. Later versions add fields.
#[derive(Clone)]
struct LeftOut;

impl Transform for LeftOut {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
            schema.remove("additionalProperties");
        }
        let required: Vec<String> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default();
        let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
        for (_, property) in properties.iter_mut().filter(|(name, _)| !required.contains(name)) {
            without_null(property);
        }
    }
}

fn without_null(property: &mut Value) {
    let Value::Object(keys) = property else { return };
    if let Some(Value::Array(kinds)) = keys.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [one] = kinds.as_slice() {
            let one = one.clone();
            keys.insert("type".to_owned(), one);
        }
    }
    let Some(Value::Array(ways)) = keys.get_mut("anyOf") else { return };
    ways.retain(|way| way["type"] != "null");
    if let [Value::Object(one)] = ways.as_slice() {
        let one = one.clone();
        keys.shift_remove("anyOf");
        keys.extend(one);
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::json;

    use super::*;

    #[derive(Serialize, JsonSchema)]
    struct Reading {
        /// Always there.
        number: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        part: Option<Part>,
    }

    #[derive(Serialize, JsonSchema)]
    struct Part {
        /// Of all
        /// that there is.
        share: f32,
    }

    #[test]
    fn what_may_be_missing_is_never_null_and_what_is_always_there_may_be() {
        let schema = schema_of::<Reading>();
        let expected = json!({
            "number": { "description": "Always there.", "type": ["integer", "null"], "minimum": 0 },
            "text": { "type": "string" },
            "part": { "$ref": "#/$defs/Part" },
        });
        assert_eq!((&schema["properties"], &schema["required"]), (&expected, &json!(["number"])));
        assert_eq!(
            schema["$defs"]["Part"]["properties"]["share"],
            json!({ "description": "Of all that there is.", "type": "number" })
        );
        assert!(schema.get("additionalProperties").is_none());
    }
}
