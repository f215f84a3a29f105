//! How likely tokens were in the model's eyes, before any sampler.

use super::llama::{Model, Token};
use crate::job::{Alternative, TokenLogprob};

/// Those of one answer.
pub struct Logprobs {
    /// Alternatives to tell of each token.
    alternatives: usize,
    told: Vec<TokenLogprob>,
}

impl Logprobs {
    /// Tells of so many alternatives to each token.
    pub fn new(alternatives: u8) -> Self {
        Self { alternatives: usize::from(alternatives), told: Vec::new() }
    }

    /// Takes a token that was chosen from these logits.
    pub fn add(&mut self, model: &Model, logits: &[f32], token: Token) {
        let sum = log_sum(logits);
        let text = |token: Token| {
            let mut bytes = Vec::new();
            model.append_piece(token, &mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let alternative =
            |&(logit, token): &(f32, Token)| Alternative { token: text(token), logprob: logprob(logit, sum) };
        let top = best(logits, self.alternatives).iter().map(alternative).collect();
        self.told.push(TokenLogprob { token: text(token), logprob: logprob_of(logits, token, sum), top });
    }

    /// All that was taken.
    pub fn told(self) -> Vec<TokenLogprob> {
        self.told
    }
}

/// The logarithm of the sum of all exponentials.
pub fn log_sum(logits: &[f32]) -> f64 {
    let best = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - best).exp()).sum();
    best + sum.ln()
}

/// The logarithm of a token's probability; none is more likely than certain, and none is less likely than JSON can tell.
pub fn logprob_of(logits: &[f32], token: Token, sum: f64) -> f32 {
    let logit = usize::try_from(token).ok().and_then(|index| logits.get(index)).copied();
    logprob(logit.unwrap_or(f32::NEG_INFINITY), sum)
}

#[expect(clippy::cast_possible_truncation, reason = "7 digits are more than the model's own")]
fn logprob(logit: f32, sum: f64) -> f32 {
    ((f64::from(logit) - sum) as f32).clamp(f32::MIN, 0.0)
}

/// The tokens with the largest logits, the largest first.
pub fn best(logits: &[f32], count: usize) -> Vec<(f32, Token)> {
    let mut best: Vec<(f32, Token)> = Vec::with_capacity(count + 1);
    if count == 0 {
        return best;
    }
    for (token, &logit) in (0..).zip(logits) {
        if best.len() == count && best.last().is_some_and(|&(least, _)| logit <= least) {
            continue;
        }
        let place = best.partition_point(|&(other, _)| other >= logit);
        best.insert(place, (logit, token));
        best.truncate(count);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn probabilities_have_the_sum_one() {
        let logits = [1.0, -2.0, 30.0, 29.5, f32::NEG_INFINITY];
        let sum = log_sum(&logits);
        let whole: f64 = (0..5).map(|token| f64::from(logprob_of(&logits, token, sum)).exp()).sum();
        assert!((whole - 1.0).abs() < 1e-6, "{whole}");
        assert!(
            logprob_of(&logits, 4, sum).is_finite() && logprob_of(&logits, 9, sum).is_finite(),
            "JSON has no infinity"
        );
    }

    proptest! {
        #[test]
        fn the_best_are_those_of_a_sorted_list(logits in prop::collection::vec(-50i8..50, 1..300), count in 0usize..6) {
            let logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
            let mut expected: Vec<(f32, Token)> = logits.iter().copied().zip(0..).collect();
            expected.sort_by(|a, b| b.0.total_cmp(&a.0));
            expected.truncate(count);
            prop_assert_eq!(best(&logits, count), expected);
        }
    }
}
