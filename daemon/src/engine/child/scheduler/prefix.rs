//! What many prompts begin with is computed once: prompts that need the same wait while the first of them computes it, and
//! then take it from memory. Nothing of one client's is ever taken for another's.

use std::sync::Arc;
use std::time::Instant;

use jiff::Zoned;
use jiff::civil::Date;

use super::{Entry, Scheduler};
use crate::engine::child::cache::{Asker, State as Kept};
use crate::engine::child::llama::{Decoded, Token};
use crate::engine::child::sequence::{Sequence, State};
use crate::engine::protocol::{Opening, SessionUse};

/// A shorter prefix is computed faster than restored.
const WORTH_KEEPING: usize = 8;

/// The date as templates write it.
pub(super) fn today() -> Date {
    Zoned::now().date()
}

impl Scheduler {
    /// Computes what every prompt of the template begins with, in the first slot, before there is any job.
    pub(super) fn prepare_common(&mut self) {
        let tokens = self.prompter.common_opening(&self.model);
        self.set_openings(Vec::new());
        if self.cache.missing(&[&tokens[..], &[0]].concat(), Asker::default()) != Some(&tokens[..])
            || tokens.len() > self.context.n_batch()
        {
            return;
        }
        if matches!(self.context.decode_alone(&tokens, 0), Ok(Decoded::Done)) {
            let state = self.context.save(0, |bytes| self.cache.room_for_opening(bytes)).map(Arc::new);
            self.cache.keep_opening(&tokens, state);
        }
        self.context.truncate(0, 0);
        self.link.shared.keeps(self.cache.bytes());
    }

    /// Takes what the operator's prompts begin with from now on.
    pub(super) fn set_openings(&mut self, openings: Vec<Opening>) {
        self.openings = (openings, today());
        if self.model.has_window() {
            // It gives no states: nothing is computed only to be kept.
            return;
        }
        let mut all = vec![(None, self.prompter.common_opening(&self.model))];
        all.extend(self.prompter.own_openings(&self.model).into_iter().map(|tokens| (None, tokens)));
        for opening in &self.openings.0 {
            self.link.shared.progress();
            all.push((Some(opening.instructions.clone()), self.prompter.opening(&self.model, opening)));
        }
        let most = self.context.tokens_per_sequence();
        all.retain(|(_, tokens)| (WORTH_KEEPING..most).contains(&tokens.len()));
        self.cache.set_openings(all);
    }

    /// Makes what prompts begin with into tokens once more if the template writes the date, and that has changed.
    pub(super) fn renew_openings(&mut self) {
        if self.prompter.is_dated() && self.openings.1 != today() {
            let openings = std::mem::take(&mut self.openings.0);
            self.set_openings(openings);
        }
    }

    /// Gives the prompts that wait what is kept of them by now.
    pub(super) fn provide(&mut self) {
        if self.context.copies_wait() {
            // A copy that is made later would be made over it.
            return;
        }
        for at in 0..self.waiting.len() {
            let slot = self.waiting[at];
            let Some(sequence) = self.slots[slot].as_ref() else { continue };
            let State::Prefill(done) = sequence.state else { continue };
            let (prompt, asker) = (sequence.prompt(), sequence.source.asker());
            // What was given back because memory is short does not come back at once.
            if let Some(disk) = self.disk.as_ref().filter(|_| !self.short_of_memory)
                && let Some(tokens) = self.cache.look(prompt, asker)
                && let Some(state) = disk.read(&tokens, || self.link.shared.progress())
            {
                self.cache.keep_opening(&tokens, Some(state));
            }
            if let Some((state, length)) = self.cache.find(prompt, asker)
                && length >= done + WORTH_KEEPING
            {
                self.restore(slot, &state, length);
            }
        }
    }

    fn restore(&mut self, slot: usize, state: &Kept, length: usize) {
        let restored = self.context.restore(slot, state)
            && (self.context.length(slot) == length || self.context.truncate(slot, length))
            && self.context.length(slot) == length;
        if !restored {
            tracing::warn!("what was kept of a prompt cannot be restored: it is computed again");
            self.cache.drop_state(state);
            self.context.truncate(slot, 0);
        }
        if let Some(sequence) = self.slots[slot].as_mut() {
            if restored { sequence.restored(length) } else { sequence.recompute(0) }
        }
    }

    /// What a prompt begins with that shall be kept, and is not computed to its end.
    pub(super) fn opening_of(&self, sequence: &Sequence) -> Option<&[Token]> {
        let State::Prefill(done) = sequence.state else { return None };
        let missing = self.cache.missing(sequence.prompt(), sequence.source.asker());
        missing.filter(|tokens| done < tokens.len()).filter(|_| !self.short_of_memory)
    }

    /// Keeps the openings that a step has computed to their ends.
    pub(super) fn keep_openings(&mut self, entries: &[Entry]) {
        for Entry { slot, .. } in entries {
            let Some(sequence) = self.slots[*slot].as_ref() else { continue };
            let State::Prefill(done) = sequence.state else { continue };
            let computed = self.cache.missing(sequence.prompt(), sequence.source.asker());
            let computed = computed.filter(|tokens| tokens.len() == done);
            let Some(tokens) = computed.filter(|_| !self.short_of_memory).map(<[Token]>::to_vec) else { continue };
            let state = self.context.save(*slot, |bytes| self.cache.room_for_opening(bytes)).map(Arc::new);
            if let (Some(writer), Some(state)) = (&self.writer, &state)
                && self.cache.write(&tokens)
            {
                writer.write(tokens.clone(), state);
            }
            self.cache.keep_opening(&tokens, state);
            self.link.shared.keeps(self.cache.bytes());
        }
    }

    /// Clears a slot whose sequence has gone; what a turn has left there is kept for the next one of its session.
    pub(super) fn clear(&mut self, slot: usize, turn: Option<(SessionUse, Vec<Token>)>) {
        if let Some((session, tokens)) = turn.filter(|(_, tokens)| tokens.len() >= WORTH_KEEPING)
            && !self.short_of_memory
            && (tokens.len() == self.context.length(slot) || self.context.truncate(slot, tokens.len()))
            && let Some(state) = self.context.save(slot, |bytes| self.cache.room_for_turn(session.number, bytes))
        {
            self.cache.keep_turn(session, tokens, Arc::new(state));
            self.link.shared.keeps(self.cache.bytes());
        }
        self.context.truncate(slot, 0);
    }

    /// Forgets what a client's sessions have left and will leave, or one of them.
    pub(super) fn forget(&mut self, client: u64, session: Option<u64>) {
        let parked = self.parked.values_mut().map(|parked| &mut parked.sequence);
        for sequence in self.slots.iter_mut().flatten().chain(parked) {
            let meant = |turn: &mut SessionUse| {
                turn.number.client == client && session.is_none_or(|session| turn.number.session == session)
            };
            sequence.source.session.take_if(meant);
        }
        self.cache.forget(client, session);
        self.link.shared.keeps(self.cache.bytes());
    }

    /// Forgets what sessions have left that nobody goes on with.
    pub(super) fn expire(&mut self) {
        self.cache.expire(Instant::now());
        self.link.shared.keeps(self.cache.bytes());
    }
}
