use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::job::{ErrorCode, Role, TaskName};

fn parts(prompt: &str, input: Value) -> Parts {
    let name = TaskName::new("test").unwrap();
    Parts {
        name,
        description: String::new(),
        system: None,
        prompt: prompt.into(),
        input,
        defaults: Defaults::default(),
        long: None,
    }
}

fn text_and_count() -> Value {
    json!({
        "type": "object", "required": ["input"],
        "properties": { "input": { "type": "string" }, "count": { "type": "integer", "minimum": 1 } },
    })
}

fn definition(prompt: &str) -> Definition {
    Definition::new(parts(prompt, text_and_count())).unwrap()
}

fn fields(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn said(prompt: &str, given: &Value) -> Result<String, (ErrorCode, String)> {
    let conversation = definition(prompt).conversation(&fields(given), 1000);
    conversation.map(|mut messages| messages.remove(0).content).map_err(|error| (error.code, error.message))
}

fn refusal(parts: Parts) -> (&'static str, String) {
    let error = Definition::new(parts).unwrap_err();
    (error.key(), error.to_string())
}

#[test]
fn a_request_becomes_a_conversation() {
    let mut parts = parts("Say {{ input }}{% if count is defined %} {{ count }} times{% endif %}.\n", text_and_count());
    parts.system = Some("You are {{ input }}.".into());
    let definition = Definition::new(parts).unwrap();
    assert_eq!(definition.fields(), ["count", "input"]);
    let messages = definition.conversation(&fields(&json!({ "input": "<b> & \"x\"", "count": 3 })), 1000).unwrap();
    let said: Vec<_> = messages.iter().map(|message| (message.role, message.content.as_str())).collect();
    let expected = [(Role::System, "You are <b> & \"x\"."), (Role::User, "Say <b> & \"x\" 3 times.")];
    assert_eq!(said, expected, "nothing is escaped");
    assert_eq!(said_alone("Say {{ input }}."), "Say hello.");
}

fn said_alone(prompt: &str) -> String {
    said(prompt, &json!({ "input": "hello" })).unwrap()
}

#[test]
fn what_does_not_fit_the_schema_is_named_and_not_quoted() {
    for (given, expected) in [
        (json!({}), "\"input\" is a required property"),
        (json!({ "input": 7 }), "field \"input\": value is not of type \"string\""),
        (json!({ "input": "secret", "count": 0 }), "field \"count\": value is less than the minimum of 1"),
        (json!({ "input": "secret", "count": "secret" }), "field \"count\": value is not of type \"integer\""),
    ] {
        assert_eq!(said("{{ input }}", &given), Err((ErrorCode::InvalidRequest, expected.to_owned())));
    }
}

#[test]
fn a_template_that_makes_too_much_or_takes_too_long_is_stopped() {
    let long = json!({ "input": "x".repeat(600) });
    let (code, message) = said("{{ input }}{{ input }}", &long).unwrap_err();
    assert_eq!(code, ErrorCode::TooLarge);
    assert_eq!(message, "the task's template makes more than 1000 bytes of this request (limits.request)");
    let small = || json!({ "input": "x", "count": 1 });
    let (code, message) =
        said("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", &small()).unwrap_err();
    assert!(code == ErrorCode::InvalidRequest && message.contains("fuel"), "{message}");
    let (_, message) = said("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", &small()).unwrap_err();
    assert!(message.contains("recursion"), "{message}");
    let (key, reason) = refusal(parts("{% include 'prompt' %}", text_and_count()));
    assert!(key == "prompt" && reason.contains("unknown statement include"), "no template reads another: {reason}");
    let (_, message) = said("{{ input.missing.deeper }}", &small()).unwrap_err();
    assert!(message.contains("undefined") && message.contains("line 1"), "{message}");
    let (_, message) = said("{% if false %}{{ input }}{% endif %} ", &small()).unwrap_err();
    assert_eq!(message, "the template of the task test makes an empty prompt of this request");
}

#[test]
fn all_messages_together_stay_within_the_bound() {
    let definition =
        Definition::new(Parts { system: Some("{{ input }}".into()), ..parts("{{ input }}", text_and_count()) });
    let conversation =
        |most| definition.as_ref().unwrap().conversation(&fields(&json!({ "input": "x".repeat(600) })), most);
    assert_eq!(conversation(1200).unwrap().len(), 2);
    assert_eq!(conversation(1199).unwrap_err().code, ErrorCode::TooLarge);
}

/// Every one of them is wrong; one is told.
#[test]
fn many_wrong_items_are_one_error() {
    let items =
        json!({ "type": "object", "properties": { "input": { "type": "array", "items": { "type": "string" } } } });
    let definition = Definition::new(parts("{{ input }}", items)).unwrap();
    let error = definition.conversation(&fields(&json!({ "input": vec![0; 100_000] })), 1000).unwrap_err();
    assert_eq!(error.message, "field \"input/0\": value is not of type \"string\"");
}

#[test]
fn what_is_wrong_with_a_definition_names_its_key() {
    let schema = text_and_count;
    let (key, reason) = refusal(parts("{{ input }}\n{{ inptu }}", schema()));
    assert_eq!((key, reason.as_str()), ("prompt", "uses \"inptu\", which is no field of input.properties"));
    let (key, reason) = refusal(parts("one\n{% if %}", schema()));
    assert!(key == "prompt" && reason.contains("syntax error") && reason.contains("line 2"), "{reason}");
    let (key, reason) = refusal(Parts { system: Some("{{".into()), ..parts("{{ input }}", schema()) });
    assert!(key == "system" && reason.contains("syntax error"), "{reason}");
    for (input, expected) in [
        (json!({}), "names no field"),
        (json!({ "properties": {} }), "names no field"),
        (json!({ "properties": { "input": { "type": "strnig" } } }), "is no JSON Schema"),
        (json!({ "properties": { "id": {}, "input": {} } }), "has \"id\" in input.properties"),
        (json!({ "properties": { "x_a": {}, "input": {} } }), "has \"x_a\" in input.properties"),
        (json!({ "properties": { "input": {} }, "required": ["other"] }), "requires \"other\""),
        (json!({ "properties": { "input": { "$ref": "https://example.org/s.json" } } }), "uses $ref"),
        (json!({ "properties": { "input": { "anyOf": [{ "$ref": "#" }, {}] } } }), "uses $ref"),
        (json!({ "properties": { "input": { "pattern": "(" } } }), "is no JSON Schema"),
    ] {
        let (key, reason) = refusal(parts("{{ input }}", input));
        assert!(key == "input" && reason.contains(expected), "{reason}");
    }
}

#[test]
fn definitions_are_the_same_if_their_parts_are() {
    assert_eq!(definition("{{ input }}"), definition("{{ input }}"));
    assert_ne!(definition("{{ input }}"), definition("{{ input }}!"));
}

proptest! {
    /// Whatever a client sends, an answer comes, and it is within the bound.
    #[test]
    fn no_text_of_a_client_breaks_a_template(text in any::<String>(), count in any::<i64>()) {
        let definition = definition("{% for word in input|split(' ') %}{{ word }} {% endfor %}{{ count }}");
        let conversation = definition.conversation(&fields(&json!({ "input": text, "count": count })), 1000);
        match conversation {
            Ok(messages) => prop_assert!(messages[0].content.len() <= 1000),
            Err(error) => prop_assert!(error.message.len() < 400, "{}", error.message),
        }
    }
}
