//! The loop of encoders: every step computes as many texts as one holds, of all jobs in turn. An encoder remembers nothing,
//! so that texts of any jobs may stand beside each other, each as a sequence of its own.

mod answers;
mod entities;
mod head;
mod skills;
mod tag;
mod words;
mod work;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

pub use self::head::{Head, HeadError};
use self::skills::Skills;
use self::work::Work;
use super::link::{IDLE_TURN, Link, Received};
use super::llama::{Batch, Context, DecodeFailed, Decoded, Model, Token};
use super::memory;
use super::threads::Crew;
use crate::engine::Duty;
use crate::engine::protocol::{EngineJob, FromChild, LoadParams, Phase, ToChild};
use crate::job::{ErrorCode, JobError, JobId};

/// Tokens of a step that is made of short texts. Each attends to all others in the batch, although that is masked: a larger step
/// would take longer for each text, and hold up who comes or leaves.
const STEP: usize = 512;

/// A piece of a text in the batch; its sequence is its place among the entries.
struct Entry {
    /// Whose it is, by the job's place.
    job: usize,
    /// The index of its first token.
    first: usize,
    /// How many tokens it has.
    tokens: usize,
}

/// The loop and everything that it owns.
pub struct Encoder {
    skills: Skills,
    context: Context,
    link: Link,
    /// Computes steps.
    crew: Crew,
    /// How much of the time it computes.
    duty: Duty,
    /// Most texts in one step.
    texts_max: usize,
    /// The one whose turn it is to be in the next step comes first.
    jobs: VecDeque<Work>,
    /// Jobs that have made room; they keep what is computed.
    parked: Vec<Work>,
    batch: Batch,
}

impl Encoder {
    /// A loop without jobs. To be reproducible, each text is computed alone: beside others its last digits may differ.
    pub fn new(model: Rc<Model>, context: Context, head: Option<Head>, link: Link, params: &LoadParams) -> Self {
        let texts_max = if params.reproducible { 1 } else { context.n_sequences() };
        let (jobs, parked, batch) = (VecDeque::new(), Vec::new(), Batch::default());
        let skills = Skills::new(model, &context, head, params.multi_label);
        let crew = Crew::new(params, &link.shared);
        Self { skills, context, link, crew, duty: Duty::FULL, texts_max, jobs, parked, batch }
    }

    /// Runs until the daemon goes away or llama.cpp fails for good.
    pub fn run(mut self) -> Result<(), DecodeFailed> {
        let (mut worked, mut ended) = (Duration::ZERO, Instant::now());
        loop {
            self.link.shared.progress();
            if self.jobs.is_empty() {
                worked = Duration::ZERO;
                if !self.wait(Phase::Idle, IDLE_TURN) {
                    return Ok(());
                }
                continue;
            }
            let rest = self.duty.rest_after(worked).map_or(IDLE_TURN, |rest| rest.saturating_sub(ended.elapsed()));
            if !rest.is_zero() {
                if !self.wait(Phase::Resting, rest.min(IDLE_TURN)) {
                    return Ok(());
                }
                continue;
            }
            while let Ok(message) = self.link.inbox.try_recv() {
                self.handle(message);
            }
            let start = Instant::now();
            self.step()?;
            (worked, ended) = (start.elapsed(), Instant::now());
        }
    }

