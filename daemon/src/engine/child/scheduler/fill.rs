//! What goes into the next batch.

use super::{Entry, Part, Scheduler};
use crate::engine::Duty;
use crate::engine::child::pace::CHUNK;
use crate::engine::child::sequence::{Sequence, State};

impl Scheduler {
    /// Fills the batch, by rising slot, and tells what is in it.
    pub(super) fn fill(&mut self, part: Part) -> Vec<Entry> {
        self.batch.clear();
        self.provide();
        let shares = self.shares(part);
        let mut entries = Vec::with_capacity(self.slots.len());
        for (slot, share) in shares.into_iter().enumerate() {
            let Some(sequence) = self.slots[slot].as_ref() else { continue };
            let position = sequence.length();
            match sequence.state {
                State::Decode(token) if share > 0 => {
                    let output = Some(self.batch.add(token, position, slot, true));
                    entries.push(Entry { slot, tokens: 1, output });
                }
                State::Prefill(done) if share > 0 => {
                    let tokens = sequence.tokens();
                    let mut output = None;
                    for (offset, &token) in tokens[done..done + share].iter().enumerate() {
                        let last = done + offset + 1 == tokens.len();
                        let index = self.batch.add(token, position + offset, slot, last);
                        output = last.then_some(index);
                    }
                    entries.push(Entry { slot, tokens: share, output });
                }
                State::Decode(_) | State::Prefill(_) => {}
            }
        }
        entries
    }

    /// How many tokens of each slot the next batch takes.
    fn shares(&self, part: Part) -> Vec<usize> {
        let mut shares = vec![0; self.slots.len()];
        let decoding = |s: &Option<Sequence>| s.as_ref().is_some_and(|s| self.is_decoding(s));
        // Who rests between steps shall not compute a whole prompt at a stretch either.
        let bounded = self.slots.iter().any(decoding) || self.duty < Duty::FULL;
        if part != Part::Prefill {
            for (share, _) in shares.iter_mut().zip(&self.slots).filter(|(_, s)| decoding(s)) {
                *share = 1;
            }
        }
        if part == Part::Decode {
            return shares;
        }
        let decodes = shares.iter().any(|share| *share > 0);
        let room = self.context.n_batch() - shares.iter().sum::<usize>();
        let given = self.pace.prompt_budget(bounded, self.context.n_batch()).min(room);
        let mut budget = given;
        let mut begun = Vec::new();
        for &slot in &self.waiting {
            let Some(sequence) = self.slots[slot].as_ref().filter(|sequence| self.is_prefilling(sequence)) else {
                continue;
            };
            // It could not be given what is kept, but can be after this step, which makes the copy.
            if self.context.copies_wait() && sequence.length() == 0 && decodes {
                continue;
            }
            let opening = self.opening_of(sequence);
            // The first that needs it computes it, up to its end, and the others wait for it.
            if opening.is_some_and(|opening| begun.contains(&opening)) {
                continue;
            }
            begun.extend(opening);
            let left = opening.map_or_else(|| self.left(sequence), |opening| opening.len() - sequence.length());
            let share = if self.reproducible { left.min((budget / CHUNK).max(1) * CHUNK) } else { left.min(budget) };
            // The first gets on in any case; a crumb of the next would cost a pass over the weights and finish nothing.
            if share < left && share < CHUNK && budget < given {
                break;
            }
            shares[slot] = share;
            budget -= share.min(budget);
            if budget == 0 || self.reproducible {
                break;
            }
        }
        shares
    }

    /// Whether it takes one token in a step. Where the same values must come of it, what an answer has already is computed
    /// once more as it was the first time.
    fn is_decoding(&self, sequence: &Sequence) -> bool {
        matches!(sequence.state, State::Decode(_)) || self.reproducible && sequence.replays()
    }

    /// Whether its prompt may be computed now. One that waits for its grammar could not go on after it.
    fn is_prefilling(&self, sequence: &Sequence) -> bool {
        !self.is_decoding(sequence) && !sequence.waits()
    }

    /// How many tokens of a prompt are left, and of what counts as one.
    fn left(&self, sequence: &Sequence) -> usize {
        let all = if self.reproducible { sequence.prompt() } else { sequence.tokens() };
        all.len() - sequence.length()
    }
}
