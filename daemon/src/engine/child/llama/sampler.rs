//! llama.cpp's samplers over our own candidates.

use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

use super::Token;

/// llama.cpp's chain of samplers, in its default order.
pub struct Chain {
    raw: NonNull<sys::llama_sampler>,
    candidates: Vec<sys::llama_token_data>,
}

/// What a chain of samplers does; neutral values leave a step out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChainParams {
    /// Tokens in the vocabulary.
    pub n_vocab: i32,
    /// Divides the logits of recent tokens.
    pub repeat_penalty: f32,
    /// How many recent tokens that are.
    pub penalty_last: i32,
    /// 0 is greedy.
    pub temperature: f32,
    /// Keep the k best.
    pub top_k: i32,
    /// Keep this share of probability.
    pub top_p: f32,
    /// Drop what is less likely than this share of the best.
    pub min_p: f32,
    /// Of the random numbers.
    pub seed: u32,
}

impl Chain {
    /// Builds a chain.
    pub fn new(params: &ChainParams) -> Self {
        // SAFETY: each sampler is made here and handed to the chain, which owns it from then on. None of these
        // constructors fails but by memory.
        unsafe {
            let chain = sys::llama_sampler_chain_init(sys::llama_sampler_chain_default_params());
            let raw = NonNull::new(chain).expect("a chain is a small allocation");
            let add = |sampler| sys::llama_sampler_chain_add(chain, sampler);
            if params.repeat_penalty.to_bits() != 1f32.to_bits() {
                add(sys::llama_sampler_init_penalties(
                    params.n_vocab,
                    params.penalty_last,
                    params.repeat_penalty,
                    0.0,
                    0.0,
                ));
            }
            if params.temperature > 0.0 {
                add(sys::llama_sampler_init_top_k(params.top_k));
                add(sys::llama_sampler_init_top_p(params.top_p, 1));
                add(sys::llama_sampler_init_min_p(params.min_p, 1));
                add(sys::llama_sampler_init_temp(params.temperature));
                add(sys::llama_sampler_init_dist(params.seed));
            } else {
                add(sys::llama_sampler_init_greedy());
            }
            Self { raw, candidates: Vec::new() }
        }
    }

    /// Tells the chain of a token that is part of the text.
    pub fn accept(&mut self, token: Token) {
        // SAFETY: the chain is alive.
        unsafe { sys::llama_sampler_accept(self.raw.as_ptr(), token) };
    }

    /// Chooses a token and takes it into account. One whose logit is −∞ is no candidate.
    pub fn choose(&mut self, logits: &[f32]) -> Option<Token> {
        self.candidates.clear();
        let tokens = 0..Token::try_from(logits.len()).ok()?;
        let possible = tokens.zip(logits).filter(|(_, logit)| **logit != f32::NEG_INFINITY);
        self.candidates.extend(possible.map(|(id, &logit)| sys::llama_token_data { id, logit, p: 0.0 }));
        let mut array = sys::llama_token_data_array {
            data: self.candidates.as_mut_ptr(),
            size: self.candidates.len(),
            selected: -1,
            sorted: false,
        };
        // SAFETY: the array points to our candidates; samplers shrink and reorder it in place.
        unsafe { sys::llama_sampler_apply(self.raw.as_ptr(), &raw mut array) };
        let selected = usize::try_from(array.selected).ok().filter(|&index| index < array.size)?;
        // SAFETY: the selected index lies within the array as the samplers left it.
        let token = unsafe { (*array.data.add(selected)).id };
        self.accept(token);
        Some(token)
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // SAFETY: made by llama_sampler_chain_init; frees the samplers with it.
        unsafe { sys::llama_sampler_free(self.raw.as_ptr()) };
    }
}
