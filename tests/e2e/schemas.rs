//! Answers that are held to a schema are values of it, whatever the model would rather say.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Broker, Device, Node, Setup};

/// Answers of each schema.
const SEEDS: u32 = 10;

/// Schemas whose values have an end.
#[expect(clippy::too_many_lines, reason = "a list")]
fn schemas() -> [(&'static str, Value); 20] {
    let word = json!({ "type": "string", "maxLength": 12 });
    [
        (
            "object",
            json!({
                "type": "object", "required": ["name", "age"], "additionalProperties": false,
                "properties": { "name": word, "age": { "type": "integer", "minimum": 0, "maximum": 120 } },
            }),
        ),
        (
            "nested objects",
            json!({
                "type": "object", "required": ["machine"], "additionalProperties": false,
                "properties": { "machine": {
                    "type": "object", "required": ["name", "state"], "additionalProperties": false,
                    "properties": { "name": word, "state": {
                        "type": "object", "required": ["on"], "properties": { "on": { "type": "boolean" } }, "additionalProperties": false,
                    } },
                } },
            }),
        ),
        (
            "array with bounds",
            json!({ "type": "array", "minItems": 2, "maxItems": 4, "items": { "enum": ["red", "green", "blue"] } }),
        ),
        (
            "array of objects",
            json!({
                "type": "array", "minItems": 1, "maxItems": 2, "items": {
                    "type": "object", "required": ["what", "n"], "additionalProperties": false,
                    "properties": { "what": word, "n": { "type": "integer", "minimum": 1, "maximum": 9 } },
                },
            }),
        ),
        ("enum", json!({ "enum": ["low", "high", 7, null, true] })),
        ("pattern", json!({ "type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,5}$" })),
        ("date", json!({ "type": "string", "format": "date" })),
        (
            "date and time",
            json!({ "type": "object", "required": ["at"], "properties": { "at": { "type": "string", "format": "date-time" } }, "additionalProperties": false }),
        ),
        (
            "uuid and address",
            json!({ "type": "array", "prefixItems": [{ "type": "string", "format": "uuid" }, { "type": "string", "format": "ipv4" }], "items": false, "minItems": 2 }),
        ),
        (
            "numbers with bounds",
            json!({
                "type": "object", "required": ["celsius", "share"], "additionalProperties": false,
                "properties": {
                    "celsius": { "type": "integer", "exclusiveMinimum": -41, "exclusiveMaximum": 86 },
                    "share": { "type": "number", "minimum": 0, "maximum": 1 },
                },
            }),
        ),
        (
            "references",
            json!({
                "type": "object", "required": ["from", "to"], "additionalProperties": false,
                "properties": { "from": { "$ref": "#/$defs/place" }, "to": { "$ref": "#/$defs/place" } },
                "$defs": { "place": { "type": "object", "required": ["city"], "properties": { "city": word }, "additionalProperties": false } },
            }),
        ),
        (
            "one of several kinds",
            json!({ "anyOf": [word, { "type": "integer", "minimum": 0, "maximum": 999 }, { "type": "boolean" }] }),
        ),
        (
            "kinds told by a constant",
            json!({
                "anyOf": [
                    { "type": "object", "required": ["kind", "text"], "additionalProperties": false, "properties": { "kind": { "const": "note" }, "text": word } },
                    { "type": "object", "required": ["kind", "level"], "additionalProperties": false, "properties": { "kind": { "const": "alarm" }, "level": { "enum": [1, 2, 3] } } },
                ],
            }),
        ),
        (
            "nullable",
            json!({
                "type": "object", "required": ["owner"], "additionalProperties": false,
                "properties": { "owner": { "type": ["string", "null"], "maxLength": 10 } },
            }),
        ),
        (
            "optional properties",
            json!({
                "type": "object", "additionalProperties": false,
                "properties": { "a": { "type": "boolean" }, "b": { "type": "integer", "minimum": 0, "maximum": 5 }, "c": word },
            }),
        ),
        (
            "keys in other scripts",
            json!({
                "type": "object", "required": ["größe", "名前", "🦀"], "additionalProperties": false,
                "properties": { "größe": { "type": "integer", "minimum": 0, "maximum": 300 }, "名前": word, "🦀": { "type": "boolean" } },
            }),
        ),
        (
            "tuple",
            json!({ "type": "array", "prefixItems": [word, { "type": "integer", "minimum": 0, "maximum": 99 }, { "type": "null" }], "items": false, "minItems": 3 }),
        ),
        (
            "all of",
            json!({
                "allOf": [
                    { "type": "object", "properties": { "id": { "type": "integer", "minimum": 1, "maximum": 99 } }, "required": ["id"] },
                    { "properties": { "id": {}, "ok": { "type": "boolean" } }, "required": ["ok"], "additionalProperties": false },
                ],
            }),
        ),
        ("length", json!({ "type": "string", "minLength": 3, "maxLength": 8 })),
        (
            "list by references",
            json!({
                "$ref": "#/$defs/list",
                "$defs": { "list": { "anyOf": [{ "type": "null" }, {
                    "type": "object", "required": ["v", "next"], "additionalProperties": false,
                    "properties": { "v": { "enum": ["x", "y"] }, "next": { "$ref": "#/$defs/end" } },
                }] }, "end": { "anyOf": [{ "type": "null" }, { "const": "more" }] } },
            }),
        ),
    ]
}

#[tokio::test]
async fn every_answer_is_a_value_of_its_schema() {
    let broker = Broker::start().await;
    let tables = "[limits]\nqueue_jobs = 256\nqueue_jobs_per_client = 256\ndeadline_cap = \"1h\"\ndeadline = \"1h\"\n"
        .to_owned();
    let _node = Node::ready(&broker, Setup { context: 512, tables, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let schemas = schemas();
    let prompts = ["Describe a person as JSON.", "Invent something.", "What is the weather?", "Write JSON: {", "Why?"];
    let mut open = BTreeMap::new();
    for (number, (name, schema)) in schemas.iter().enumerate() {
        for seed in 0..SEEDS {
            let id = format!("{number}.{seed}");
            let prompt = prompts[(number + seed as usize) % prompts.len()];
            let request = json!({
                "id": id, "prompt": prompt, "schema": schema, "temperature": 1, "seed": seed,
                "max_tokens": 160,
            });
            device.ask("generate", &request).await;
            open.insert(id, (*name, schema));
        }
    }
    let mut wrong = Vec::new();
    while !open.is_empty() {
        let reply = device.outcome_of_any().await;
        let Some((name, schema)) = open.remove(reply["id"].as_str().unwrap()) else { panic!("twice: {reply}") };
        let validator = jsonschema::options().should_validate_formats(true).build(schema).unwrap();
        if reply["finish"] != "schema" || !validator.is_valid(&reply["output"]) {
            wrong.push(format!("{name}: {reply}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), schemas.len() * SEEDS as usize, wrong.join("\n"));
}
