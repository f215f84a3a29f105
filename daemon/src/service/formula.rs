//! What a model needs by the numbers of its header alone: weights and KV cache are exact, the rest errs on the large side.

use crate::config::Engine;
use crate::gguf::{Cache, ModelFacts};
use crate::plan::{Attention, ContextShape, LoadShape, ModelShape, Need};

/// Tokens that the engine computes at once; its compute buffer grows with it.
const UBATCH: u32 = 512;

/// The need on the CPU. Flash attention is off where output has to be reproducible.
pub fn estimate(facts: &ModelFacts, shape: LoadShape, engine: &Engine) -> Need {
    let LoadShape { context, sequences, kv_type } = shape;
    let context = ContextShape {
        context_per_sequence: context,
        sequences,
        kv_type,
        // An encoder sees a whole text at once.
        ubatch: if facts.cache == Cache::None { context } else { UBATCH },
        outputs_max: sequences,
        attention: if engine.reproducible { Attention::Plain } else { Attention::Flash },
    };
    let need = Need::estimate(&model(facts), &context);
    // Encoders write nothing that could be held to a form, and remember nothing.
    if facts.cache == Cache::None { need } else { need.with_tables(facts.n_vocab).with_prefixes(engine.prefix_cache) }
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
