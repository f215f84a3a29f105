//! Texts that the context does not hold.

use serde_json::json;

use crate::harness::{Broker, Device, Node, Setup};

/// A report of so many bytes in paragraphs of different sentences.
fn report(bytes: usize) -> String {
    let mut text = String::new();
    for number in 0.. {
        if text.len() >= bytes {
            break;
        }
        let (pump, hall, degrees) = (number % 7, number % 5, 60 + number % 30);
        let day =
            format!("On day {number} the pump {pump} in hall {hall} ran at {degrees} °C. It was inspected later. ");
        text.push_str(&day);
        text += if number % 4 == 3 { "\n\n" } else { "" };
    }
    text
}

#[tokio::test]
async fn a_text_of_several_contexts_is_summarized_in_parts() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 4, context: 512, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    // About 3 bytes a token: five contexts.
    let text = report(8_000);
    let request = json!({ "id": "s", "input": text, "max_tokens": 40, "stream": true });
    device.ask("summarize", &request).await;
    let mut told = String::new();
    let reply = loop {
        let reply = device.next().await.json;
        match reply["event"].as_str() {
            Some("delta") => told += reply["text"].as_str().unwrap(),
            Some("result" | "error") => break reply,
            _ => {}
        }
    };
    assert_eq!((&reply["event"], &reply["task"]), (&json!("result"), &json!("summarize")), "{reply}");
    let output = reply["output"].as_str().unwrap();
    assert!(!output.trim().is_empty() && output.len() < text.len() / 10, "{reply}");
    assert_eq!(output, told, "what is told while it is made is the answer alone");
    let tokens = reply["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(tokens > 5 * 512, "all of the text was read: {reply}");
    assert_eq!(device.answer("summarize", request).await["output"], reply["output"]);

    // As one of several inputs, and without a space in it.
    let inputs = json!([report(2_500), "The pump is hot.", "ß".repeat(1_200)]);
    let reply = device.answer("summarize", json!({ "id": "i", "inputs": inputs, "max_tokens": 20 })).await;
    let outputs = reply["output"].as_array().unwrap();
    assert!(outputs.iter().all(|item| item["output"].is_string()), "{reply}");

    let huge = device.answer("summarize", json!({ "id": "h", "input": report(1_000_000) })).await;
    assert_eq!(huge["code"], "too_large", "{huge}");
    assert!(huge["message"].as_str().unwrap().contains("(limits.request)"), "{huge}");
    // Other tasks still say that it is too long.
    let other = device.answer("translate", json!({ "id": "o", "input": report(8_000), "target_language": "fr" })).await;
    assert_eq!(other["code"], "context_overflow", "{other}");
    assert_eq!(node.operator_json(&["jobs"])["total"], 0);
}
