//! The batch loop: every step computes the next token of each running job and as much of the waiting prompts as the
//! others can bear.

mod admit;
mod fill;
mod grammars;
mod park;
mod prefix;
mod recall;
mod rest;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use jiff::civil::Date;

use self::park::Parked;
use self::prefix::today;
use super::cache::disk::{Disk, Key, Writer};
use super::cache::{Cache, Rule};
use super::grammar::Grammars;
use super::link::{IDLE_TURN, Link, Received};
use super::llama::{Batch, Context, DecodeFailed, Decoded, Model};
use super::memory;
use super::pace::{CHUNK, Pace};
use super::prompt::Prompter;
use super::sequence::{Advance, Failure, Sequence, State};
use super::threads::Crew;
use crate::engine::Duty;
use crate::engine::protocol::{DELTA_CREDITS, FromChild, Opening, Phase, Prefixes, ToChild};
use crate::job::{ErrorCode, JobId};

/// A free slot below a used one splits the batch in llama.cpp, which then reads the weights twice. When no new job has
/// filled it for this many steps, the last sequence moves there.
const GAP_STEPS: u32 = 4;

/// How often a loop that only waits for grammars looks for them.
const GRAMMAR_TURN: Duration = Duration::from_millis(2);

/// Which sequences a step computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Decode,
    Prefill,
    Both,
}

/// One sequence's share of the batch.
struct Entry {
    slot: usize,
    tokens: usize,
    /// Index of the token whose logits choose the next one.
    output: Option<usize>,
}

/// The loop and everything that it owns.
pub struct Scheduler {
    /// The loaded model.
    model: Rc<Model>,
    /// Its memory.
    context: Context,
    /// Makes prompts.
    prompter: Prompter,
    /// To the daemon.
    link: Link,
    /// Sizes prompt chunks.
    pace: Pace,
    /// Computes steps.
    crew: Crew,
    /// How much of the time it computes.
    duty: Duty,
    /// Same output alone and under load: prompts are computed alone, in chunks on a fixed grid.
    reproducible: bool,
    slots: Vec<Option<Sequence>>,
    /// Jobs that have made room for others.
    parked: HashMap<JobId, Parked>,
    /// Whether memory is short: then nothing is kept for them or of prompts.
    short_of_memory: bool,
    /// What is kept of prompts.
    cache: Cache,
    /// Where it is kept for the next start.
    disk: Option<Disk>,
    writer: Option<Writer>,
    /// What the operator's prompts begin with, and the day for which it was made into tokens.
    openings: (Vec<Opening>, Date),
    longest_token: usize,
    /// Where grammars are built, once a job has needed one.
    grammars: Option<Grammars>,
    /// Slots whose prompt is not computed yet, oldest first.
    waiting: Vec<usize>,
    batch: Batch,
    credits: u32,
    gap_age: u32,
}

impl Scheduler {
    /// A loop without jobs. `key` tells what the states of sequences depend on besides their tokens.
    pub fn new(
        model: Rc<Model>,
        context: Context,
        prompter: Prompter,
        link: Link,
        (pace, crew): (Pace, Crew),
        (prefixes, key, reproducible): (&Prefixes, Key, bool),
    ) -> Self {
        let slots = (0..context.n_sequences()).map(|_| None).collect();
        // What was computed on the grid of the rest is what would be computed with it.
        let grid = if reproducible { CHUNK } else { 1 };
        let rule = if model.can_rewind() { Rule::InPart(grid) } else { Rule::AsWhole(grid) };
        let cache_most = usize::try_from(prefixes.most.0).unwrap_or(usize::MAX);
        let disk = prefixes.disk.as_ref().map(|folder| Disk::new(folder.clone(), &prefixes.model, key));
        let writer = disk.clone().and_then(|disk| {
            Writer::start(disk).inspect_err(|e| tracing::warn!("prefixes are not kept on disk: {e}")).ok()
        });
        let longest_token = model.longest_token();
        let mut scheduler = Self {
            model,
            context,
            prompter,
            link,
            pace,
            crew,
            duty: Duty::FULL,
            reproducible,
            slots,
            parked: HashMap::new(),
            short_of_memory: false,
            cache: Cache::new(cache_most, rule),
            disk,
            writer,
            openings: (Vec::new(), today()),
            longest_token,
            grammars: None,
            waiting: Vec::new(),
            batch: Batch::default(),
            credits: DELTA_CREDITS,
            gap_age: 0,
        };
        scheduler.prepare_common();
        scheduler
    }

