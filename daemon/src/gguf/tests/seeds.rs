//! What fuzzing starts from: files that pass, one for each way through the reader.

use std::fs;
use std::path::Path;

use super::read;
use super::writer::{Writer, boolean, string, strings, u32, u32s};

/// Writes the files anew instead of comparing them.
const WRITE: &str = "PROMPTD_WRITE_SEEDS";

fn seeds() -> [(&'static str, Writer); 6] {
    let heads = [("attention.head_count", u32(2))];
    let moe = [("attention.head_count", u32(2)), ("expert_count", u32(4)), ("expert_used_count", u32(2))];
    let layers = [
        ("attention.head_count", u32s([2, 2, 1, 1])),
        ("attention.head_count_kv", u32s([1, 2, 1, 1])),
        ("feed_forward_length", u32s([10, 40, 30, 20])),
        ("attention.sliding_window", u32(128)),
    ];
    let state = [("ssm.conv_kernel", u32(4)), ("ssm.inner_size", u32(128)), ("ssm.state_size", u32(16))];
    let encoder = Writer::of("bert", &heads)
        .key("bert.pooling_type", u32(2))
        .key("bert.attention.causal", boolean(0))
        .key("bert.classifier.output_labels", strings(["O", "B-PER"]))
        .tensor("cls.output.weight", &[64, 2], 0, 64 * 2 * 4);
    [
        ("llama", Writer::model().key("tokenizer.chat_template", string("{{ messages[0].content }}"))),
        ("aligned", Writer { alignment: 64, ..Writer::model() }.key("general.alignment", u32(64))),
        ("experts", Writer::of("qwen3moe", &moe)),
        ("layers", Writer::of("openelm", &layers)),
        ("recurrent", Writer::of("mamba", &state)),
        ("encoder", encoder),
    ]
}

#[test]
fn the_files_of_the_corpus_are_those_that_the_writer_makes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/gguf");
    for (name, writer) in seeds() {
        let bytes = writer.bytes();
        let facts = read(&bytes).and_then(|gguf| gguf.facts());
        assert!(facts.is_ok(), "{name}: {}", facts.unwrap_err());
        let path = folder.join(name);
        if std::env::var_os(WRITE).is_some() {
            fs::write(&path, &bytes).unwrap();
        }
        assert!(
            fs::read(&path).unwrap() == bytes,
            "{} is not what the writer makes; {WRITE}=1 writes it",
            path.display()
        );
    }
}