    /// Waits for a message, for a while; false if the daemon is gone.
    fn wait(&mut self, phase: Phase, most: Duration) -> bool {
        self.link.shared.enter(phase);
        match self.link.inbox.recv_timeout(most) {
            Ok(message) => self.handle(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    fn handle(&mut self, Received { message, at }: Received) {
        self.link.shared.progress();
        match message {
            ToChild::Submit(job) => self.admit(*job, at),
            ToChild::Cancel(job) => {
                self.parked.retain(|work| work.job() != job);
                if self.take(job).is_some() {
                    self.fail(job, JobError::new(ErrorCode::Cancelled, "cancelled while running"));
                }
            }
            ToChild::Park(job) => {
                if let Some(work) = self.take(job) {
                    self.parked.push(work);
                    self.link.send(FromChild::Parked(job));
                }
            }
            ToChild::Resume(job) => match self.parked.iter().position(|work| work.job() == job) {
                Some(place) => self.jobs.push_back(self.parked.remove(place)),
                None => self.fail(job, JobError::new(ErrorCode::Internal, "a job cannot go on: it is not parked")),
            },
            ToChild::Trim => memory::trim(),
            ToChild::Duty(duty) => self.duty = duty,
            // Embeddings are not streamed, and nothing is remembered.
            ToChild::Credit(_) | ToChild::Openings(_) | ToChild::Forget { .. } | ToChild::Ease => {}
            ToChild::Load(_) | ToChild::Measure(_) | ToChild::Tune(_) | ToChild::Quantize(_) => {
                tracing::error!("a second order was given; ignored");
            }
        }
    }

    /// Takes a job out, if it still runs.
    fn take(&mut self, job: JobId) -> Option<Work> {
        let place = self.jobs.iter().position(|work| work.job() == job)?;
        self.jobs.remove(place)
    }

    fn admit(&mut self, job: EngineJob, received: Instant) {
        let id = job.id;
        match self.skills.begin(job, received, &self.link.shared) {
            Ok(work) => self.jobs.push_back(work),
            Err(error) => return self.fail(id, error),
        }
        self.finish_done();
    }

    fn fail(&self, job: JobId, JobError { code, message, overflow, .. }: JobError) {
        self.link.send(FromChild::Failed { job, code, message, overflow });
    }

    fn step(&mut self) -> Result<(), DecodeFailed> {
        let entries = self.fill();
        if entries.is_empty() {
            return Ok(());
        }
        self.link.shared.enter(Phase::Working);
        self.link.shared.announce_prefill(entries.iter().map(|entry| self.jobs[entry.job].job()).collect());
        // Who leaves from now on breaks the step off, and who has left just now is in the inbox.
        if let Ok(message) = self.link.inbox.try_recv() {
            self.handle(message);
            return Ok(());
        }
        match self.crew.decode(&mut self.context, &mut self.batch, entries.len()) {
            Ok(Decoded::Done) => {
                for (sequence, entry) in entries.iter().enumerate() {
                    let values = self.skills.computed(&self.context, sequence, entry.first, entry.tokens);
                    self.jobs[entry.job].computed(values);
                }
                let first = self.jobs.front().map(Work::job);
                self.finish_done();
                // Who came first in this step comes last in the next.
                if self.jobs.front().map(Work::job) == first && first.is_some() {
                    self.jobs.rotate_left(1);
                }
                Ok(())
            }
            // The texts are still there.
            Ok(Decoded::Aborted) => Ok(()),
            Err(e) => {
                // The others begin anew in the next engine.
                let computed = |place: &usize| entries.iter().any(|entry| entry.job == *place);
                for place in (0..self.jobs.len()).filter(computed) {
                    self.fail(self.jobs[place].job(), JobError::new(ErrorCode::EngineFailed, e.to_string()));
                }
                Err(e)
            }
        }
    }

    /// Takes one text of each job in turn until none fits any more. The first job's next text always does.
    fn fill(&mut self) -> Vec<Entry> {
        self.batch.clear();
        let mut entries = Vec::new();
        let mut taken = vec![0; self.jobs.len()];
        let first = self.jobs.front().and_then(|work| work.waiting(0)).map_or(0, <[Token]>::len);
        let mut room = self.context.n_batch().min(first.max(STEP));
        loop {
            let before = entries.len();
            for (job, (work, taken)) in self.jobs.iter().zip(&mut taken).enumerate() {
                let Some(tokens) = work.waiting(*taken).filter(|tokens| tokens.len() <= room) else { continue };
                if entries.len() == self.texts_max {
                    return entries;
                }
                let first = self.batch.len();
                for (position, &token) in tokens.iter().enumerate() {
                    self.batch.add(token, position, entries.len(), true);
                }
                room -= tokens.len();
                *taken += 1;
                entries.push(Entry { job, first, tokens: tokens.len() });
            }
            if entries.len() == before {
                return entries;
            }
        }
    }

    /// Sends the answers of jobs whose texts are all computed.
    fn finish_done(&mut self) {
        let (done, open) = std::mem::take(&mut self.jobs).into_iter().partition(Work::is_done);
        self.jobs = open;
        let done: VecDeque<Work> = done;
        for work in done {
            let job = work.job();
            match work.finish() {
                Ok(answer) => self.link.send(FromChild::Finished { job, answer }),
                Err(error) => self.fail(job, error),
            }
        }
    }
}
