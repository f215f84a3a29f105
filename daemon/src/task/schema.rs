//! Schemas of outputs.

use serde_json::Value;

/// Longest reason about a schema.
const REASON_MAX: usize = 300;

/// Whether an output can be held to a schema: a JSON Schema 2020-12 that refers to nothing outside of itself. What is wrong comes
/// back as the rest of a sentence about it, which quotes no value.
pub fn check_schema(schema: &Value) -> Result<(), String> {
    if let Some(reference) = outside(schema) {
        return Err(format!(
            "refers to something outside of it: {reference} is not \"#\", and does not begin with \"#/\""
        ));
    }
    jsonschema::draft202012::meta::validate(schema).map_err(|error| {
        let path = error.instance_path().to_string();
        let place = if path.is_empty() { String::new() } else { format!(" at {path}") };
        let mut reason = format!("is no JSON Schema{place}: {}", error.masked());
        reason.truncate(reason.floor_char_boundary(REASON_MAX));
        reason
    })
}

/// The keyword of a reference that leaves the schema.
fn outside(schema: &Value) -> Option<&'static str> {
    const REFERENCES: [&str; 2] = ["$ref", "$dynamicRef"];
    match schema {
        Value::Object(keys) => keys.iter().find_map(|(key, value)| {
            let reference = REFERENCES.into_iter().find(|reference| *reference == key);
            let leaves = value.as_str().is_some_and(|target| target != "#" && !target.starts_with("#/"));
            reference.filter(|_| leaves).or_else(|| outside(value))
        }),
        Value::Array(items) => items.iter().find_map(outside),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_that_refer_to_themselves_are_fine_and_others_are_not() {
        let list = json!({ "$ref": "#/$defs/a", "$defs": { "a": { "type": "array", "items": { "$ref": "#" } } } });
        assert_eq!(check_schema(&list), Ok(()));
        for target in ["https://example.org/s.json", "file:///etc/passwd", "other.json#/a", ""] {
            let reason = check_schema(&json!({ "properties": { "a": { "$ref": target } } })).unwrap_err();
            assert!(reason.contains("outside") && !reason.contains("example"), "{reason}");
        }
    }

    #[test]
    fn what_is_no_schema_is_named_and_not_quoted() {
        let reason = check_schema(&json!({ "properties": { "a": { "type": "secret" } } })).unwrap_err();
        assert!(
            reason.starts_with("is no JSON Schema at /properties/a/type") && !reason.contains("secret"),
            "{reason}"
        );
    }
}
