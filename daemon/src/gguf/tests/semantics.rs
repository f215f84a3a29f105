//! Files of the right form whose numbers llama.cpp would abort on.

use super::refusal;
use super::writer::{Writer, array, boolean, f32, string, strings, typed, u32, u32s};
use crate::gguf::ValueType;

/// The model with one key set.
fn set(key: &str, value: Vec<u8>) -> Writer {
    Writer::model().key(key, value)
}

/// The model as one of another architecture.
fn as_architecture(name: &str) -> Writer {
    let mut writer = Writer::model().key("general.architecture", string(name));
    for (key, _) in &mut writer.keys {
        if let Some(suffix) = key.strip_prefix(b"llama.") {
            *key = [name.as_bytes(), b".", suffix].concat();
        }
    }
    writer
}

/// The model with experts.
fn with_experts(count: u32, used: u32) -> Writer {
    set("llama.expert_count", u32(count)).key("llama.expert_used_count", u32(used))
}

fn check(cases: Vec<(Writer, &str)>) {
    for (index, (writer, message)) in cases.into_iter().enumerate() {
        let refusal = refusal(&writer.bytes());
        assert!(refusal.contains(message), "case {index}: {refusal:?} lacks {message:?}");
    }
}

fn i32s(values: impl IntoIterator<Item = i32>) -> Vec<u8> {
    array(ValueType::I32, values.into_iter().map(|value| value.to_le_bytes().to_vec()))
}

#[test]
fn numbers_of_the_model() {
    let u64_typed = |value: u64| typed(ValueType::U64, &value.to_le_bytes());
    check(vec![
        (Writer::model().without("general.architecture"), "key 'general.architecture' is missing"),
        (set("general.architecture", u32(1)), "'general.architecture' is u32, expected is str"),
        (set("general.architecture", string("")), "is ''; allowed is 1 to 64 letters"),
        (set("general.architecture", string("a b")), "is 'a b'; allowed is 1 to 64 letters"),
        (set("general.architecture", string("clip")), "an image projector"),
        (set("split.count", typed(ValueType::U16, &[3, 0])), "this is one of 3 parts"),
        (Writer::model().without("llama.context_length"), "key 'llama.context_length' is missing"),
        (set("llama.context_length", u32(0)), "'llama.context_length' is 0; allowed is 1 to 2147483647"),
        (set("llama.context_length", u64_typed(2048)), "'llama.context_length' is u64, expected is u32"),
        (Writer::model().without("llama.embedding_length"), "key 'llama.embedding_length' is missing"),
        (set("llama.embedding_length", u32(0)), "'llama.embedding_length' is 0; allowed is 1 to 262144"),
        (Writer::model().without("llama.block_count"), "key 'llama.block_count' is missing"),
        (set("llama.block_count", u32(0)), "'llama.block_count' is 0; allowed is 1 to 512"),
        (set("llama.block_count", u32(513)), "'llama.block_count' is 513; allowed is 1 to 512"),
        (set("llama.nextn_predict_layers", u32(3)), "'llama.nextn_predict_layers' is 3; allowed is 0 to 2"),
        (set("llama.attention.head_count", u32(0)), "'llama.attention.head_count' is 0; allowed is 1 to 16384"),
        (set("llama.attention.head_count", u32s([2, 0])), "'llama.attention.head_count' is 0; allowed is 1 to 16384"),
        (set("llama.attention.head_count", u32s([2])), "is 1 elements long; allowed is 2 elements"),
        (set("llama.attention.head_count", i32s([2, -2])), "is -2; allowed is not negative"),
        (
            set("llama.attention.head_count_kv", u32(3)),
            "'llama.attention.head_count_kv' is 3; allowed is a divisor of the 2 heads",
        ),
        (
            set("llama.attention.head_count_kv", u32s([1, 2])),
            "is 1 in layer 0 and 2 in layer 1; allowed is one number for all layers",
        ),
        (
            set("llama.attention.head_count", u32s([2, 4])),
            "is 2 in layer 0 and 4 in layer 1; allowed is one number for all layers",
        ),
        (set("llama.attention.head_count_kv", strings(["1", "1"])), "is arr[str, 2], expected is u32, or an array"),
        (set("llama.attention.key_length", u32(0)), "'llama.attention.key_length' is 0; allowed is 1 to 16384"),
        (
            set("llama.attention.value_length", u32(16)),
            "'llama.attention.value_length' is 16; allowed is the key length 32",
        ),
        (set("llama.rope.dimension_count", u32(31)), "'llama.rope.dimension_count' is 31; allowed is an even number"),
        (
            set("llama.rope.dimension_count", u32(16)),
            "'llama.rope.dimension_count' is 16; allowed is the key length 32",
        ),
        (
            as_architecture("gemma3").key("gemma3.rope.dimension_count", u32(34)),
            "is 34; allowed is 0 to the key length 32",
        ),
        (as_architecture("gemma3").key("gemma3.rope.dimension_count", u32(16)), "accepted"),
        (set("llama.rope.scaling.type", string("spiral")), "is 'spiral'; allowed is none, linear, yarn, longrope"),
        (set("llama.rope.freq_base", f32(f32::NAN)), "'llama.rope.freq_base' is NaN; allowed is a number"),
        (set("llama.attention.layer_norm_rms_epsilon", f32(-1.0)), "is -1; allowed is 0 to 1"),
        (set("llama.attention.causal", u32(1)), "'llama.attention.causal' is u32, expected is bool"),
        (set("llama.pooling_type", u32(5)), "'llama.pooling_type' is 5; allowed is 0 to 4"),
        (set("llama.attention.sliding_window", u32(1 << 31)), "is 2147483648; allowed is 0 to 4194304"),
        (as_architecture("gemma4").key("gemma4.attention.shared_kv_layers", u32(1)), "is 1; allowed is 0 to 0"),
    ]);
}

