//! Output that is held to a schema, to choices or to a regular expression.

use serde_json::{Value, json};

use crate::harness::{Broker, Device, Node, Setup};
use crate::tasks::define;

/// Whether a value is one of a schema.
type Fits = fn(&Value) -> bool;

/// Schemas of several kinds, and what is true of each of their values.
fn schemas() -> Vec<(Value, Fits)> {
    vec![
        (
            json!({
                "type": "object", "required": ["name", "age"], "additionalProperties": false,
                "properties": { "name": { "type": "string", "maxLength": 12 }, "age": { "type": "integer", "minimum": 0, "maximum": 120 } },
            }),
            |value| value["name"].is_string() && value["age"].as_u64().is_some_and(|age| age <= 120),
        ),
        (
            json!({ "type": "array", "minItems": 2, "maxItems": 3, "items": { "enum": ["red", "green", "blue"] } }),
            |value| {
                let items = value.as_array().unwrap();
                (2..=3).contains(&items.len())
                    && items.iter().all(|item| ["red", "green", "blue"].contains(&item.as_str().unwrap()))
            },
        ),
        (json!({ "type": "boolean" }), Value::is_boolean),
        (
            json!({
                "type": "object", "required": ["child"], "additionalProperties": false,
                "properties": { "child": { "anyOf": [{ "$ref": "#/$defs/leaf" }, { "type": "null" }] } },
                "$defs": { "leaf": { "type": "string", "pattern": "^[a-z]{2,6}$" } },
            }),
            |value| {
                value["child"].is_null() || value["child"].as_str().is_some_and(|text| (2..=6).contains(&text.len()))
            },
        ),
    ]
}

#[tokio::test]
async fn answers_have_the_form_that_was_asked_for_beside_others_that_are_free() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, Setup { sequences: 4, context: 512, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let mut other = Device::connect(&broker, "other").await;
    let prompt = "Describe a person as JSON.";
    let mut number = 0;
    for temperature in [0.0, 1.0] {
        for (schema, fits) in schemas() {
            number += 1;
            let id = format!("s{number}");
            let request = json!({
                "id": id, "prompt": prompt, "schema": schema, "temperature": temperature, "seed": number, "max_tokens": 120,
            });
            device.ask("generate", &request).await;
            other
                .ask("generate", &json!({ "id": id, "prompt": "Count to ten.", "max_tokens": 12, "ignore_eos": true }))
                .await;
            let reply = device.outcome(&id).await;
            assert_eq!((&reply["event"], &reply["finish"]), (&json!("result"), &json!("schema")), "{reply}");
            assert!(fits(&reply["output"]), "{reply}");
            let free = other.outcome(&id).await;
            assert_eq!((&free["finish"], &free["usage"]["generated_tokens"]), (&json!("length"), &json!(12)), "{free}");
        }
        let choices = ["yes", "no", "don't know", "🦀"];
        let request = json!({ "id": format!("c{number}"), "prompt": "Is water wet?", "choices": choices, "temperature": temperature });
        let reply = device.answer("generate", request).await;
        assert!(reply["finish"] == "choice" && choices.contains(&reply["output"].as_str().unwrap()), "{reply}");
        let request = json!({
            "id": format!("r{number}"), "messages": [{ "role": "user", "content": "What time is it?" }], "regex": "[0-9]{2}:[0-9]{2}",
            "temperature": temperature, "stream": true,
        });
        device.ask("chat", &request).await;
        let mut text = String::new();
        let reply = loop {
            let message = device.next().await.json;
            if message["event"] != "delta" {
                break message;
            }
            text.push_str(message["text"].as_str().unwrap());
        };
        assert!(reply["finish"] == "schema" && reply["output"] == text && text.len() == 5, "{reply}");
        assert_eq!(text.as_bytes()[2], b':', "{reply}");
    }
}

