//! Jobs that make room for more urgent ones, and go on where they were.

use std::time::Instant;

use super::Scheduler;
use crate::engine::child::sequence::{Sequence, State};
use crate::engine::protocol::FromChild;
use crate::job::{ErrorCode, JobId};

/// Most bytes of context memory that are kept for parked jobs, all together: enough for 1000 tokens of a model of a billion
/// weights. What is not kept is computed once more.
const STATES_MAX: usize = 32 << 20;

/// A job that has made room.
pub(super) struct Parked {
    pub(super) sequence: Sequence,
    /// What was in its context memory, if that is kept.
    state: Option<Vec<u8>>,
    since: Instant,
}

impl Scheduler {
    /// Takes a job out of its slot. One that ended just now is not there any more, and needs no answer.
    pub(super) fn park(&mut self, job: JobId) {
        let Some(slot) = self.slot_of(job) else { return };
        // What is chosen already is the client's now.
        self.send_deltas();
        let state = self.context.save(slot, |bytes| bytes <= self.room_for_states());
        let Some(sequence) = self.free(slot) else { return };
        self.parked.insert(job, Parked { sequence, state, since: Instant::now() });
        self.link.send(FromChild::Parked(job));
    }

    fn room_for_states(&self) -> usize {
        if self.short_of_memory {
            return 0;
        }
        let kept: usize = self.parked.values().filter_map(|parked| parked.state.as_ref().map(Vec::len)).sum();
        STATES_MAX.saturating_sub(kept)
    }

    /// Goes on with a parked job in a free slot.
    pub(super) fn resume(&mut self, job: JobId) {
        let slot = self.slots.iter().position(Option::is_none);
        let (Some(Parked { mut sequence, state, since }), Some(slot)) = (self.parked.remove(&job), slot) else {
            let message = "a job cannot go on: it is not parked, or no sequence is free".to_owned();
            self.link.send(FromChild::Failed { job, code: ErrorCode::Internal, message, overflow: None });
            return;
        };
        sequence.paused(since.elapsed());
        let restored = state.is_some_and(|state| {
            self.context.truncate(slot, 0);
            self.context.restore(slot, &state)
        });
        if !restored {
            sequence.recompute(0);
        }
        if let State::Prefill(_) = sequence.state {
            self.waiting.push(slot);
        }
        self.slots[slot] = Some(sequence);
    }

    /// Gives back the memory that is kept for parked jobs.
    pub(super) fn forget_states(&mut self) {
        self.short_of_memory = true;
        for parked in self.parked.values_mut() {
            parked.state = None;
        }
    }
}
