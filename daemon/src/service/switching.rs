//! From one engine of a model to another while it serves: because an operator wants another strategy, or its files changed.

use std::time::Instant;

use super::driver::Driver;
use super::endings::Killed;
use super::models::{Active, Review, Stage, Then, Tries, unavailable};
use crate::engine::EngineEnd;
use crate::job::{ErrorCode, JobError};
use crate::plan::{Choice, Rejection, Strategy, Why, choose};

impl Driver {
    /// Makes a model the default, or runs it with another strategy: the old engine serves until the new one can.
    pub(super) fn switch(&mut self, index: usize, strategy: Option<&str>) -> Result<(), JobError> {
        let Some(text) = strategy else {
            for (at, entry) in self.models.iter_mut().enumerate() {
                entry.config.default = at == index;
            }
            if let Stage::Down(_) = self.models[index].stage {
                self.load_best(index);
            }
            return Ok(());
        };
        let only = self.wanted(index, Some(text))?;
        let entry = &self.models[index];
        let name = entry.name();
        let Stage::Serving(active) = &entry.stage else {
            let text = match &entry.stage {
                Stage::Down(_) => format!("the model {name} does not serve now; load it instead"),
                _ => format!("the model {name} is being loaded or ended; ask again when it serves"),
            };
            return Err(JobError::new(ErrorCode::ModelUnavailable, text));
        };
        if entry.next.is_some() {
            return Err(JobError::new(
                ErrorCode::ModelUnavailable,
                format!("the model {name} is being switched already"),
            ));
        }
        if only == Some(active.chosen.strategy) && !active.chosen.squeezed {
            self.models[index].only = only;
            return Ok(());
        }
        if let Some(too_hot) = self.heat_refusal() {
            return Err(too_hot);
        }
        let headroom = self.headroom(index, None);
        // The wish holds from when it has come true.
        let before = std::mem::replace(&mut self.models[index].only, only);
        let Choice { chosen, rejected } = choose(&self.models[index].candidates_now(Tries::All), &headroom);
        let started = chosen.and_then(|chosen| self.start_engine(index, chosen, rejected.clone()));
        self.models[index].only = before;
        let Some(next) = started else {
            return Err(no_room(only, &rejected));
        };
        self.models[index].decided_at = Instant::now();
        self.models[index].next = Some(next);
        Ok(())
    }

    /// Its files were looked at again while an engine was there: what they hold now is loaded beside what runs, or in its
    /// place, if there is a reason for it.
    pub(super) fn reviewed(&mut self, index: usize, review: Review) {
        if let Some(too_hot) = self.heat_refusal() {
            // They are looked at once more when the machine has cooled down.
            self.models[index].review = Some(review);
            self.end_waiters(index, &Err(too_hot));
            return;
        }
        let again = || Then::Replan { reason: "it is loaded again".to_owned() };
        let id = match &self.models[index].stage {
            Stage::Serving(active) if review == Review::Checked && active.file.is_current() => return,
            Stage::Serving(active) => active.id(),
            Stage::Loading(active) if review == Review::Renewed || !active.file.is_current() => {
                self.end_engine(index, again());
                return;
            }
            _ => return,
        };
        self.models[index].decided_at = Instant::now();
        let entry = &self.models[index];
        let beside = choose(&entry.candidates_now(Tries::All), &self.headroom(index, None));
        let wanted = self.choose_now(index, Some(id));
        if wanted.chosen.is_none() {
            let reasons =
                self.models[index].unusable().into_iter().chain(wanted.rejected.iter().map(ToString::to_string));
            let reasons = reasons.collect::<Vec<_>>().join("; ");
            let text = format!("nothing of it can be loaded now, the old one goes on: {reasons}");
            let error =
                unavailable(&self.models[index].name().clone(), &self.models[index].without_folders(&text), None);
            self.governor.settled(Instant::now());
            self.end_waiters(index, &Err(error));
            return;
        }
        let same = |a: &Choice, b: &Choice| a.chosen.as_ref().map(|c| c.rank) == b.chosen.as_ref().map(|c| c.rank);
        if same(&beside, &wanted) {
            let Choice { chosen, rejected } = wanted;
            self.models[index].next = chosen.and_then(|chosen| self.start_engine(index, chosen, rejected));
        } else {
            self.end_engine(index, again());
        }
        self.answer_waiters(index);
    }

    /// The engine that was loaded beside the old one has passed its golden prompt.
    pub(super) fn take_over(&mut self, index: usize) {
        let entry = &mut self.models[index];
        let Some(next) = entry.next.take() else { return };
        let old = entry.take_active();
        entry.only = next.only;
        entry.stage = Stage::Serving(next);
        if let Some(old) = old {
            if old.running == 0 {
                old.engine().stop();
            }
            let id = old.id();
            entry.retiring.push(old);
            self.unpark(id);
        }
    }

    /// An engine that was to take over has failed: the old one goes on.
    pub(super) fn switch_failed(&mut self, index: usize, next: &Active, end: &EngineEnd) {
        let strategy = next.chosen.strategy;
        let reason = match end {
            EngineEnd::Failed { error, .. } => self.models[index].without_folders(&error.to_string()),
            EngineEnd::Stopped => "it was stopped".to_owned(),
        };
        if let EngineEnd::Failed { error, .. } = end {
            let killed = self.killed(error);
            // One that somebody killed has no fault that is known.
            if killed == Killed::ForMemory || !error.is_blameless() {
                self.reject(index, next, error, killed);
            }
        }
        self.explain_anew(index);
        self.governor.settled(Instant::now());
        let error = JobError::new(ErrorCode::ModelUnavailable, format!("{strategy} could not be loaded: {reason}"));
        self.end_waiters(index, &Err(error));
        self.publish_model(index);
    }

    /// A strategy that an operator names must be one of the model's ladder.
    pub(super) fn wanted(&self, index: usize, strategy: Option<&str>) -> Result<Option<Strategy>, JobError> {
        let Some(text) = strategy else { return Ok(None) };
        let invalid = |text: String| JobError::new(ErrorCode::InvalidRequest, text);
        let strategy = Strategy::parse(text).map_err(|allowed| invalid(format!("strategy {text:?}: {allowed}")))?;
        let known: Vec<String> = self.models[index].candidates.iter().map(|c| c.strategy.to_string()).collect();
        if known.contains(&strategy.to_string()) {
            return Ok(Some(strategy));
        }
        Err(invalid(format!("{strategy} is not on the ladder of this model here; it has {}", known.join(", "))))
    }
}

fn no_room(wanted: Option<Strategy>, rejected: &[Rejection]) -> JobError {
    let rejection = rejected.iter().find(|rejection| Some(rejection.strategy) == wanted);
    let text = rejection.map_or_else(|| "nothing can be loaded".to_owned(), ToString::to_string);
    match rejection.map(|rejection| &rejection.why) {
        Some(Why::TooLarge { .. }) => {
            let text = format!("{text}, beside the engine that serves; unload the model first, then load it so");
            JobError::new(ErrorCode::MemoryHeadroom, text)
        }
        _ => JobError::new(ErrorCode::ModelUnavailable, text),
    }
}