#[test]
fn numbers_of_experts() {
    check(vec![
        (with_experts(1025, 1), "'llama.expert_count' is 1025; allowed is 0 to 1024"),
        (with_experts(8, 0), "'llama.expert_used_count' is 0; allowed is 1 to 8 of 8 experts"),
        (with_experts(8, 9), "'llama.expert_used_count' is 9; allowed is 1 to 8 of 8 experts"),
        (with_experts(0, 2), "'llama.expert_used_count' is 2; allowed is 0 to 0 of 0 experts"),
        (
            with_experts(8, 2).key("llama.expert_group_count", u32(8)),
            "is 8; allowed is less than and a divisor of the 8",
        ),
        (
            with_experts(8, 2).key("llama.expert_group_count", u32(3)),
            "is 3; allowed is less than and a divisor of the 8",
        ),
        (
            with_experts(8, 2).key("llama.expert_group_count", u32(4)),
            "'llama.expert_group_used_count' is 0; allowed is 1 to 3",
        ),
        (with_experts(8, 2).key("llama.expert_gating_func", u32(9)), "is 9; allowed is 0 to 4"),
        (set("llama.expert_group_count", u32(1)), "'llama.expert_group_count' is 1"),
        (with_experts(8, 2), "accepted"),
        (set("llama.expert_count", u32(8)).key("llama.expert_used_count", u32s([2, 3])), "accepted"),
        (
            with_experts(8, 2).key("llama.expert_group_count", u32(4)).key("llama.expert_group_used_count", u32(2)),
            "accepted",
        ),
    ]);
}

#[test]
fn architectures_without_attention_may_have_no_heads() {
    for name in ["mamba", "lfm2", "deci"] {
        assert_eq!(
            refusal(&as_architecture(name).key(format!("{name}.attention.head_count"), u32(0)).bytes()),
            "accepted"
        );
    }
    assert_eq!(refusal(&as_architecture("gemma3").key("gemma3.attention.value_length", u32(16)).bytes()), "accepted");
}

/// A vocabulary of the kind `llama` with a token for every byte and some words.
fn sentencepiece(skip: Option<u8>) -> Writer {
    let words = ["<unk>", "<s>", "</s>"].map(str::to_owned);
    let bytes = (0..=u8::MAX).filter(|byte| Some(*byte) != skip).map(|byte| format!("<0x{byte:02X}>"));
    Writer::model()
        .key("tokenizer.ggml.model", string("llama"))
        .key("tokenizer.ggml.tokens", strings(words.into_iter().chain(bytes)))
        .without("tokenizer.ggml.token_type")
}

/// A vocabulary of the kind `bert`.
fn wordpiece(tokens: u32) -> Writer {
    Writer::model()
        .key("tokenizer.ggml.model", string("bert"))
        .key("tokenizer.ggml.tokens", strings((0..tokens).map(|index| format!("w{index}"))))
        .without("tokenizer.ggml.token_type")
}