#[tokio::test]
async fn what_cannot_be_held_to_is_refused_with_the_limit() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 2, context: 512, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let many: Vec<String> = (0..4000).map(|n| format!("{n}")).collect();
    let property = |name: String| json!({ "properties": { name: { "type": "string" } } });
    let any = |n: usize| json!({ "anyOf": (0..10).map(|m| property(format!("p{n}_{m}"))).collect::<Vec<_>>() });
    let product = json!({ "type": "object", "allOf": (0..8).map(any).collect::<Vec<_>>() });
    for (number, (fields, code, part)) in [
        (json!({ "schema": { "type": "object" }, "regex": "a" }), "invalid_request", "only one of \"schema\""),
        (json!({ "schema": "object" }), "invalid_request", "field \"schema\": got a string, wanted an object"),
        (json!({ "choices": [] }), "invalid_request", "field \"choices\" has 0 texts; allowed are 1 to 1024"),
        (json!({ "choices": many }), "invalid_request", "field \"choices\" has 4000 texts; allowed are 1 to 1024"),
        (json!({ "choices": ["a", "b", "a"] }), "invalid_request", "field \"choices[2]\" is there twice"),
        (json!({ "choices": ["a", " "] }), "invalid_request", "field \"choices[1]\" is empty"),
        (json!({ "regex": "" }), "invalid_request", "field \"regex\" is empty"),
        (json!({ "regex": "(secret" }), "invalid_schema", "cannot be made into a grammar"),
        (json!({ "schema": product }), "invalid_schema", "allowed are"),
        (json!({ "regex": "x".repeat(20_000) }), "invalid_schema", "20000 bytes; allowed are 16384 (limits.schema)"),
        (json!({ "schema": { "type": "secret" } }), "invalid_schema", "is no JSON Schema at /type"),
        (json!({ "schema": { "$ref": "https://example.org/a" } }), "invalid_schema", "outside"),
        (json!({ "schema": { "type": "array", "uniqueItems": true } }), "invalid_schema", "[\"uniqueItems\"]"),
        (json!({ "schema": { "type": "integer", "minimum": 2, "maximum": 1 } }), "invalid_schema", "no value fits"),
        (
            json!({ "schema": { "type": "integer", "multipleOf": 9_999_991 } }),
            "invalid_schema",
            "allowed are 10000 units",
        ),
        (json!({ "logprobs": 6 }), "invalid_request", "field \"logprobs\" is 6; allowed are 0 to 5"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut request = fields;
        request["id"] = json!(number.to_string());
        request["prompt"] = json!("Hello");
        let reply = device.answer("generate", request).await;
        let message = reply["message"].as_str().unwrap_or_default();
        assert!(reply["code"] == code && message.contains(part) && !message.contains("secret"), "{number}: {reply}");
    }
    // The node serves as before, and nothing of it is in the log.
    let reply = device.answer("generate", json!({ "id": "last", "prompt": "Hello", "choices": ["secret word"] })).await;
    assert_eq!((&reply["output"], &reply["finish"]), (&json!("secret word"), &json!("choice")), "{reply}");
    assert!(!node.log().contains("secret"), "{}", node.log());
}

#[tokio::test]
async fn an_answer_that_is_cut_is_a_text_and_says_so() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, Setup { sequences: 1, context: 512, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let schema = json!({ "type": "array", "minItems": 50, "items": { "type": "integer" } });
    let request = json!({ "id": "a", "prompt": "Count.", "schema": schema, "max_tokens": 6, "logprobs": 2 });
    let reply = device.answer("generate", request).await;
    assert_eq!(reply["finish"], "length", "{reply}");
    assert!(reply["output"].as_str().unwrap().starts_with('['), "{reply}");
    let told = reply["logprobs"].as_array().unwrap();
    assert_eq!(told.len(), 6, "{reply}");
    let text: String = told.iter().map(|token| token["token"].as_str().unwrap()).collect();
    assert_eq!(reply["output"], text);
    for token in told {
        let top = token["top"].as_array().unwrap();
        let logprob = |value: &Value| value["logprob"].as_f64().unwrap();
        assert!(top.len() == 2 && logprob(&top[0]) >= logprob(&top[1]), "{token}");
        assert!(logprob(token) <= logprob(&top[0]) && logprob(token) <= 0.0, "{token}");
    }
    let request =
        json!({ "id": "b", "prompt": "Count.", "schema": { "type": "string", "maxLength": 20 }, "max_bytes": 3 });
    let reply = device.answer("generate", request).await;
    assert_eq!(reply["finish"], "truncated", "{reply}");
}

