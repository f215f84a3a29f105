//! The schemas of what is sent to a node against the parser that reads it: neither knows a field that the other does not, and what
//! one takes the other takes, but for rules that no schema can tell.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use jsonschema::Validator;
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

use super::examples::sent_examples;
use super::*;
use crate::config::Config;
use crate::job::{ClientName, Control, ErrorCode, JobError, RequestId};
use crate::mqtt::{InboundMessage, ReplyPolicy, RequestLimits, RequestReader, Topics, parse_cancel};
use crate::plan::Profile;

/// Messages for each schema.
const CASES: u32 = 1500;

fn reader() -> RequestReader {
    RequestReader {
        tasks: Config::defaults(&Profile::default()).tasks,
        pipelines: Vec::new(),
        now: || None,
        topics: Topics::new("promptd", &"gw".parse().unwrap()).unwrap(),
        reply_policy: ReplyPolicy::new("promptd", vec!["alarms/+".parse().unwrap()], Vec::new()),
        limits: RequestLimits {
            request_bytes: 1 << 20,
            max_tokens_default: 256,
            max_tokens_cap: 1024,
            deadline_default: Duration::from_mins(1),
            deadline_cap: Duration::from_mins(10),
            inputs: 4,
            schema_bytes: 1 << 20,
            pipeline_steps: 3,
        },
    }
}

/// Reads a message as the node would.
fn read(reader: &RequestReader, schema: &str, payload: &Value) -> Result<(), JobError> {
    let (client, id) = (ClientName::new("cam").unwrap(), || RequestId::new("made").unwrap());
    let message = InboundMessage::plain(payload.to_string());
    match schema.split_once('-') {
        Some(("request", "fetch")) => reader.read_fetch(&client, &message, id).map(drop).map_err(|bad| bad.error),
        Some(("request", task)) => reader.read(task, client, &message, id).map(drop).map_err(|bad| bad.error),
        Some(("control", verb)) => reader.read_control(verb, &message, id).map(drop).map_err(|bad| bad.error),
        _ => parse_cancel(&message.payload).map(drop),
    }
}

/// The schemas of what is sent to a node.
fn of_sent() -> Vec<NamedSchema> {
    let mut sent = schemas();
    sent.retain(|schema| {
        let is_control = |verb: &str| Control::verbs().any(|known| known == verb);
        schema.name == "cancel"
            || schema.name.starts_with("request-")
            || schema.name.strip_prefix("control-").is_some_and(is_control)
    });
    sent
}

/// A value with which a field of this schema is mostly right.
fn plausible(field: &str, schema: &Value) -> Value {
    match field {
        "id" | "ref" | "session" | "job" | "model" | "client" => json!("main"),
        "stream" | "ack" | "parts" | "ignore_eos" | "reset" | "all" => json!(true),
        "reply" => json!("json"),
        "sent_at" => json!("2026-01-31T12:00:00Z"),
        "priority" => json!("high"),
        "reply_to" => json!("alarms/1"),
        "deadline_ms" | "max_tokens" | "max_bytes" | "top_k" | "seed" | "sentences" => json!(5),
        "temperature" | "top_p" | "min_p" => json!(0.5),
        "repeat_penalty" => json!(1.0),
        "logprobs" => json!(2),
        "stop" | "documents" | "inputs" => json!(["a"]),
        "choices" | "labels" | "types" => json!(["a", "b"]),
        "schema" => json!({ "type": "string" }),
        "encoding" => json!("array"),
        "messages" => json!([{ "role": "user", "content": "Hello" }]),
        "steps" => json!([{ "name": "a", "task": "generate", "prompt": "{{ input }}" }]),
        // A task that is data has a text of this name.
        "fields" if schema["type"] == "object" => json!({ "x": 1 }),
        _ => json!("some text"),
    }
}