#[test]
fn the_vocabulary() {
    let tokens = |values: &[&[u8]]| set("tokenizer.ggml.tokens", strings(values)).without("tokenizer.ggml.token_type");
    let floats = |count| array(ValueType::F32, vec![0_f32.to_le_bytes().to_vec(); count]);
    check(vec![
        (Writer::model().without("tokenizer.ggml.model"), "key 'tokenizer.ggml.model' is missing"),
        (set("tokenizer.ggml.model", string("none")), "'tokenizer.ggml.model' is 'none', so that no text can be read"),
        (Writer::model().without("tokenizer.ggml.tokens"), "key 'tokenizer.ggml.tokens' is missing"),
        (
            set("tokenizer.ggml.tokens", u32s([1])),
            "'tokenizer.ggml.tokens' is arr[u32, 1], expected is an array of str",
        ),
        (tokens(&[]), "'tokenizer.ggml.tokens' is 0 elements long; allowed is at least 1 element"),
        (tokens(&[b"a", b"b", b"a"]), "unusable: of 3 tokens, 0 and 2 are the same"),
        (tokens(&[b"a", b"a\0b"]), "of 2 tokens, 0 and 1 are the same"),
        (tokens(&[b"[EMPTY_1]", b""]), "of 2 tokens, 0 and 1 are the same"),
        (tokens(&[b"", b"", b"\xff\xfe"]), "accepted"),
        (
            set("tokenizer.ggml.scores", floats(11)),
            "'tokenizer.ggml.scores' is 11 elements long; allowed is 12 elements",
        ),
        (set("tokenizer.ggml.scores", floats(13)), "accepted"),
        (set("tokenizer.ggml.scores", strings(["1"])), "is arr[str, 1], expected is an array of f32 or i32"),
        (set("tokenizer.ggml.token_type", u32s([1; 12])), "is arr[u32, 12], expected is an array of i32"),
        (set("tokenizer.ggml.token_type", i32s([1; 11])), "is 11 elements long; allowed is 12 elements, one a token"),
        (Writer::model().without("tokenizer.ggml.merges"), "key 'tokenizer.ggml.merges' is missing"),
        (
            set("tokenizer.ggml.merges", u32s([1])),
            "'tokenizer.ggml.merges' is arr[u32, 1], expected is an array of str",
        ),
        (
            set("tokenizer.ggml.bos_token_id", i32s([1])),
            "'tokenizer.ggml.bos_token_id' is arr[i32, 1], expected is u32",
        ),
        (set("tokenizer.ggml.add_bos_token", u32(1)), "'tokenizer.ggml.add_bos_token' is u32, expected is bool"),
        (
            set("tokenizer.ggml.suppress_tokens", u32(1)),
            "'tokenizer.ggml.suppress_tokens' is u32, expected is an array",
        ),
        (set("tokenizer.ggml.precompiled_charsmap", string("x")), "is str, expected is an array of i8 or u8"),
        (wordpiece(200).key("tokenizer.ggml.token_type", i32s([6; 200])), "a token has the type BYTE"),
        (wordpiece(200), "accepted"),
        (sentencepiece(None), "accepted"),
        (sentencepiece(Some(0xff)), "accepted"),
        (sentencepiece(Some(0x0a)), "it has no token '<0x0A>', so that some texts cannot be read"),
        (sentencepiece(Some(0xe2)), "it has no token '<0xE2>'"),
    ]);
}

#[test]
fn a_token_that_every_text_gets_must_exist() {
    let bos = |kind: &str| {
        Writer::model().key("tokenizer.ggml.model", string(kind)).key("tokenizer.ggml.add_bos_token", boolean(1))
    };
    check(vec![
        (
            wordpiece(102),
            "every text gets a sep token, but 'tokenizer.ggml.seperator_token_id' names none of the 102 tokens",
        ),
        (wordpiece(50), "every text gets a bos token"),
        (
            wordpiece(50).key("tokenizer.ggml.bos_token_id", u32(1)).key("tokenizer.ggml.seperator_token_id", u32(2)),
            "accepted",
        ),
        (bos("gpt2"), "accepted"),
        (bos("t5"), "every text gets a bos token, but 'tokenizer.ggml.bos_token_id' names none of the 12 tokens"),
        (bos("t5").key("tokenizer.ggml.bos_token_id", u32(3)), "accepted"),
        (bos("t5").key("tokenizer.ggml.bos_token_id", u32(12)), "names none of the 12 tokens"),
        (bos("gemma4").key("tokenizer.ggml.add_bos_token", boolean(0)), "every text gets a bos token"),
        (bos("gemma4").key("tokenizer.ggml.bos_token_id", u32(2)), "accepted"),
        (set("tokenizer.ggml.bos_token_id", u32(u32::MAX)), "accepted"),
    ]);
}
