//! Chooses the next token.

use super::llama::{Chain, ChainParams, Token};
use crate::job::Sampling;

/// How many recent tokens a repetition penalty looks at: llama.cpp's default.
const PENALTY_LAST: usize = 64;

/// The lowest temperature that is not taken for 0.
const COLDEST: f32 = 1e-4;

/// Chooses tokens for one sequence.
pub enum Chooser {
    /// The most likely token; the common case needs no list of candidates.
    Greedy,
    /// llama.cpp's samplers.
    Chain(Box<Chain>),
}

impl Chooser {
    /// A chooser for a job with this prompt.
    pub fn new(sampling: &Sampling, n_vocab: usize, prompt: &[Token]) -> Self {
        // Colder than this, logits overflow and the softmax is no number: it is greedy in all but name.
        let temperature = if sampling.temperature < COLDEST { 0.0 } else { sampling.temperature };
        let penalty = sampling.repeat_penalty.to_bits() != 1f32.to_bits();
        if temperature <= 0.0 && !penalty {
            return Self::Greedy;
        }
        let mut chain = Chain::new(&ChainParams {
            n_vocab: i32::try_from(n_vocab).unwrap_or(i32::MAX),
            repeat_penalty: sampling.repeat_penalty,
            penalty_last: i32::try_from(PENALTY_LAST).unwrap_or(0),
            temperature,
            top_k: i32::try_from(sampling.top_k).unwrap_or(i32::MAX),
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            seed: sampling.seed.unwrap_or_else(|| fastrand::u32(..)),
        });
        if penalty {
            for &token in &prompt[prompt.len().saturating_sub(PENALTY_LAST)..] {
                chain.accept(token);
            }
        }
        Self::Chain(Box::new(chain))
    }

    /// The next token; none if the logits are no numbers.
    pub fn choose(&mut self, logits: &[f32]) -> Option<Token> {
        let best = argmax(logits)?;
        match self {
            Self::Greedy => Some(best),
            Self::Chain(chain) => chain.choose(logits),
        }
    }
}

/// Index of the largest logit, the first of equals; none if there is a NaN, which only a broken model makes.
pub fn argmax(logits: &[f32]) -> Option<Token> {
    // Blocks, so that the value is looked up in one of them and not in the whole vocabulary.
    const BLOCK: usize = 1024;
    let mut best = (f32::NEG_INFINITY, 0);
    for (index, block) in logits.chunks(BLOCK).enumerate() {
        let largest = block_max(block)?;
        if largest > best.0 {
            best = (largest, index * BLOCK);
        }
    }
    if best.0.is_infinite() {
        return None;
    }
    #[expect(clippy::float_cmp, reason = "looks for the very value found above")]
    let offset = logits[best.1..].iter().position(|&l| l == best.0)?;
    Token::try_from(best.1 + offset).ok()
}

/// The largest value of a block; none if there is a NaN. Lanes of one width compile to vector instructions.
fn block_max(block: &[f32]) -> Option<f32> {
    const LANES: usize = 16;
    let mut largest = [f32::NEG_INFINITY; LANES];
    let mut nan = [0u32; LANES];
    let chunks = block.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            largest[lane] = if chunk[lane] > largest[lane] { chunk[lane] } else { largest[lane] };
            // A comparison with NaN is false, so it is remembered apart.
            nan[lane] |= u32::from(chunk[lane].is_nan());
        }
    }
    let clean = nan == [0; LANES] && !rest.iter().any(|l| l.is_nan());
    clean.then(|| largest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn broken_logits_choose_nothing() {
        assert_eq!(argmax(&[]), None);
        assert_eq!(argmax(&[f32::NEG_INFINITY; 40]), None);
        let mut logits = [0.0; 40];
        logits[3] = f32::NAN;
        assert_eq!(argmax(&logits), None);
        logits[3] = 0.0;
        logits[39] = f32::NAN;
        assert_eq!(argmax(&logits), None);
    }

    proptest! {
        #[test]
        fn argmax_is_the_first_of_the_largest(logits in prop::collection::vec(-5i8..5, 1..2500)) {
            let logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
            let best = logits.iter().copied().fold(f32::MIN, f32::max);
            let expected = logits.iter().position(|l| l.to_bits() == best.to_bits()).unwrap();
            prop_assert_eq!(argmax(&logits), Some(Token::try_from(expected).unwrap()));
        }
    }
}
