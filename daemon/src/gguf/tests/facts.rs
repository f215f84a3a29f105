//! What is known of a model after its header was read.

use super::read;
use super::writer::{Writer, boolean, string, u32, u32s};
use crate::gguf::{Cache, ModelFacts, Pooling};
use crate::job::Precision;

fn facts(writer: &Writer) -> ModelFacts {
    read(&writer.bytes()).unwrap().facts().unwrap()
}

#[test]
fn of_a_small_model() {
    let facts = facts(&Writer::model());
    assert_eq!(facts.name.as_deref(), Some("Tiny"));
    assert_eq!((facts.architecture.as_str(), facts.file_type.as_str()), ("llama", "Q4_1"));
    assert_eq!(facts.precision, Precision::Int4);
    assert_eq!(facts.parameters, 64 * 12 + 64 + 64 * 64);
    let weights: Vec<(&str, u64)> = facts.weights.iter().map(|entry| (entry.kind.name(), entry.bytes)).collect();
    assert_eq!(weights, [("Q4_1", 2560), ("Q8_0", 816), ("F32", 256)]);
    assert_eq!(facts.weight_bytes(), 2560 + 816 + 256);
    assert_eq!((facts.n_layer, facts.n_embd, facts.n_ff, facts.n_head), (2, 64, 96, 2));
    assert_eq!((facts.n_head_kv.as_slice(), facts.key_length, facts.value_length), (&[1, 1][..], 32, 32));
    assert_eq!((facts.n_ctx_train, facts.n_vocab), (2048, 12));
    assert_eq!((facts.cache, facts.sliding_window), (Cache::Attention, None));
    assert_eq!((facts.chat_template, facts.pooling, facts.causal), (false, None, true));
}

#[test]
fn the_type_with_most_bytes_gives_the_precision() {
    let cases = [
        (0, 64 * 64 * 4, Precision::F16, "F32"),
        (1, 64 * 64 * 2, Precision::F16, "F16"),
        (30, 64 * 64 * 2, Precision::F16, "BF16"),
        (8, 64 * 64 / 32 * 34, Precision::Int8, "Q8_0"),
        (7, 64 * 64 / 32 * 24, Precision::Int4, "Q5_1"),
        (2, 64 * 64 / 32 * 18, Precision::Int4, "Q4_0"),
    ];
    for (code, bytes, precision, name) in cases {
        let mut writer = Writer::model().without("general.file_type");
        writer.tensors[2].code = code;
        writer.tensors[2].bytes = bytes;
        let facts = facts(&writer);
        assert_eq!((facts.precision, facts.file_type.as_str()), (precision, name));
    }
    let labels = [Precision::Int4, Precision::Int8, Precision::F16].map(|precision| precision.to_string());
    assert_eq!(labels, ["int4", "int8", "f16"]);
    assert!(Precision::Int4 < Precision::Int8 && Precision::Int8 < Precision::F16);
}

#[test]
fn heads_may_differ_from_layer_to_layer() {
    let facts = facts(&Writer::of(
        "openelm",
        &[
            ("attention.head_count", u32s([4, 6, 8, 8])),
            ("attention.head_count_kv", u32s([1, 2, 2, 4])),
            ("attention.key_length", u32(16)),
            ("attention.value_length", u32(8)),
            ("feed_forward_length", u32s([10, 40, 30, 20])),
        ],
    ));
    assert_eq!((facts.n_head, facts.n_head_kv.as_slice()), (8, &[1, 2, 2, 4][..]));
    assert_eq!((facts.key_length, facts.value_length, facts.n_ff), (16, 8, 40));
}

#[test]
fn heads_that_are_not_said_follow_from_the_others() {
    let facts = facts(&Writer::of("gpt2", &[("attention.head_count", u32(8))]));
    assert_eq!((facts.n_head_kv.as_slice(), facts.key_length, facts.value_length), (&[8; 4][..], 8, 8));
}

#[test]
fn layers_that_cache_nothing_have_no_heads() {
    let heads = |architecture: &str, more: &[(&str, Vec<u8>)]| {
        let base = [("attention.head_count", u32(4)), ("attention.head_count_kv", u32(2))];
        let facts = facts(&Writer::of(architecture, &[&base, more].concat()));
        (facts.n_head_kv, facts.cache)
    };
    assert_eq!(heads("llama", &[]), (vec![2; 4], Cache::Attention));
    assert_eq!(heads("llama", &[("nextn_predict_layers", u32(1))]), (vec![2, 2, 2, 0], Cache::Attention));
    assert_eq!(heads("llama", &[("nextn_predict_layers", u32(4))]), (vec![2; 4], Cache::Attention));
    assert_eq!(heads("gemma4", &[("attention.shared_kv_layers", u32(2))]), (vec![2, 2, 0, 0], Cache::Attention));
    assert_eq!(heads("bert", &[]), (vec![0; 4], Cache::None));
    assert_eq!(heads("mamba", &[]), (vec![0; 4], Cache::Recurrent));
    let uneven = [("attention.head_count_kv", u32s([0, 2, 0, 2]))];
    assert_eq!(heads("lfm2", &uneven), (vec![0, 2, 0, 2], Cache::Hybrid));
}

#[test]
fn of_an_encoder() {
    let facts = facts(&Writer::of(
        "bert",
        &[("attention.head_count", u32(2)), ("attention.causal", boolean(0)), ("pooling_type", u32(1))],
    ));
    assert_eq!((facts.causal, facts.pooling, facts.cache), (false, Some(Pooling::Mean), Cache::None));
    assert_eq!(facts.n_labels, 0, "a name without a head");
    let unspecified = Writer::of("bert", &[("attention.head_count", u32(2)), ("pooling_type", u32(u32::MAX))]);
    assert_eq!(super::facts::facts(&unspecified).pooling, None);
}

#[test]
fn of_experts() {
    let facts = facts(&Writer::of(
        "qwen3moe",
        &[
            ("attention.head_count", u32(2)),
            ("feed_forward_length", u32(100)),
            ("expert_feed_forward_length", u32(30)),
            ("expert_shared_feed_forward_length", u32(7)),
            ("expert_count", u32(8)),
            ("expert_used_count", u32(4)),
        ],
    ));
    assert_eq!(facts.n_ff, 4 * 30 + 7, "what one token passes through");
}

#[test]
fn small_things() {
    let writer = Writer::model()
        .key("tokenizer.chat_template", string("{{ messages }}"))
        .key("llama.attention.sliding_window", u32(512))
        .key("general.file_type", u32(15));
    let facts = facts(&writer);
    assert!(facts.chat_template);
    assert_eq!((facts.sliding_window, facts.file_type.as_str()), (Some(512), "Q4_K_M"));
}