/// The engine has other work meanwhile, and the answer is the same.
#[tokio::test]
async fn an_answer_that_made_room_keeps_its_form() {
    let broker = Broker::start().await;
    let tables = "[engine]\nreproducible = true".to_owned();
    let _node = Node::ready(&broker, Setup { sequences: 1, context: 1024, tables, ..Setup::default() }).await;
    let mut batch = Device::connect(&broker, "batch").await;
    let mut alarm = Device::connect(&broker, "alarm").await;
    let request = |id: &str| {
        json!({
            "id": id, "prompt": "Numbers.", "schema": { "type": "array", "minItems": 40, "maxItems": 60, "items": { "type": "integer", "maximum": 9999, "minimum": 0 } },
            "max_tokens": 400, "priority": "low", "stream": true, "temperature": 0.8, "seed": 5,
        })
    };
    batch.ask("generate", &request("alone")).await;
    let alone = batch.outcome("alone").await;
    assert_eq!(alone["finish"], "schema", "{alone}");
    batch.ask("generate", &request("parked")).await;
    while batch.next().await.json["event"] != "delta" {}
    let urgent = json!({ "id": "u", "prompt": "Now?", "choices": ["yes", "no"], "priority": "high" });
    assert_eq!(alarm.answer("generate", urgent).await["finish"], "choice");
    let parked = batch.outcome("parked").await;
    assert_eq!(
        (&parked["output"], &parked["finish"], &parked["usage"]),
        (&alone["output"], &alone["finish"], &alone["usage"])
    );
}

#[tokio::test]
async fn many_forms_are_held_at_once() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, Setup { sequences: 4, context: 512, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let mut open = 0;
    for (number, (schema, _)) in schemas().into_iter().cycle().take(12).enumerate() {
        let request = json!({ "id": number.to_string(), "prompt": "Describe a person.", "schema": schema, "temperature": 1.0, "max_tokens": 120 });
        device.ask("generate", &request).await;
        device
            .ask(
                "generate",
                &json!({ "id": format!("free{number}"), "prompt": "Count.", "max_tokens": 9, "ignore_eos": true }),
            )
            .await;
        open += 2;
    }
    while open > 0 {
        let reply = device.outcome_of_any().await;
        open -= 1;
        let id = reply["id"].as_str().unwrap();
        if id.starts_with("free") {
            assert_eq!(reply["usage"]["generated_tokens"], 9, "{reply}");
            continue;
        }
        let (_, fits) = &schemas()[id.parse::<usize>().unwrap() % 4];
        assert!(reply["finish"] == "schema" && fits(&reply["output"]), "{reply}");
    }
}

#[tokio::test]
async fn tasks_that_are_data_have_a_form() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 2, context: 512, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let text = "prompt = 'Is it urgent? {{ input }}'\n[output]\nchoices = ['urgent', 'not urgent']";
    define(&node, "triage", text);
    assert!(node.operator(&["reload"]).status.success());
    let reply = device.answer("triage", json!({ "id": "a", "input": "Fire in hall 3!" })).await;
    assert!(reply["finish"] == "choice" && reply["output"].as_str().unwrap().ends_with("urgent"), "{reply}");
    let reply = device.answer("triage", json!({ "id": "b", "input": "x", "schema": {} })).await;
    assert_eq!(reply["message"], "the task \"triage\" has no field \"schema\"", "{reply}");

    let person = json!({
        "type": "object", "required": ["name", "place"], "additionalProperties": false,
        "properties": { "place": { "type": "string", "maxLength": 20 }, "name": { "type": "string", "maxLength": 20 } },
    });
    let request = json!({ "id": "c", "input": "Anna lives in Rome.", "fields": "name and place", "schema": person });
    let reply = device.answer("describe-json", request).await;
    assert!(reply["finish"] == "schema" && reply["output"]["name"].is_string(), "{reply}");
    let keys: Vec<&String> = reply["output"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["place", "name"], "in the order of the schema: {reply}");
    let reply = device.answer("describe-json", json!({ "id": "d", "input": "Anna lives in Rome." })).await;
    assert!(reply["code"] == "invalid_request" && reply["message"].as_str().unwrap().contains("is missing"), "{reply}");

    let tasks = node.operator_json(&["tasks"]);
    let output =
        |name: &str| tasks.as_array().unwrap().iter().find(|task| task["name"] == name).unwrap()["output"].clone();
    assert_eq!(output("triage"), json!({ "enum": ["urgent", "not urgent"] }));
    assert_eq!(output("translate"), json!({ "type": "string" }));
    let table = String::from_utf8(node.operator(&["tasks"]).stdout).unwrap();
    assert!(table.contains("urgent, not urgent"), "{table}");
}
