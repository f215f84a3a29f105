//! Parts of texts that a model that generates text has found: nothing in them is invented.

use serde_json::{Value, json};

use crate::harness::{Broker, Device, Node, Setup};

/// Texts in several scripts, with characters that JSON escapes and such that take several bytes or code points.
const TEXTS: [&str; 6] = [
    "Anna Schmidt flew from Berlin to Paris on 3 May.",
    "🦀 Zoë said: \"Meet me at the café\\bar\" — 5 €.",
    "שלום, שמי דנה ואני גרה בתל אביב.",
    "山田さんは東京から大阪へ行きました。",
    "👩‍🚀 Mae Jemison\tflew\nwith Endeavour.",
    "x",
];

/// The part of a text from one code point to another.
fn part(text: &str, value: &Value) -> String {
    let place = |key: &str| usize::try_from(value[key].as_u64().unwrap_or_else(|| panic!("{value}"))).unwrap();
    text.chars().skip(place("start")).take(place("end") - place("start")).collect()
}

fn check_score(value: &Value) {
    let score = value["score"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&score), "{value}");
}

#[tokio::test]
async fn entities_and_answers_are_parts_of_the_text() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, Setup { sequences: 4, context: 512, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let types = ["PERSON", "CITY", "a \"thing\""];
    let mut found = 0;
    for (number, text) in TEXTS.into_iter().enumerate() {
        let request = json!({ "id": format!("e{number}"), "input": text, "types": types, "max_tokens": 100 });
        let reply = device.answer("extract", request).await;
        let entities = reply["output"].as_array().unwrap_or_else(|| panic!("{reply}"));
        let mut last = 0;
        for entity in entities {
            assert_eq!(entity["text"], part(text, entity), "{reply}");
            assert!(types.contains(&entity["type"].as_str().unwrap()), "{reply}");
            assert!(
                entity["start"].as_u64().unwrap() >= last,
                "in the order of the text, apart from each other: {reply}"
            );
            last = entity["end"].as_u64().unwrap();
            check_score(entity);
        }
        found += entities.len();
        let request =
            json!({ "id": format!("a{number}"), "question": "Who is it about?", "context": text, "max_tokens": 40 });
        let reply = device.answer("answer", request).await;
        assert_eq!(reply["event"], "result", "{reply}");
        let output = &reply["output"];
        check_score(output);
        if output["text"].is_null() {
            assert!(output["start"].is_null() && output["end"].is_null(), "{reply}");
        } else {
            assert_eq!(output["text"], part(text, output), "{reply}");
        }
    }
    assert!(found > 0, "in six texts");
    let question = "What is the capital of France?";
    let request =
        json!({ "id": "paris", "question": question, "context": "The capital of France is Paris. It is large." });
    let reply = device.answer("answer", request).await;
    assert!(reply["output"]["text"].as_str().unwrap_or_default().contains("Paris"), "{reply}");
}

#[tokio::test]
async fn what_cannot_be_searched_is_named() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, Setup { sequences: 1, context: 512, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let long = "word ".repeat(3000);
    for (number, (task, request, code, part)) in [
        ("answer", json!({ "question": "Who?", "context": " " }), "invalid_request", "field \"context\" is empty"),
        ("answer", json!({ "question": "Who?" }), "invalid_request", "\"context\" is missing"),
        ("answer", json!({ "context": "c" }), "invalid_request", "\"question\" is missing"),
        ("answer", json!({ "question": "Who?", "context": long }), "context_overflow", "the context holds 512"),
        ("extract", json!({ "input": long, "types": ["A"] }), "context_overflow", "the context holds 512"),
        ("extract", json!({ "inputs": ["a", "b"], "types": ["A"] }), "no_model", "it needs one that"),
        ("extract", json!({ "input": "a", "types": [] }), "invalid_request", "field \"types\" has 0 entries"),
        (
            "extract",
            json!({ "input": "a", "types": ["A"], "schema": {} }),
            "invalid_request",
            "has no field \"schema\"",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut request = request;
        request["id"] = json!(number.to_string());
        let reply = device.answer(task, request).await;
        assert!(reply["code"] == code && reply["message"].as_str().unwrap().contains(part), "{number}: {reply}");
    }
}
