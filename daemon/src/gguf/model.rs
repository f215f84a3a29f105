//! What `llama-model.cpp` asserts of a model's numbers, checked before it can.

use super::error::excerpt;
use super::exact::out_of_range;
use super::hyper::{HYBRID, Hyper, RECURRENT};
use super::{Gguf, GgufError, experts};

/// Most attention heads in one layer; the largest models known have 192.
const HEADS_MAX: u32 = 1 << 14;

/// Widest head; the widest known (compressed attention) has 576.
const HEAD_MAX: u32 = 1 << 14;

/// Longest context that a model may claim: KV positions have 31 bits.
const CONTEXT_MAX: u32 = i32::MAX.unsigned_abs();

/// Widest sliding window: llama.cpp takes memory for it at every step, four bytes a token. The widest known is 262,144.
const WINDOW_MAX: u64 = 1 << 22;

/// llama.cpp's `llama_pooling_type`, whose value -1 stands for "not said".
const POOLING_MAX: u32 = 4;
const POOLING_UNSPECIFIED: u32 = u32::MAX;

/// Architectures with layers that have no attention at all.
const WITHOUT_ATTENTION: &[&str] = &["deci"];

/// Architectures whose layers may differ in their heads, besides the hybrid ones. All others read the first layer's
/// numbers for every layer and abort when they differ.
const VARIED_HEADS: &[&str] = &[
    "deci",
    "dots3note",
    "gemma4",
    "gemma4-assistant",
    "granite_swa",
    "graniteswitch",
    "laguna",
    "mimo2",
    "nanbeige",
    "openelm",
    "plamo3",
    "spark2_5",
    "step35",
];

/// Architectures whose graph asserts that keys, values and rotation are of one width.
const ONE_HEAD_WIDTH: &[&str] = &[
    "apertus",
    "arcee",
    "baichuan",
    "ernie4_5",
    "exaone",
    "granite",
    "internlm2",
    "llama",
    "llama4",
    "mistral3",
    "olmo",
    "olmo2",
    "olmoe",
    "orion",
    "qwen2",
    "qwen2moe",
    "qwen3",
    "qwen3moe",
    "seed_oss",
    "smollm3",
    "starcoder2",
    "xverse",
];

/// Checks everything that is not the vocabulary.
pub(super) fn check(gguf: &Gguf) -> Result<(), GgufError> {
    if let Some(count) = gguf.u64("split.count").filter(|count| *count > 1) {
        return Err(GgufError::Split { count });
    }
    gguf.exact_str("general.name")?;
    gguf.exact_u32("general.file_type")?;
    let hyper = Hyper::of(gguf)?;
    hyper.required("context_length", CONTEXT_MAX)?;
    hyper.embedding()?;
    hyper.per_layer("feed_forward_length")?;
    hyper.at_most("nextn_predict_layers", hyper.layers)?;
    check_heads(&hyper)?;
    check_rotation(&hyper)?;
    check_kinds(&hyper)?;
    experts::check(&hyper)
}

fn check_heads(hyper: &Hyper<'_>) -> Result<(), GgufError> {
    let heads = hyper.heads()?;
    let may_lack = hyper.is_one_of(RECURRENT) || hyper.is_one_of(HYBRID) || hyper.is_one_of(WITHOUT_ATTENTION);
    let bad = |count: &&u32| **count > HEADS_MAX || (**count == 0 && !may_lack);
    if let Some(count) = heads.iter().find(bad) {
        return Err(out_of_range(&hyper.key("attention.head_count"), count, format!("1 to {HEADS_MAX}")));
    }
    uniform(hyper, "attention.head_count", &heads)?;
    if let Some(shared) = hyper.per_layer("attention.head_count_kv")? {
        uniform(hyper, "attention.head_count_kv", &shared)?;
        // Each key-value head serves a whole number of heads; the matrix product asserts it.
        let uneven = |(heads, shared): &(&u32, &u32)| {
            **shared > HEADS_MAX || (**heads > 0 && **shared > 0 && !heads.is_multiple_of(**shared))
        };
        if let Some((heads, shared)) = heads.iter().zip(&shared).find(uneven) {
            let key = hyper.key("attention.head_count_kv");
            return Err(out_of_range(&key, shared, format!("a divisor of the {heads} heads")));
        }
    }
    for suffix in ["attention.key_length", "attention.value_length"] {
        hyper.positive(suffix, HEAD_MAX)?;
        hyper.positive(&format!("{suffix}_swa"), HEAD_MAX)?;
    }
    if let Some(window) = hyper.window().filter(|window| *window > WINDOW_MAX) {
        return Err(out_of_range(&hyper.key("attention.sliding_window"), window, format!("0 to {WINDOW_MAX}")));
    }
    if hyper.architecture == "gemma4" {
        hyper.at_most("attention.shared_kv_layers", hyper.layers.saturating_sub(2))?;
    }
    Ok(())
}