/// Every value that a field could wrongly have.
fn any_value() -> impl Strategy<Value = Value> {
    let step = |step: Value| json!([{ "name": "a", "task": "generate", "prompt": "x" }, step]);
    let values = vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(0.5),
        json!(7.0),
        json!(1e300),
        json!(5_000_000_000_u64),
        json!(""),
        json!(" "),
        json!("a b"),
        json!("text"),
        json!("json"),
        json!("low"),
        json!("x".repeat(65)),
        json!("x".repeat(300)),
        json!("f32le_base64"),
        json!([]),
        json!([""]),
        json!(["a", "a"]),
        json!([1]),
        json!(["x".repeat(300), "y"]),
        json!({}),
        json!({ "type": "colour" }),
        json!({ "item": 1 }),
        json!([{}]),
        json!([{ "role": "system", "content": "x" }]),
        json!([{ "role": "user" }]),
        json!([{ "role": "nobody", "content": "x" }]),
        json!([{ "role": "user", "content": "x", "name": "y" }]),
        json!([["a"]]),
        json!([[{ "role": "user", "content": "x" }], "a"]),
        step(json!({ "name": "b" })),
        step(json!({ "name": "1", "task": "chat" })),
        step(json!({ "name": "b", "task": "chat", "input": "y", "on_error": "default" })),
        step(json!({ "name": "b", "task": "chat", "input": "y", "on_error": "default", "default": 1 })),
        step(json!({ "name": "b", "task": "chat", "input": "y", "default": 1 })),
        step(json!({ "name": "b", "task": "chat", "input": "y", "stream": true })),
        step(json!({ "name": "b", "task": "chat", "input": "y", "x_a": true })),
        step(json!({ "name": "b", "task": "chat", "input": "y", "needs": ["a"], "when": "true" })),
        step(json!({ "name": "b", "task": "chat", "input": "y", "needs": "a" })),
    ];
    prop::sample::select(values)
}

/// Values on both sides of each bound that a field's schema has.
fn edges(field: &Value) -> Vec<Value> {
    let step = if field["type"] == "integer" { 1.0 } else { 0.001 };
    let numbers = ["minimum", "maximum"].into_iter().filter_map(|bound| field[bound].as_f64());
    let numbers =
        numbers.flat_map(|bound| [bound - step, bound, bound + step]).map(|number| match field["type"].as_str() {
            #[expect(clippy::cast_possible_truncation, reason = "bounds are small")]
            Some("integer") => json!(number as i64),
            _ => json!(number),
        });
    let sizes = |least: &str, most: &str, field: &Value| -> Vec<usize> {
        let bounds = [least, most].into_iter().filter_map(|bound| field[bound].as_u64());
        let sizes = bounds.flat_map(|bound| [bound.saturating_sub(1), bound, bound + 1]);
        sizes.map(|size| usize::try_from(size).unwrap()).collect()
    };
    let texts = sizes("minLength", "maxLength", field).into_iter().map(|size| json!("x".repeat(size)));
    let lists = sizes("minItems", "maxItems", field).into_iter();
    let lists = lists.map(|size| (0..size).map(|index| json!(format!("t{index}"))).collect());
    let ways = field["anyOf"].as_array().into_iter().flatten().flat_map(edges);
    numbers.chain(texts).chain(lists).chain(ways).collect()
}

/// A field, and a value for it: right for the most part, on a bound, or anything.
fn field_and_value(name: &str, schema: &Value) -> impl Strategy<Value = (String, Value)> + use<> {
    let right = plausible(name, schema);
    let mut edges = edges(schema);
    edges.push(right.clone());
    let value = prop_oneof![6 => Just(right), 2 => prop::sample::select(edges), 2 => any_value()];
    let name = name.to_owned();
    value.prop_map(move |value| (name.clone(), value))
}

/// A message with some of the fields of a schema, and now and then one more.
fn messages(schema: &Value) -> impl Strategy<Value = Value> + use<> {
    const MOST: usize = 6;
    let fields = schema["properties"].as_object().unwrap();
    let fields: Vec<_> = fields.iter().map(|(name, schema)| field_and_value(name, schema).boxed()).collect();
    let most = fields.len().min(MOST);
    let chosen = prop::sample::subsequence(fields, 0..=most).prop_flat_map(|fields| fields);
    let more = prop::option::weighted(0.1, prop::sample::select(vec!["x_a", "nothing"]));
    (chosen, more).prop_map(|(fields, more)| {
        let mut map: Map<String, Value> = fields.into_iter().collect();
        map.extend(more.map(|name| (name.to_owned(), json!("more"))));
        Value::Object(map)
    })
}

