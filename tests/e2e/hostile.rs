//! Prompts that nobody means well with: the engine must survive each, and answer afterwards.

use serde_json::json;

use crate::harness::{Broker, Device, Node, Send, Setup, model};

#[tokio::test]
async fn no_prompt_kills_the_engine() {
    let broker = Broker::start().await;
    // Escaped as JSON some of them grow.
    let tables = "[limits]\nrequest = \"2MiB\"".to_owned();
    let mqtt = "packet_max = \"4MiB\"".to_owned();
    let node = Node::ready(&broker, Setup { sequences: 1, context: 8192, tables, mqtt, ..Setup::default() }).await;
    let engine = node.engines();
    let mut device = Device::connect(&broker, "dev").await;
    let size = 200_000;
    let texts = [
        ("one letter", "a".repeat(size)),
        ("digits", "7".repeat(size)),
        ("blanks", format!("x{}", " ".repeat(size))),
        ("line ends", format!("x{}", "\n".repeat(size))),
        ("marks", "!".repeat(size)),
        ("emoji", "🦀".repeat(size / 4)),
        ("combining marks", "\u{301}".repeat(size / 2)),
        ("apostrophes", "'s".repeat(size / 2)),
        ("control tokens", "<|im_start|>".repeat(size / 12)),
        ("parts of control tokens", "<|im_".repeat(size / 5)),
        ("noncharacters", ('\u{fdd0}'..'\u{fdef}').cycle().take(size / 3).collect()),
        ("controls", "\u{1}\u{7f}".repeat(size / 2)),
    ];
    for (index, (what, text)) in texts.into_iter().enumerate() {
        // A short piece is answered, a long one may be refused.
        let short: String = text.chars().take(100).collect();
        let reply =
            device.answer("generate", json!({ "id": format!("s{index}"), "prompt": short, "max_tokens": 1 })).await;
        assert!(reply["event"] == "result", "{what}: {reply}");
        let long = json!({ "id": format!("l{index}"), "prompt": text, "max_tokens": 1, "deadline_ms": 1000 });
        let reply = device.answer("generate", long).await;
        let fine = reply["event"] == "result"
            || ["context_overflow", "deadline_exceeded"].contains(&reply["code"].as_str().unwrap_or_default());
        assert!(fine, "{what}: {reply}");
    }
    let everything: String = ('\u{fdd0}'..='\u{fdef}').collect();
    let reply = device.answer("generate", json!({ "id": "all", "prompt": everything, "max_tokens": 1 })).await;
    assert_eq!(reply["code"], "invalid_request", "{reply}");
    assert_eq!(node.engines(), engine, "the same engine all the time:\n{}", node.log());
}

/// Most tokenizers of llama.cpp split text by `std::regex`, which recurses once for each character; `SmolLM2`'s does not. So
/// its file is made to ask for one of those.
#[tokio::test]
async fn a_recursive_tokenizer_has_room_on_its_stack() {
    let mut bytes = std::fs::read(model()).unwrap();
    let key = b"tokenizer.ggml.pre";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len();
    let name = at + bytes[at..at + 64].windows(6).position(|window| window == b"smollm").unwrap();
    bytes[name..name + 6].copy_from_slice(b"tekken");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tekken.gguf");
    std::fs::write(&file, bytes).unwrap();

    let broker = Broker::start().await;
    let table = format!("[[model]]\nname = \"main\"\nfiles = [{{ path = {file:?} }}]\nthreads = 1\ncontext = 8192");
    let node = Node::ready(&broker, Setup { with_model: false, tables: table, ..Setup::default() }).await;
    let engine = node.engines();
    let mut device = Device::connect(&broker, "dev").await;
    for (index, text) in ["a", "A", "1", " ", "!", "ä"].into_iter().enumerate() {
        let prompt = format!("x{}", text.repeat(250_000 / text.len()));
        let request = json!({ "id": format!("{index}"), "prompt": prompt, "max_tokens": 1, "deadline_ms": 1000 });
        let reply = device.answer("generate", request).await;
        assert_ne!(reply["code"], "engine_failed", "{text:?}: {reply}");
    }
    assert_eq!(node.engines(), engine, "the same engine all the time:\n{}", node.log());
}

/// The topic's client is no name, so that nobody can be answered and only the log tells of it.
#[tokio::test]
async fn who_floods_the_node_does_not_fill_its_log() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 1, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let nobody = || Send::new("promptd/gw/request/generate/no name", "Hi");
    for _ in 0..500 {
        device.send(nobody()).await;
    }
    // Messages of one device arrive in order: this one after all of those.
    let reply = device.answer("generate", json!({ "id": "after", "prompt": "Hi", "max_tokens": 1 })).await;
    assert_eq!(reply["event"], "result", "{reply}");
    let logged = node.log().matches("unusable topic was dropped").count();
    assert!((1..100).contains(&logged), "{logged} lines");
    // When there is room for one again the log says what is missing.
    for turn in 0.. {
        device.send(nobody()).await;
        device.answer("generate", json!({ "id": turn.to_string(), "prompt": "Hi", "max_tokens": 1 })).await;
        if node.log().contains("messages like the next one were left out") {
            break;
        }
    }
    assert!(node.log().matches("unusable topic was dropped").count() < 100, "{}", node.log());
}
