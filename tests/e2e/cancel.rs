//! Cancelling, wherever a job is.

use serde_json::json;

use crate::harness::{Broker, Device, Node, Send, Setup, words};

/// A prompt that takes many steps on one thread, in chunks of at most 512 tokens.
const LONG_PROMPT: usize = 3000;

#[tokio::test]
async fn a_cancel_acts_within_a_step_and_leaves_the_others_alone() {
    let broker = Broker::start().await;
    let setup = Setup {
        sequences: 2,
        context: 4096,
        tables: "[engine]\nreproducible = true\n[limits]\nmax_tokens_cap = 100000\n[service]\nlog_level = \"debug\""
            .into(),
        ..Setup::default()
    };
    let node = Node::ready(&broker, setup).await;
    let mut device = Device::connect(&broker, "dev").await;
    let short = |id: &str| json!({ "id": id, "prompt": words(30, 9), "max_tokens": 24, "ignore_eos": true });
    let undisturbed = device.answer("generate", short("before")).await["output"].clone();

    // In prefill. Neither a delta nor a result may come: the prompt was never finished. Some cancels arrive before the
    // prompt's first step; it goes on until llama.cpp has left one in the middle.
    let mut round = 0;
    while !node.log().contains("ret = 2") {
        assert!(round < 50, "no step was aborted:\n{}", node.log());
        let id = format!("prefill{round}");
        let prompt = words(LONG_PROMPT, round);
        device
            .ask("generate", &json!({ "id": id, "prompt": prompt, "max_tokens": 4, "stream": true, "ack": true }))
            .await;
        assert_eq!(device.next().await.json["event"], "accepted");
        device.send(Send::new("promptd/gw/cancel/dev", json!({ "id": id }).to_string())).await;
        let reply = device.next().await.json;
        assert_eq!((&reply["id"], &reply["code"]), (&json!(id), &json!("cancelled")), "{reply}");
        round += 1;
    }

    // In decode: the answer would be far longer than what comes.
    device
        .ask(
            "generate",
            &json!({ "id": "decode", "prompt": "Hi", "max_tokens": 4000, "ignore_eos": true, "stream": true }),
        )
        .await;
    assert_eq!(device.next().await.json["event"], "delta");
    // Another job goes on beside it.
    device.ask("generate", &short("beside")).await;
    device.send(Send::new("promptd/gw/cancel/dev", r#"{"id":"decode"}"#)).await;
    assert_eq!(device.outcome("decode").await["code"], "cancelled");
    assert_eq!(device.outcome("beside").await["output"], undisturbed, "a cancel changes nothing for others");

    // Cancelled over and over, with another one waiting for its place.
    device
        .ask(
            "generate",
            &json!({ "id": "often", "prompt": "Hi", "max_tokens": 4000, "ignore_eos": true, "stream": true }),
        )
        .await;
    assert_eq!(device.next().await.json["event"], "delta");
    let long = json!({ "id": "long", "prompt": "Hi", "max_tokens": 4000, "ignore_eos": true });
    device.ask("generate", &long).await;
    device.ask("generate", &short("waiting")).await;
    for _ in 0..50 {
        device.send(Send::new("promptd/gw/cancel/dev", r#"{"id":"often"}"#)).await;
    }
    assert_eq!(device.outcome("often").await["code"], "cancelled");
    assert_eq!(device.outcome("waiting").await["output"], undisturbed);
    device.send(Send::new("promptd/gw/cancel/dev", r#"{"id":"long"}"#)).await;
    assert_eq!(device.outcome("long").await["code"], "cancelled");

    assert_eq!(device.answer("generate", short("after")).await["output"], undisturbed, "and leaves nothing behind");
    assert!(!node.log().contains("ERROR"), "{}", node.log());
}