/// What the parser refuses of these messages and no schema tells, such as blanks, bytes, and what the node's configuration says.
fn is_beyond_schemas(error: &JobError) -> bool {
    const BEYOND: [&str; 3] = ["is empty", " bytes", "(limits."];
    matches!(error.code, ErrorCode::InvalidSchema | ErrorCode::ReplyForbidden | ErrorCode::UnknownTask)
        || BEYOND.iter().any(|text| error.message.contains(text))
}

/// Whether both take it.
fn agrees(reader: &RequestReader, name: &str, validator: &Validator, payload: &Value) -> Result<bool, TestCaseError> {
    let fits = validator.is_valid(payload);
    let read = read(reader, name, payload);
    match &read {
        Ok(()) => prop_assert!(fits, "{name}: the parser takes what the schema refuses: {payload}"),
        Err(error) => prop_assert!(
            !fits || is_beyond_schemas(error),
            "{name}: the schema takes what the parser refuses, {error}: {payload}"
        ),
    }
    Ok(read.is_ok())
}

#[test]
fn the_parser_takes_what_the_schemas_take() {
    let reader = reader();
    for NamedSchema { name, schema } in of_sent() {
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let taken = Cell::new(0);
        let runs = Runs { cases: CASES, failure_persistence: None, ..Runs::default() };
        // The same messages each time: how many of them are right is no matter of luck.
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let outcome = TestRunner::new_with_rng(runs, rng).run(&messages(&schema), |payload| {
            let agreed = agrees(&reader, &name, &validator, &payload)?;
            taken.set(taken.get() + u32::from(agreed));
            Ok(())
        });
        assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
        let taken = taken.get();
        assert!((CASES / 100..CASES).contains(&taken), "{name}: {taken} of {CASES} messages are right");
    }
}

#[test]
fn the_parser_takes_every_example_that_gets_a_result() {
    let reader = reader();
    for example in sent_examples() {
        match (read(&reader, example.message, &example.payload), example.answer) {
            (Ok(()), _) => {}
            (Err(error), "result" | "text") => panic!("{}, {}: {error}", example.message, example.name),
            (Err(error), code) => assert_eq!(error.code.as_str(), code, "{}", example.name),
        }
    }
}

#[test]
fn a_text_alone_is_taken_where_the_contract_offers_it() {
    let reader = reader();
    let topics = topics();
    let offered = topics["components"]["messages"]["request-text"]["x-tasks"].as_array().unwrap();
    let text = InboundMessage::plain("some text");
    let tasks = of_sent().into_iter().filter_map(|schema| Some(schema.name.strip_prefix("request-")?.to_owned()));
    for task in tasks.filter(|task| task != "fetch") {
        let taken = reader.read(&task, ClientName::new("cam").unwrap(), &text, || RequestId::new("made").unwrap());
        assert_eq!(taken.is_ok(), offered.contains(&json!(task)), "{task}");
    }
    assert!(offered.len() > 3 && !offered.contains(&json!("rerank")));
}

#[test]
fn each_knows_the_same_fields() {
    let reader = reader();
    let all: Vec<NamedSchema> = of_sent();
    let names = all.iter().flat_map(|schema| schema.schema["properties"].as_object().unwrap().keys());
    let names: BTreeSet<&String> = names.collect();
    let unknown = ["unknown field", "has no field", "takes no", "takes \"input\" or", "not supported"];
    for NamedSchema { name, schema } in &all {
        for field in &names {
            let error = read(&reader, name, &json!({ (field.as_str()): { "never": "right" } })).err();
            let refused = error.is_some_and(|error| unknown.iter().any(|text| error.message.contains(text)));
            let known = schema["properties"].get(field.as_str()).is_some();
            assert!(known != refused, "{name}: {field}: in the schema: {known}, unknown to the parser: {refused}");
        }
    }
}
