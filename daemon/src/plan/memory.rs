//! The memory that one model needs in one context, on the CPU or on unified memory.
//!
//! Weights and KV are exact: sizes of the file's tensors, and cells times the width of keys and values. Output is what
//! llama.cpp takes at most. Compute is estimated until the engine has measured it, and so is the process around it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// llama.cpp rounds the context of one sequence up to a multiple of this.
const CONTEXT_MULTIPLE: u64 = 256;

/// Bytes of one number in computation.
const F32: u64 = 4;

/// Memory of a child before it has loaded anything: libraries, back end, allocator.
const LIBRARIES: u64 = 11 * 1024 * 1024;

/// Memory of one token of the vocabulary while it is loaded. Measured peaks: 200 for kind `llama`, 350 to 530 for
/// byte-pair encoding, 563 for the largest unigram vocabulary; afterwards it is 50 less.
const VOCABULARY_TOKEN: u64 = 576;

/// How keys and values are stored, narrowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum KvType {
    /// 4 bits and a scale for every 32 numbers.
    #[serde(rename = "q4_0")]
    Q4_0,
    /// 8 bits and a scale for every 32 numbers.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// 16 bits.
    #[serde(rename = "f16")]
    F16,
}

impl KvType {
    /// Bytes of one row of `elements` numbers; rows consist of whole blocks.
    pub fn row_bytes(self, elements: u64) -> u64 {
        let (block, bytes) = match self {
            Self::Q4_0 => (32, 18),
            Self::Q8_0 => (32, 34),
            Self::F16 => (1, 2),
        };
        elements.div_ceil(block).saturating_mul(bytes)
    }

    /// Its name in configuration and in llama.cpp.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Q4_0 => "q4_0",
            Self::Q8_0 => "q8_0",
            Self::F16 => "f16",
        }
    }
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How attention is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attention {
    /// Flash attention: the scores are never held.
    Flash,
    /// The scores of all heads are held for the whole context.
    Plain,
}

/// A model in the numbers that count for memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelShape {
    /// Bytes of all tensors. Those that a back end repacks count once: the pages of the file behind them are clean, and
    /// the kernel may drop them.
    pub weights: u64,
    /// Tokens in the vocabulary.
    pub n_vocab: u32,
    /// Numbers in one output: as many as tokens, or the width of an embedding.
    pub output_width: u32,
    /// Width of the embedding.
    pub n_embd: u32,
    /// Width of the widest feed-forward network that one token passes through.
    pub n_ff: u32,
    /// Attention heads of the layer with the most of them.
    pub n_head: u32,
    /// Width of one head's keys.
    pub key_length: u32,
    /// Width of one head's values.
    pub value_length: u32,
    /// Heads whose keys and values are cached, for each layer.
    pub kv_heads: Vec<u32>,
    /// Whether some layers look back only so far, and need a mask of their own.
    pub sliding_window: bool,
}

/// A context in the numbers that count for memory. KV is always split: every sequence has cells of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextShape {
    /// Tokens that one sequence can hold; rounded up as llama.cpp does.
    pub context_per_sequence: u32,
    /// Sequences that are decoded together.
    pub sequences: u32,
    /// How keys and values are stored.
    pub kv_type: KvType,
    /// Most tokens in one step.
    pub ubatch: u32,
    /// Most outputs in one step. llama.cpp aborts if they are fewer than the sequences, so that they count as many.
    pub outputs_max: u32,
    /// How attention is computed.
    pub attention: Attention,
}

impl ContextShape {
    /// Tokens of one sequence after rounding.
    pub fn rounded_context(&self) -> u64 {
        u64::from(self.context_per_sequence).next_multiple_of(CONTEXT_MULTIPLE)
    }

    fn outputs(&self) -> u64 {
        self.outputs_max.max(self.sequences).into()
    }
}

