//! Schemas of outputs.

use std::collections::HashSet;

use serde_json::Value;

/// Longest reason about a schema.
const REASON_MAX: usize = 300;

/// Most different targets of references: a grammar is made of one within the other, and each takes a piece of the stack.
const TARGETS_MAX: usize = 64;

/// Largest common multiple of all `multipleOf` of a schema, counted in units of their last decimal: a grammar has a state for each
/// remainder, and searches all of them before it begins. So many take it 30 ms, a million 8 s.
const MULTIPLE_MAX: u64 = 10_000;

/// Keywords that refer to another schema.
const REFERENCES: [&str; 2] = ["$ref", "$dynamicRef"];

/// Whether an output can be held to a schema: a JSON Schema 2020-12 that refers to nothing outside of itself, and of which a grammar
/// can be made with bounded work. What is wrong comes back as the rest of a sentence about it, which quotes no text.
pub fn check_schema(schema: &Value) -> Result<(), String> {
    if let Some(reference) = outside(schema) {
        return Err(format!(
            "refers to something outside of it: {reference} is not \"#\", and does not begin with \"#/\""
        ));
    }
    let targets = REFERENCES.iter().flat_map(|keyword| uses(schema, keyword)).filter_map(Value::as_str);
    let targets = targets.collect::<HashSet<_>>().len();
    if targets > TARGETS_MAX {
        return Err(format!("refers to {targets} different places with \"$ref\"; allowed are {TARGETS_MAX}"));
    }
    check_multiples(schema)?;
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

/// What a keyword has as its values, anywhere in a schema.
fn uses<'a>(schema: &'a Value, keyword: &str) -> Vec<&'a Value> {
    match schema {
        Value::Object(keys) => {
            let below = keys.values().flat_map(|value| uses(value, keyword));
            keys.get(keyword).into_iter().chain(below).collect()
        }
        Value::Array(items) => items.iter().flat_map(|item| uses(item, keyword)).collect(),
        _ => Vec::new(),
    }
}

/// Grows with every number that is added, so that the first one over the limit decides.
fn check_multiples(schema: &Value) -> Result<(), String> {
    let (mut common, mut places) = (1, 0);
    for value in uses(schema, "multipleOf") {
        let Some(step) = value.as_f64().filter(|&step| step > 0.0) else { continue };
        let added = decimal(step).and_then(|(units, own)| {
            let shared = own.max(places);
            Some((lcm(scaled(common, shared - places)?, scaled(units, shared - own)?)?, shared))
        });
        (common, places) = added.filter(|&(common, _)| common <= MULTIPLE_MAX).ok_or_else(|| {
            format!(
                "uses \"multipleOf\": {value}, which makes the common multiple of all of its \"multipleOf\" too large: allowed are \
                 {MULTIPLE_MAX} units of their last decimal"
            )
        })?;
    }
    Ok(())
}

/// A positive number as units of a decimal place, by the same steps as llguidance: where these give 0.07 more digits than it has, a
/// grammar has them, too. None if it is over the limit.
fn decimal(mut number: f64) -> Option<(u64, u32)> {
    let mut places = 0;
    while number.fract() != 0.0 {
        number *= 10.0;
        places += 1;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range, without a fraction")]
    (number <= MULTIPLE_MAX as f64).then_some((number as u64, places))
}

fn scaled(units: u64, places: u32) -> Option<u64> {
    units.checked_mul(10u64.checked_pow(places)?)
}

/// The least common multiple of two numbers above 0.
fn lcm(one: u64, other: u64) -> Option<u64> {
    let (mut divisor, mut rest) = (one, other);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (one / divisor).checked_mul(other)
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

    #[test]
    fn only_small_common_multiples_are_taken() {
        let all = |steps: &[f64]| {
            let steps: Vec<Value> = steps.iter().map(|step| json!({ "multipleOf": step })).collect();
            check_schema(&json!({ "properties": { "a": { "type": "number", "allOf": steps } } }))
        };
        for fine in [&[9973.0][..], &[10_000.0], &[0.01, 5.0, 0.25], &[97.0, 89.0], &[1e-3, 10.0], &[3.0; 50]] {
            assert_eq!(all(fine), Ok(()), "{fine:?}");
        }
        for (steps, blamed) in [
            (&[9_999_991.0][..], "9999991"),
            (&[10_001.0], "10001"),
            (&[97.0, 89.0, 2.0], "2"),
            (&[0.01, 1000.0], "1000"),
            (&[1e-3, 70.0], "70"),
            (&[1000.0, 1e-300], "1e-300"),
            (&[f64::MIN_POSITIVE], "2.2"),
            (&[f64::MAX], "1.79"),
        ] {
            let reason = all(steps).unwrap_err();
            assert!(reason.starts_with(&format!("uses \"multipleOf\": {blamed}")), "{steps:?}: {reason}");
            assert!(reason.contains("allowed are 10000 units"), "{reason}");
        }
        assert_eq!(check_schema(&json!({ "properties": { "multipleOf": { "type": "integer" } } })), Ok(()));
    }

    #[test]
    fn so_many_places_may_be_referred_to() {
        let places = |count: usize| {
            let place = |at: usize| (format!("p{at}"), json!({ "$ref": format!("#/$defs/p{}", at + 1) }));
            let defs: serde_json::Map<String, Value> = (0..count).map(place).collect();
            check_schema(&json!({ "$ref": "#/$defs/p1", "$defs": defs }))
        };
        assert_eq!(places(64), Ok(()));
        let reason = places(65).unwrap_err();
        assert_eq!(reason, "refers to 65 different places with \"$ref\"; allowed are 64");
    }
}
