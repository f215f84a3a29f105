//! Labels of a request, scored by a model that generates text.

use serde_json::{Value, json};

use crate::harness::{Broker, Device, Node, Setup, files};

/// Texts and the label of each.
const TEXTS: [(&str, &str); 4] = [
    ("The team scored two goals in the last minute of the match.", "sports"),
    ("Add two eggs and flour, stir, and bake for twenty minutes.", "cooking"),
    ("The players lost the final game of the football season.", "sports"),
    ("Boil the pasta, then fry the onions in olive oil.", "cooking"),
];

fn scores(reply: &Value) -> Vec<(String, f64)> {
    let entry = |entry: &Value| (entry["label"].as_str().unwrap().to_owned(), entry["score"].as_f64().unwrap());
    reply["output"].as_array().unwrap_or_else(|| panic!("{reply}")).iter().map(entry).collect()
}

#[tokio::test]
async fn labels_are_ordered_by_what_fits_and_share_one() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, Setup { sequences: 2, context: 512, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let mut right = 0;
    for (number, (text, label)) in TEXTS.into_iter().enumerate() {
        let request =
            json!({ "id": number.to_string(), "input": text, "labels": ["sports", "cooking", "cooking school"] });
        let reply = device.answer("classify", request).await;
        assert_eq!((&reply["event"], &reply["finish"]), (&json!("result"), &json!("stop")), "{reply}");
        let scores = scores(&reply);
        assert_eq!(scores.len(), 3, "{reply}");
        assert!(scores.windows(2).all(|pair| pair[0].1 >= pair[1].1), "by falling score: {reply}");
        assert!((scores.iter().map(|(_, score)| score).sum::<f64>() - 1.0).abs() < 1e-5, "{reply}");
        let first = |wanted: &str| scores.iter().position(|(label, _)| label == wanted);
        let other = if label == "sports" { "cooking" } else { "sports" };
        right += usize::from(first(label) < first(other));
    }
    // A small model may be wrong now and then, and not more often than right.
    assert!(right >= 3, "{right} of {}", TEXTS.len());
}

/// The scores do not depend on the order of the labels, nor on what else is computed.
#[tokio::test]
async fn scores_are_the_same_in_any_order_and_beside_other_jobs() {
    let broker = Broker::start().await;
    let tables = "[engine]\nreproducible = true".to_owned();
    let _node = Node::ready(&broker, Setup { sequences: 3, context: 512, tables, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let mut other = Device::connect(&broker, "other").await;
    let labels = ["broken machine", "broken window", "all is well", "🔥 fire"];
    let ask =
        |id: &str, labels: &[&str]| json!({ "id": id, "input": "The press has stopped and smokes.", "labels": labels });
    let alone = scores(&device.answer("classify", ask("a", &labels)).await);
    let noise = json!({ "id": "n", "prompt": "Count.", "max_tokens": 60, "ignore_eos": true });
    other.ask("generate", &noise).await;
    let mut turned = labels;
    turned.reverse();
    let beside = scores(&device.answer("classify", ask("b", &turned)).await);
    assert_eq!(other.outcome("n").await["event"], "result");
    for (label, score) in alone {
        let (_, again) = beside.iter().find(|(other, _)| *other == label).unwrap();
        assert!((score - again).abs() < 1e-5, "{label}: {score}, {again}");
    }
}

#[tokio::test]
async fn what_cannot_be_scored_is_named() {
    let broker = Broker::start().await;
    let tables = format!(
        "[[model]]\nname = \"head\"\nfiles = [{{ path = \"{}\" }}]\nthreads = 1\n",
        files::classifier().display()
    );
    let setup = Setup { sequences: 1, context: 512, model: "default = true".to_owned(), tables, ..Setup::default() };
    let _node = Node::ready(&broker, setup).await;
    let mut device = Device::connect(&broker, "dev").await;
    let many: Vec<String> = (0..10_000).map(|number| format!("label {number}")).collect();
    for (number, (fields, code, part)) in [
        (json!({ "labels": many }), "invalid_request", "field \"labels\" has 10000 texts; allowed are 2 to 64"),
        (json!({ "labels": ["one"] }), "invalid_request", "field \"labels\" has 1 texts; allowed are 2 to 64"),
        (json!({ "labels": ["a", "a"] }), "invalid_request", "field \"labels[1]\" is there twice"),
        (json!({ "labels": ["a", " "] }), "invalid_request", "field \"labels[1]\" is empty"),
        (json!({ "labels": ["a", 7] }), "invalid_request", "\"labels[1]\": got a number"),
        (json!({ "labels": ["a", "b".repeat(300)] }), "invalid_request", "300 bytes; allowed are 1 to 256"),
        (json!({ "labels": ["a", "b"], "model": "head" }), "invalid_request", "a model that generates text: main"),
        (json!({ "labels": ["a", "b"], "input": "long ".repeat(2000) }), "context_overflow", "the context holds 512"),
        (json!({ "labels": ["a", "b"], "max_tokens": 3 }), "invalid_request", "has no field \"max_tokens\""),
    ]
    .into_iter()
    .enumerate()
    {
        let mut request = fields;
        request["id"] = json!(number.to_string());
        if request.get("input").is_none() {
            request["input"] = json!("A text.");
        }
        let reply = device.answer("classify", request).await;
        assert!(reply["code"] == code && reply["message"].as_str().unwrap().contains(part), "{number}: {reply}");
    }
    let request = json!({ "id": "many", "inputs": ["x", "y"], "labels": ["a", "b"] });
    let reply = device.answer("classify", request).await;
    assert!(reply["message"].as_str().unwrap().contains("one \"input\" is needed"), "{reply}");
    // Without labels it is the head's.
    let reply = device.answer("classify", json!({ "id": "head", "input": "I love it!" })).await;
    assert_eq!((&reply["model"], &reply["output"][0]["label"]), (&json!("head"), &json!("POSITIVE")), "{reply}");
}

/// The shorter of the two prompts is that with the text: labels have room after the longer one, or are refused. A label that does not
/// fit would end the engine for everybody.
#[tokio::test]
async fn labels_have_room_after_both_prompts() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 1, context: 256, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let mut asked = 0;
    let mut fits = async |words: usize| {
        asked += 1;
        let request = json!({ "id": asked.to_string(), "input": "x", "labels": ["a", "zq ".repeat(words).trim_end()] });
        let reply = device.answer("classify", request).await;
        let refused = reply["code"] == "context_overflow";
        assert!(reply["event"] == "result" || refused, "{words} words: {reply}");
        !refused
    };
    let (mut enough, mut most) = (1, 85);
    assert!(fits(enough).await && !fits(most).await);
    while most - enough > 1 {
        let middle = usize::midpoint(enough, most);
        if fits(middle).await {
            enough = middle;
        } else {
            most = middle;
        }
    }
    for words in most.saturating_sub(4)..most + 4 {
        assert_eq!(fits(words).await, words <= enough, "{words} words, of which {enough} fit");
    }
    assert!(!node.log().contains("llama_decode"), "{}", node.log());
}
