//! Requests that ask for a form of the answer.

use serde_json::{Value, json};

use super::request_tests::{accept, reject};
use crate::job::{Constraint, ErrorCode};

#[test]
fn an_answer_is_held_to_at_most_one_form() {
    let output = |fields: Value| {
        let mut request = fields;
        request["prompt"] = json!("p");
        accept("generate", request.to_string()).request.output
    };
    let schema = json!({ "type": "object", "properties": { "b": {}, "a": { "$ref": "#" } } });
    let expected = Constraint::Schema(r##"{"type":"object","properties":{"b":{},"a":{"$ref":"#"}}}"##.to_owned());
    assert_eq!(output(json!({ "schema": schema })).constraint, Some(expected), "in the order of its properties");
    let choices = output(json!({ "choices": ["a", "b"], "logprobs": 0 }));
    assert_eq!(choices.constraint, Some(Constraint::Choices(vec!["a".to_owned(), "b".to_owned()])));
    assert_eq!((choices.logprobs, output(json!({})).logprobs), (Some(0), None));
    for (fields, code, text) in [
        (
            json!({ "choices": ["a"], "regex": "a" }),
            ErrorCode::InvalidRequest,
            "only one of \"schema\", \"choices\" and \"regex\" may be given",
        ),
        (
            json!({ "regex": "a".repeat(201) }),
            ErrorCode::InvalidSchema,
            "the answer's schema, choices or regex has 201 bytes; allowed are 200 (limits.schema)",
        ),
        (
            json!({ "schema": { "$ref": "other.json" } }),
            ErrorCode::InvalidSchema,
            "field \"schema\" refers to something outside of it: $ref is not \"#\", and does not begin with \"#/\"",
        ),
    ] {
        let mut request = fields;
        request["prompt"] = json!("p");
        assert_eq!(reject("generate", request.to_string()), (code, text.to_owned()));
    }
}

/// The same object with its keys in another order is the same request.
#[test]
fn a_fingerprint_does_not_depend_on_the_order_of_keys() {
    let print = |payload: &str| accept("generate", payload).fingerprint;
    let one = r#"{"prompt":"p","schema":{"type":"object","title":"t"},"max_tokens":3}"#;
    let other = r#"{"max_tokens":3,"schema":{"title":"t","type":"object"},"prompt":"p"}"#;
    assert_eq!(print(one), print(other));
    assert_ne!(print(one), print(&one.replace("\"t\"", "\"u\"")));
}