    /// Runs until the daemon goes away or llama.cpp fails for good.
    pub fn run(mut self) -> Result<(), DecodeFailed> {
        let mut worked = Duration::ZERO;
        loop {
            self.link.shared.progress();
            if self.slots.iter().all(Option::is_none) {
                self.tell_load(0);
                self.link.shared.enter(Phase::Idle);
                self.expire();
                worked = Duration::ZERO;
                match self.link.inbox.recv_timeout(IDLE_TURN) {
                    Ok(message) => self.handle(message),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                }
                continue;
            }
            self.take_grammars();
            if self.slots.iter().flatten().all(Sequence::waits) {
                self.link.shared.enter(Phase::Idle);
                worked = Duration::ZERO;
                match self.link.inbox.recv_timeout(GRAMMAR_TURN) {
                    Ok(message) => self.handle(message),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                }
                continue;
            }
            self.rest(worked);
            let start = Instant::now();
            self.link.shared.enter(Phase::Working);
            self.close_gap();
            if self.reproducible {
                self.step(Part::Decode)?;
                self.step(Part::Prefill)?;
            } else {
                self.step(Part::Both)?;
            }
            worked = start.elapsed();
        }
    }

    /// Takes what has come in; true if something has.
    fn drain(&mut self) -> bool {
        let mut any = false;
        while let Ok(message) = self.link.inbox.try_recv() {
            self.handle(message);
            any = true;
        }
        any
    }

    fn handle(&mut self, Received { message, at }: Received) {
        // A long prompt takes the tokenizer a while.
        self.link.shared.progress();
        match message {
            ToChild::Submit(job) => self.admit(*job, at),
            ToChild::Cancel(job) => {
                if let Some(slot) = self.slot_of(job) {
                    self.fail(slot, ErrorCode::Cancelled, "cancelled while running");
                }
                self.parked.remove(&job);
            }
            ToChild::Park(job) => self.park(job),
            ToChild::Resume(job) => self.resume(job),
            ToChild::Credit(credits) => self.credits = (self.credits + credits).min(DELTA_CREDITS),
            ToChild::Openings(openings) => self.set_openings(openings),
            ToChild::Forget { client, session } => self.forget(client, session),
            ToChild::Trim => {
                self.forget_states();
                self.cache.clear();
                self.forget_grammars();
                memory::trim();
            }
            ToChild::Ease => self.short_of_memory = false,
            ToChild::Duty(duty) => self.duty = duty,
            ToChild::Load(_) | ToChild::Measure(_) | ToChild::Tune(_) | ToChild::Quantize(_) => {
                tracing::error!("a second order was given; ignored");
            }
        }
    }

    fn slot_of(&self, job: JobId) -> Option<usize> {
        self.slots.iter().position(|s| s.as_ref().is_some_and(|s| s.job == job))
    }

    fn step(&mut self, part: Part) -> Result<(), DecodeFailed> {
        let entries = loop {
            let entries = self.fill(part);
            self.link.shared.announce_prefill(self.abortable(&entries));
            if !self.drain() {
                break entries;
            }
        };
        if entries.is_empty() {
            return Ok(());
        }
        let prompt_tokens = entries.iter().filter(|e| self.is_waiting(e.slot)).map(|e| e.tokens).sum();
        let start = Instant::now();
        match self.crew.decode(&mut self.context, &mut self.batch, entries.len()) {
            Ok(Decoded::Done) => {
                self.pace.measured(prompt_tokens, start.elapsed());
                self.take_results(&entries);
                self.keep_openings(&entries);
                let chosen = entries.iter().filter(|entry| entry.output.is_some()).count();
                self.tell_load(chosen);
            }
            Ok(Decoded::Aborted) => self.rewind(&entries),
            Err(e) => {
                for entry in &entries {
                    self.fail(entry.slot, ErrorCode::EngineFailed, &e.to_string());
                }
                return Err(e);
            }
        }
        self.send_deltas();
        Ok(())
    }

    fn is_waiting(&self, slot: usize) -> bool {
        matches!(self.slots[slot].as_ref().map(|s| s.state), Some(State::Prefill(_)))
    }

    /// Jobs whose cancel is worth leaving the step: a prompt takes long, one token doesn't.
    fn abortable(&self, entries: &[Entry]) -> Vec<JobId> {
        if !self.model.can_rewind() {
            return Vec::new();
        }
        let prompts = entries.iter().filter(|e| self.is_waiting(e.slot));
        prompts.filter_map(|e| self.slots[e.slot].as_ref().map(|s| s.job)).collect()
    }