/// Fails if layers differ that must not.
fn uniform(hyper: &Hyper<'_>, suffix: &str, counts: &[u32]) -> Result<(), GgufError> {
    let may_vary = hyper.is_one_of(VARIED_HEADS) || hyper.is_one_of(RECURRENT) || hyper.is_one_of(HYBRID);
    match counts.iter().position(|count| Some(count) != counts.first()) {
        Some(layer) if !may_vary => {
            let found = format!("{} in layer 0 and {} in layer {layer}", counts[0], counts[layer]);
            Err(out_of_range(
                &hyper.key(suffix),
                found,
                format!("one number for all layers of '{}'", hyper.architecture),
            ))
        }
        _ => Ok(()),
    }
}

fn check_rotation(hyper: &Hyper<'_>) -> Result<(), GgufError> {
    let default = hyper.default_head()?;
    let key = hyper.u32("attention.key_length")?.unwrap_or(default);
    let value = hyper.u32("attention.value_length")?.unwrap_or(default);
    let rotated = hyper.at_most("rope.dimension_count", HEAD_MAX)?;
    if let Some(odd) = rotated.filter(|count| !count.is_multiple_of(2)) {
        return Err(out_of_range(&hyper.key("rope.dimension_count"), odd, "an even number"));
    }
    if let Some(wide) = rotated.filter(|count| key > 0 && *count > key) {
        return Err(out_of_range(&hyper.key("rope.dimension_count"), wide, format!("0 to the key length {key}")));
    }
    if hyper.is_one_of(ONE_HEAD_WIDTH) {
        if value != key {
            return Err(out_of_range(&hyper.key("attention.value_length"), value, format!("the key length {key}")));
        }
        if let Some(other) = rotated.filter(|count| *count != key) {
            return Err(out_of_range(&hyper.key("rope.dimension_count"), other, format!("the key length {key}")));
        }
    }
    Ok(())
}

/// Numbers that choose among kinds, and those that are used as divisors or thresholds.
fn check_kinds(hyper: &Hyper<'_>) -> Result<(), GgufError> {
    let Hyper { gguf, .. } = hyper;
    for suffix in ["pooling_type", "classifier.pooling_type"] {
        let unknown = |kind: &u32| *kind > POOLING_MAX && *kind != POOLING_UNSPECIFIED;
        if let Some(kind) = hyper.u32(suffix)?.filter(unknown) {
            return Err(out_of_range(&hyper.key(suffix), kind, format!("0 to {POOLING_MAX}")));
        }
    }
    gguf.exact_bool(&hyper.key("attention.causal"))?;
    let scaling = hyper.key("rope.scaling.type");
    let kinds = ["none", "linear", "yarn", "longrope"];
    if let Some(kind) = gguf.exact_str(&scaling)?.filter(|kind| !kinds.contains(kind)) {
        let shown = excerpt(kind.as_bytes());
        return Err(out_of_range(&scaling, format!("'{shown}'"), kinds.join(", ")));
    }
    for suffix in ["layer_norm_epsilon", "layer_norm_rms_epsilon", "group_norm_epsilon"] {
        let key = hyper.key(&format!("attention.{suffix}"));
        if let Some(epsilon) = gguf.exact_f32(&key)?.filter(|epsilon| !(0.0..=1.0).contains(epsilon)) {
            return Err(out_of_range(&key, epsilon, "0 to 1"));
        }
    }
    for suffix in ["rope.freq_base", "rope.scaling.factor", "rope.scale_linear", "rope.scaling.attn_factor"] {
        gguf.exact_f32(&hyper.key(suffix))?;
    }
    Ok(())
}
