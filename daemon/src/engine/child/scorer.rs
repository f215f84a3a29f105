//! Scores labels by how likely a model is to answer with them.
//!
//! The prompt is computed once. A step computes one more beginning that labels have in common, and tells how likely each token is
//! that follows it, for all of these labels. Then the same after a text that says nothing: what a label is likely there, it is by
//! its words alone, and that is taken off.

use super::llama::Token;
use super::logprobs::{log_sum, logprob_of};
use super::prompt::shared_length;
use crate::job::{Labelled, Output};

/// Where a step of a scorer is: after these tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Prompt and beginning of a label.
    pub tokens: Vec<Token>,
    /// How many of them are the prompt.
    pub prompt: usize,
}

/// One job's labels.
pub struct Scorer {
    labels: Vec<Label>,
    /// With the text, and with one that says nothing.
    prompts: [Vec<Token>; 2],
    /// Every beginning that a label goes on after, neighbours having much in common; the first is empty.
    beginnings: Vec<Vec<Token>>,
    /// The step that comes next: its prompt and its beginning.
    next: (usize, usize),
}

struct Label {
    text: String,
    tokens: Vec<Token>,
    /// Logarithms of likelihoods after each prompt, so far.
    sums: [f64; 2],
}

impl Scorer {
    /// Scores labels, given with their tokens, of which each has at least one.
    pub fn new(labels: Vec<(String, Vec<Token>)>, prompts: [Vec<Token>; 2]) -> Self {
        let proper = |(_, tokens): &(String, Vec<Token>)| (0..tokens.len()).map(|end| tokens[..end].to_vec()).collect();
        let mut beginnings: Vec<Vec<Token>> =
            labels.iter().flat_map(|label| -> Vec<Vec<Token>> { proper(label) }).collect();
        beginnings.sort_unstable();
        beginnings.dedup();
        let labels = labels.into_iter().map(|(text, tokens)| Label { text, tokens, sums: [0.0; 2] }).collect();
        Self { labels, prompts, beginnings, next: (0, 0) }
    }

    /// The place whose logits it wants now.
    pub fn place(&self) -> Place {
        let (prompt, beginning) = self.next;
        let (prompt, beginning) = (&self.prompts[prompt], &self.beginnings[beginning]);
        Place { tokens: [prompt.as_slice(), beginning].concat(), prompt: prompt.len() }
    }

    /// Takes the logits of that place; true if it wants those of another one.
    pub fn take(&mut self, logits: &[f32]) -> bool {
        let (prompt, at) = self.next;
        let (beginning, sum) = (&self.beginnings[at], log_sum(logits));
        for label in &mut self.labels {
            if let Some(&token) = label.tokens.get(beginning.len())
                && label.tokens.starts_with(beginning)
            {
                label.sums[prompt] += f64::from(logprob_of(logits, token, sum));
            }
        }
        self.next = if at + 1 < self.beginnings.len() { (prompt, at + 1) } else { (prompt + 1, 0) };
        self.next.0 < self.prompts.len()
    }

    /// The labels by falling score.
    pub fn finish(self) -> Output {
        let gain = |label: &Label| (label.sums[0] - label.sums[1]) / label.tokens.len().max(1) as f64;
        let gains: Vec<f64> = self.labels.iter().map(gain).collect();
        let best = gains.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let shares: Vec<f64> = gains.iter().map(|gain| (gain - best).exp()).collect();
        let whole: f64 = shares.iter().sum();
        #[expect(clippy::cast_possible_truncation, reason = "7 digits are more than the model's own")]
        let scored = |(label, share): (Label, f64)| Labelled { label: label.text, score: (share / whole) as f32 };
        let mut labelled: Vec<Labelled> = self.labels.into_iter().zip(shares).map(scored).collect();
        labelled.sort_by(|one, other| other.score.total_cmp(&one.score));
        Output::Labels(labelled)
    }
}

/// How much of what was computed for one place is there already for another, of which one token at least is computed: its logits are
/// wanted.
pub fn kept(old: &[Token], new: &[Token]) -> usize {
    shared_length(old, new).min(new.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A model of four tokens whose logits depend on all that is before: any will do.
    fn logits(tokens: &[Token]) -> Vec<f32> {
        let seed = tokens
            .iter()
            .fold(7u64, |hash, &token| hash.wrapping_mul(31).wrapping_add(u64::from(token.unsigned_abs())));
        let mut random = fastrand::Rng::with_seed(seed);
        (0..4).map(|_| random.f32() * 8.0).collect()
    }

    /// The same by the definition: each label alone, each of its tokens in turn.
    fn direct(labels: &[Vec<Token>], prompts: &[Vec<Token>; 2]) -> Vec<f64> {
        let likelihood = |prompt: &[Token], label: &[Token]| -> f64 {
            let mut tokens = prompt.to_vec();
            let mut sum = 0.0;
            for &token in label {
                let now = logits(&tokens);
                sum += f64::from(logprob_of(&now, token, log_sum(&now)));
                tokens.push(token);
            }
            sum / label.len() as f64
        };
        let gains: Vec<f64> = labels.iter().map(|l| likelihood(&prompts[0], l) - likelihood(&prompts[1], l)).collect();
        let whole: f64 = gains.iter().map(|gain| gain.exp()).sum();
        gains.iter().map(|gain| gain.exp() / whole).collect()
    }

    proptest! {
        #[test]
        fn every_label_gets_its_likelihood(labels in prop::collection::btree_set(prop::collection::vec(0i32..4, 1..5), 2..9)) {
            let labels: Vec<Vec<Token>> = labels.into_iter().collect();
            let prompts = [vec![1, 2, 3], vec![1, 0]];
            let named = labels.iter().enumerate().map(|(index, tokens)| (index.to_string(), tokens.clone())).collect();
            let mut scorer = Scorer::new(named, prompts.clone());
            let steps = 2 * scorer.beginnings.len();
            let mut taken = 1;
            while scorer.take(&logits(&scorer.place().tokens)) {
                taken += 1;
            }
            prop_assert_eq!(taken, steps);
            let expected = direct(&labels, &prompts);
            let Output::Labels(scores) = scorer.finish() else { panic!("no labels") };
            prop_assert!(scores.windows(2).all(|pair| pair[0].score >= pair[1].score));
            prop_assert!((scores.iter().map(|scored| f64::from(scored.score)).sum::<f64>() - 1.0).abs() < 1e-5);
            for Labelled { label, score } in scores {
                let index: usize = label.parse().unwrap();
                prop_assert!((f64::from(score) - expected[index]).abs() < 1e-5, "{index}: {score}, {}", expected[index]);
            }
        }
    }

    #[test]
    fn what_two_places_have_in_common_is_kept_but_for_the_last_token() {
        assert_eq!(kept(&[1, 2, 3], &[1, 2, 4, 5]), 2);
        assert_eq!(kept(&[1, 2, 3], &[1, 2]), 1);
        assert_eq!(kept(&[], &[1]), 0);
    }
}
