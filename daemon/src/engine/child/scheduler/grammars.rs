//! Grammars of constrained jobs: ordered when a job comes, taken when they are built.

use super::Scheduler;
use crate::engine::child::grammar::{BUILD_MAX, Built, GrammarError, Grammars, Recipe};
use crate::engine::child::sequence::Sequence;
use crate::job::{ErrorCode, JobId};

impl Scheduler {
    /// Has a grammar built for a job. The first one costs the tables of the vocabulary.
    pub(super) fn order_grammar(&mut self, job: JobId, recipe: Recipe) -> Result<(), (ErrorCode, String)> {
        let refused = |error: GrammarError| (error.code(), error.to_string());
        if self.grammars.is_none() {
            let started = Grammars::start(self.model.vocabulary());
            let failed = |error| (ErrorCode::EngineFailed, format!("no thread for grammars: {error}"));
            self.grammars = Some(started.map_err(failed)?);
        }
        self.grammars.as_mut().map_or(Ok(()), |grammars| grammars.order(job, recipe)).map_err(refused)
    }

    /// Gives the grammars that are built to the jobs that wait for them.
    pub(super) fn take_grammars(&mut self) {
        while let Some(grammars) = &mut self.grammars {
            match grammars.next() {
                Ok(Some(built)) => self.give_grammar(built),
                Ok(None) => {
                    let Some(job) = grammars.stuck(BUILD_MAX) else { return };
                    self.give_grammar(Built { job, grammar: Err(GrammarError::TooSlow) });
                    // The thread ends when it is done with this one.
                    self.lose_grammars(&GrammarError::Failed("the thread that builds grammars is stuck"));
                }
                Err(error) => self.lose_grammars(&error),
            }
        }
    }

    /// Whoever waits for a grammar gets this error; who comes later gets a new thread.
    fn lose_grammars(&mut self, error: &GrammarError) {
        tracing::error!("{error}");
        self.grammars = None;
        let waiting = self.all_sequences().filter(|sequence| sequence.waits()).map(|sequence| sequence.job);
        for job in waiting.collect::<Vec<_>>() {
            self.give_grammar(Built { job, grammar: Err(error.clone()) });
        }
    }

    /// A job that was cancelled needs none any more; one that has made room is told when it goes on.
    fn give_grammar(&mut self, Built { job, grammar }: Built) {
        match (self.slot_of(job), grammar) {
            (Some(slot), Err(error)) => self.fail(slot, error.code(), &error.to_string()),
            (_, grammar) => {
                if let Some(sequence) = self.all_sequences().find(|sequence| sequence.job == job) {
                    sequence.hold(grammar);
                }
            }
        }
    }

    /// Gives the tables back, unless a job waits for them.
    pub(super) fn forget_grammars(&mut self) {
        if !self.all_sequences().any(|sequence| sequence.waits()) {
            self.grammars = None;
        }
    }

    /// Those that run and those that have made room.
    fn all_sequences(&mut self) -> impl Iterator<Item = &mut Sequence> {
        let parked = self.parked.values_mut().map(|parked| &mut parked.sequence);
        self.slots.iter_mut().flatten().chain(parked)
    }
}