    fn take_results(&mut self, entries: &[Entry]) {
        let mut ended = Vec::new();
        for entry in entries {
            let Some(sequence) = self.slots[entry.slot].as_mut() else { continue };
            if let State::Prefill(done) = sequence.state {
                sequence.state = State::Prefill(done + entry.tokens);
            }
            let Some(output) = entry.output else { continue };
            self.waiting.retain(|&slot| slot != entry.slot);
            let lost = Failure { code: ErrorCode::EngineFailed, message: "the logits of a step are lost".to_owned() };
            let logits = self.context.logits(&self.batch, output).ok_or(lost);
            match logits.and_then(|logits| sequence.advance(&self.model, logits)) {
                Ok(Advance::GoesOn(_)) => {}
                Ok(Advance::Back(keep)) => {
                    if self.context.truncate(entry.slot, keep) {
                        // A few tokens of one that runs do not wait for the whole prompts of others.
                        self.waiting.insert(0, entry.slot);
                    } else {
                        self.fail(entry.slot, ErrorCode::EngineFailed, "the model's memory cannot go back");
                    }
                }
                Ok(Advance::Ended(finish)) => {
                    if let Some(sequence) = self.take(entry.slot) {
                        let (job, turn) = (sequence.job, sequence.turn(self.reproducible));
                        self.link.send(FromChild::Finished { job, answer: sequence.finish(finish) });
                        ended.push((entry.slot, turn));
                    }
                }
                Err(failure) => self.fail(entry.slot, failure.code, &failure.message),
            }
        }
        // Nobody waits for it, and the logits of the others are read.
        for (slot, turn) in ended {
            self.clear(slot, turn);
        }
    }

    /// After an aborted step nobody knows what was computed: each sequence goes on from what is in memory, and a token
    /// whose logits are lost is computed again.
    fn rewind(&mut self, entries: &[Entry]) {
        for entry in entries {
            let Some(sequence) = self.slots[entry.slot].as_mut() else { continue };
            let most = sequence.length() + entry.tokens - usize::from(entry.output.is_some());
            let keep = self.context.length(entry.slot).min(most);
            if let State::Prefill(done) = &mut sequence.state {
                *done = keep;
            }
            if !self.context.truncate(entry.slot, keep) {
                self.fail(entry.slot, ErrorCode::EngineFailed, "the model's memory cannot go back after a cancel");
            }
        }
    }

    /// What jobs hold of the context memory.
    fn tell_load(&self, chosen: usize) {
        let tokens = self.slots.iter().flatten().map(Sequence::length).sum();
        self.link.shared.loaded(tokens, chosen);
    }

    fn send_deltas(&mut self) {
        for sequence in self.slots.iter_mut().flatten() {
            if self.credits == 0 {
                return;
            }
            if let Some(text) = sequence.take_delta() {
                self.credits -= 1;
                self.link.send(FromChild::Delta { job: sequence.job, text });
            }
        }
    }

    fn fail(&mut self, slot: usize, code: ErrorCode, message: &str) {
        if let Some(sequence) = self.free(slot) {
            let message = message.to_owned();
            self.link.send(FromChild::Failed { job: sequence.job, code, message, overflow: None });
        }
    }

    /// Takes a sequence out of its slot, whose memory is to be cleared.
    fn take(&mut self, slot: usize) -> Option<Sequence> {
        self.waiting.retain(|&waiting| waiting != slot);
        self.slots[slot].take()
    }

    /// Frees a slot, and keeps nothing of what was in its memory.
    fn free(&mut self, slot: usize) -> Option<Sequence> {
        let sequence = self.take(slot)?;
        self.context.truncate(slot, 0);
        Some(sequence)
    }

    fn close_gap(&mut self) {
        let gap = self.slots.iter().position(Option::is_none);
        let last = self.slots.iter().rposition(Option::is_some);
        let (Some(gap), Some(last)) = (gap, last) else { return };
        if gap > last {
            self.gap_age = 0;
            return;
        }
        self.gap_age += 1;
        if self.gap_age > GAP_STEPS {
            self.context.copy(last, gap);
            self.slots.swap(last, gap);
            self.context.truncate(last, 0);
            for slot in self.waiting.iter_mut().filter(|slot| **slot == last) {
                *slot = gap;
            }
        }
    }
}
