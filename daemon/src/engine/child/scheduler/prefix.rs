//! What every prompt of the template begins with is computed once. Nothing in it is a client's; nothing of a client's is
//! ever kept for another.

use super::Scheduler;
use crate::engine::child::llama::{Context, Decoded, Model, Token};
use crate::engine::child::prompt::{Prompter, shared_length};
use crate::engine::child::sequence::Sequence;

/// A shorter prefix is computed faster than copied.
const WORTH_COPYING: usize = 8;

/// The common prefix and where it is.
pub(super) struct CommonPrefix {
    tokens: Vec<Token>,
    /// How many of its tokens are in each free slot's memory.
    kept: Vec<usize>,
}

impl CommonPrefix {
    /// No prefix is kept.
    pub(super) fn none(slots: usize) -> Self {
        Self { tokens: Vec::new(), kept: vec![0; slots] }
    }

    /// Computes the prefix in the first slot.
    pub(super) fn compute(model: &Model, context: &mut Context, prompter: &Prompter) -> Self {
        let tokens = prompter.common_prefix(model);
        let mut prefix = Self::none(context.n_sequences());
        let fits = (WORTH_COPYING..context.tokens_per_sequence().min(context.n_batch())).contains(&tokens.len());
        if fits && matches!(context.decode_alone(&tokens, 0), Ok(Decoded::Done)) {
            prefix.kept[0] = tokens.len();
            prefix.tokens = tokens;
        }
        prefix
    }

    /// How many tokens of a prompt belong to it.
    fn shared(&self, prompt: &[Token]) -> usize {
        shared_length(&self.tokens, prompt)
    }
}

impl Scheduler {
    /// Gives a free slot as much of a prompt as the common prefix holds, and tells how many tokens that is. At least one
    /// token is left to compute: its logits choose the next.
    pub(super) fn provide_prefix(&mut self, slot: usize, prompt: &[Token]) -> usize {
        let wanted = self.prefix.shared(prompt).min(prompt.len() - 1);
        if wanted >= WORTH_COPYING
            && self.prefix.kept[slot] < wanted
            && let Some(donor) = self.prefix_donor(wanted)
        {
            self.context.copy(donor, slot);
            self.prefix.kept[slot] = wanted;
        }
        let cached = wanted.min(self.prefix.kept[slot]);
        if self.context.truncate(slot, cached) { cached } else { self.forget(slot) }
    }

    /// A slot that has the prefix in its memory.
    fn prefix_donor(&self, wanted: usize) -> Option<usize> {
        let has_it = |(slot, sequence): (usize, &Option<Sequence>)| match sequence {
            None => self.prefix.kept[slot] >= wanted,
            Some(sequence) => self.prefix.shared(sequence.prompt()).min(sequence.length()) >= wanted,
        };
        self.slots.iter().enumerate().position(has_it)
    }

    /// Keeps the prefix in the memory of a slot whose sequence has gone, and nothing else.
    pub(super) fn keep_prefix(&mut self, slot: usize, gone: &Sequence) {
        let kept = self.prefix.shared(gone.prompt()).min(self.context.length(slot));
        self.prefix.kept[slot] = if self.context.truncate(slot, kept) { kept } else { self.forget(slot) };
    }

    /// Empties a slot's memory; nothing is left.
    pub(super) fn forget(&mut self, slot: usize) -> usize {
        self.context.truncate(slot, 0);
        self.prefix.kept[slot] = 0;
        0
    }
}