/// Bytes of keys and values.
pub fn kv_bytes(model: &ModelShape, context: &ContextShape) -> u64 {
    let cells = context.rounded_context().saturating_mul(context.sequences.into());
    let row = |heads: &u32| {
        let bytes = |width: u32| context.kv_type.row_bytes(u64::from(*heads).saturating_mul(width.into()));
        bytes(model.key_length).saturating_add(bytes(model.value_length))
    };
    let rows = model.kv_heads.iter().map(row).fold(0, u64::saturating_add);
    cells.saturating_mul(rows)
}

/// Bytes of the buffer from which outputs are read.
pub fn output_bytes(model: &ModelShape, context: &ContextShape) -> u64 {
    product([context.outputs(), model.output_width.into(), F32])
}

/// Bytes of the buffer that a step is computed in, estimated.
///
/// llama.cpp reuses the memory of intermediate results, so that only the widest moment of a layer counts. Five rows of
/// the embedding's width and the masks are alive all the time; on top of them comes the largest of
/// - the feed-forward network: three rows of its width,
/// - the logits of all outputs,
/// - attention: queries, keys and values, and without flash attention the scores of all heads.
///
/// An eighth is added. Measured with no-allocation runs of llama.cpp on eight decoders from 64 to 4096 wide, with 32 to
/// 512 tokens a step, contexts from 512 to 8192, 1 to 64 outputs, one and four sequences: the result is between exact
/// and a quarter too much. For encoders, whose network has no gate, it is up to twice what they need.
pub fn compute_bytes(model: &ModelShape, context: &ContextShape) -> u64 {
    let tokens = u64::from(context.ubatch);
    let cells = context.rounded_context();
    let width = u64::from(model.n_embd);
    let queries = product([model.n_head.into(), model.key_length.into()]);
    let kv_heads = u64::from(model.kv_heads.iter().copied().max().unwrap_or_default());
    let (masks, mask_number, score_heads) = match context.attention {
        Attention::Flash => (1 + u64::from(model.sliding_window), 2, 0),
        Attention::Plain => (1 + u64::from(model.sliding_window), F32, u64::from(model.n_head)),
    };
    // Positions, token ids and the like.
    let inputs = product([tokens, 32]);
    let always = product([tokens, 5 * F32, width])
        .saturating_add(inputs)
        .saturating_add(product([tokens, masks, mask_number, cells]))
        .saturating_add(rotation(model, context.kv_type));

    let network = product([tokens, 3 * F32, model.n_ff.into()]);
    let logits = product([context.outputs(), F32, model.output_width.into()]);
    let keys = product([kv_heads, u64::from(model.key_length).saturating_add(model.value_length.into())]);
    let vectors = queries.saturating_mul(3).saturating_add(keys).saturating_sub(2 * width);
    let scores = product([score_heads, cells]);
    let attention = product([tokens, F32, vectors.saturating_add(scores)]);

    let total = always.saturating_add(network.max(logits).max(attention));
    total.saturating_add(total / 8)
}

/// Quantised keys and values are rotated first, by a square matrix each.
fn rotation(model: &ModelShape, kv_type: KvType) -> u64 {
    let square = |side: u32| product([side.into(), side.into(), F32]);
    match kv_type {
        KvType::F16 => 0,
        KvType::Q8_0 | KvType::Q4_0 => square(model.key_length).saturating_add(square(model.value_length)),
    }
}

/// Bytes of the engine's process besides the model: libraries and vocabulary. An upper bound; the tables for
/// constrained output are not in it, because they are built when the first job needs them.
pub fn process_bytes(n_vocab: u32) -> u64 {
    LIBRARIES + u64::from(n_vocab) * VOCABULARY_TOKEN
}

/// Bytes of the tables for constrained output, as measured with 49 000 tokens.
pub fn tables_bytes(n_vocab: u32) -> u64 {
    const TABLES_TOKEN: u64 = 350;
    u64::from(n_vocab) * TABLES_TOKEN
}

fn product<const N: usize>(factors: [u64; N]) -> u64 {
    factors.into_iter().fold(1, u64::saturating_mul)
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
