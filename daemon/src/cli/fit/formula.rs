//! What a model needs by the numbers of its header alone: weights and KV cache are exact, the rest errs on the large side.

use promptd::gguf::{Cache, ModelFacts};
use promptd::plan::{Attention, ContextShape, LoadShape, ModelShape, Need};

/// Tokens that the engine computes at once; its compute buffer grows with it.
const UBATCH: u32 = 512;

/// The need on the CPU. Flash attention is off where output has to be reproducible.
pub fn need(facts: &ModelFacts, shape: LoadShape, reproducible: bool) -> Need {
    let LoadShape { context, sequences, kv_type } = shape;
    let context = ContextShape {
        context_per_sequence: context,
        sequences,
        kv_type,
        // An encoder sees a whole text at once.
        ubatch: if facts.cache == Cache::None { context } else { UBATCH },
        outputs_max: sequences,
        attention: if reproducible { Attention::Plain } else { Attention::Flash },
    };
    // Encoders write nothing that could be held to a form.
    let tables_for = if facts.cache == Cache::None { 0 } else { facts.n_vocab };
    Need::estimate(&model(facts), &context).with_tables(tables_for)
}

fn model(facts: &ModelFacts) -> ModelShape {
    ModelShape {
        weights: facts.weight_bytes(),
        n_vocab: facts.n_vocab,
        output_width: if facts.cache == Cache::None { facts.n_embd } else { facts.n_vocab },
        n_embd: facts.n_embd,
        n_ff: facts.n_ff,
        n_head: facts.n_head,
        key_length: facts.key_length,
        value_length: facts.value_length,
        kv_heads: facts.n_head_kv.clone(),
        sliding_window: facts.sliding_window.is_some(),
    }
}
