//! How engines end, and what comes after: the same strategy again, the next one down the ladder, or none for now.

use std::time::{Duration, Instant};

use super::driver::Driver;
use super::models::{Active, Down, DownWhy, Failure, Stage, Then, Tries, unavailable};
use super::reporting::fault_of;
use crate::engine::{EngineEnd, EngineError, EngineId};
use crate::job::{JobError, JobId};
use crate::plan::{Rank, Why, choose, choose_worse};
use crate::telemetry::{EventKind, ModelEvent};

/// First pause before another try, doubled up to the last.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_mins(5);

/// So many crashes within the window make a strategy a failed one.
const CRASHES_MAX: usize = 3;
const CRASH_WINDOW: Duration = Duration::from_mins(10);

/// A strategy whose engine the kernel killed for memory is left alone for so many recovery times.
pub(super) const KILLED_RECOVERIES: u32 = 10;

/// What an engine died of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Killed {
    /// The kernel killed it because memory ran out.
    ForMemory,
    /// Something else.
    No,
}

impl Driver {
    /// The engine takes no more jobs.
    pub(super) fn on_interrupted(&mut self, index: usize, id: EngineId) {
        let entry = &mut self.models[index];
        if entry.serving().is_some_and(|active| active.id() == id)
            && let Some(active) = entry.take_active()
        {
            entry.stage = Stage::Ending { active, then: Then::Decide };
        }
    }

    pub(super) fn on_gone(&mut self, index: usize, id: EngineId, end: EngineEnd) {
        if let EngineEnd::Failed { error, served } = &end {
            self.reporting.metrics.engines.fault(self.models[index].name(), fault_of(error));
            let may_be_of_it =
                matches!(error, EngineError::Ended(_) | EngineError::Stalled(_) | EngineError::Connection(_));
            if served.is_some() && may_be_of_it {
                self.distrust_prefixes(index, id);
            }
        }
        let entry = &mut self.models[index];
        if entry.retiring.iter().any(|old| old.id() == id) {
            entry.retiring.retain(|old| old.id() != id);
            self.let_go(index);
            return;
        }
        if let EngineEnd::Failed { error, served } = &end {
            tracing::error!(model = %entry.name(), ?served, "{error}");
        }
        if entry.next.as_ref().is_some_and(|next| next.id() == id) {
            let Some(next) = entry.next.take() else { return };
            self.switch_failed(index, &next, &end);
            return;
        }
        // The end of one that was given up may still have been on its way.
        if entry.active().is_none_or(|active| active.id() != id) {
            return;
        }
        let was_loading = matches!(entry.stage, Stage::Loading(_));
        let then = if let Stage::Ending { then, .. } = &entry.stage { then.clone() } else { Then::Decide };
        let Some(gone) = entry.take_active() else { return };
        match (then, end) {
            (Then::StepDown { from, reason }, end) => {
                // The kernel may have been faster than we were: then our stop met nobody, and the end looks like our doing.
                let error = match end {
                    EngineEnd::Failed { error, .. } => error,
                    EngineEnd::Stopped => EngineError::Killed,
                };
                if self.killed(&error) == Killed::ForMemory {
                    self.reject(index, &gone, &error, Killed::ForMemory);
                }
                self.step_to_worse(index, from, &reason);
            }
            (Then::Replan { reason }, _) => {
                tracing::info!(model = %self.models[index].name(), "{reason}");
                // With other settings it is loaded when its files have been looked at for them.
                if self.models[index].wanted.is_none() {
                    self.load_best(index);
                }
            }
            (Then::Unload(why, reason), _) => self.unloaded(index, why, reason),
            (Then::Decide, EngineEnd::Failed { error, .. }) if was_loading => self.load_failed(index, &gone, &error),
            (Then::Decide, EngineEnd::Failed { error, .. }) => self.crashed(index, &gone, &error),
            // Only the driver stops an engine, and then knows what comes after.
            (Then::Decide, EngineEnd::Stopped) => self.load_best(index),
        }
        self.publish_model(index);
        self.let_go(index);
    }

    /// Whether the kernel ended an engine because memory ran out.
    pub(super) fn killed(&mut self, error: &EngineError) -> Killed {
        let for_memory = matches!(error, EngineError::Killed) && self.memory.take_kill();
        if for_memory { Killed::ForMemory } else { Killed::No }
    }

    /// Remembers that a strategy failed.
    pub(super) fn reject(&mut self, index: usize, gone: &Active, error: &EngineError, killed: Killed) {
        let reason = match killed {
            Killed::ForMemory => "the kernel killed its process because memory ran out".to_owned(),
            Killed::No => self.models[index].without_folders(&error.to_string()),
        };
        let strategy = gone.chosen.strategy;
        let entry = &mut self.models[index];
        let pause = self.config.memory.recover_after.saturating_mul(KILLED_RECOVERIES);
        let until = (killed == Killed::ForMemory).then(|| Instant::now() + pause);
        entry.failures.retain(|failure| failure.strategy != strategy);
        entry.failures.push(Failure { strategy, reason: reason.clone(), until, earlier: false });
        let name = entry.name().clone();
        self.failures.remember(&name, strategy, &gone.file.sha256, &reason, killed == Killed::ForMemory);
        self.event(index, &ModelEvent::of(EventKind::Failed).from(strategy.to_string()).because(reason));
    }

    /// An engine has ended while it loaded: its strategy is no good, unless somebody has killed or stopped it.
    fn load_failed(&mut self, index: usize, gone: &Active, error: &EngineError) {
        let killed = self.killed(error);
        let again = match error {
            EngineError::Killed => killed == Killed::No,
            // To find that out takes long: where another strategy may serve, that one is next.
            EngineError::Stalled(_) => self.is_last(index, gone),
            _ => false,
        };
        if again {
            self.again(index, gone, error);
        } else {
            self.reject(index, gone, error, killed);
            self.load_best(index);
        }
    }

    /// An engine that served has ended by itself: the same strategy again, unless memory was the reason.
    fn crashed(&mut self, index: usize, gone: &Active, error: &EngineError) {
        if self.killed(error) == Killed::ForMemory {
            self.reject(index, gone, error, Killed::ForMemory);
            self.step_to_worse(index, gone.chosen.rank, "the kernel killed the engine because memory ran out");
        } else {
            self.again(index, gone, error);
        }
    }

    /// The same strategy again, after a pause, unless it crashes all the time. One that others kill or stop has no fault that
    /// is known, so that it is not given up as long as there is no other: jobs wait for it, the pauses grow.
    fn again(&mut self, index: usize, gone: &Active, error: &EngineError) {
        let count = self.count_crash(index);
        if count >= CRASHES_MAX && !(error.is_blameless() && self.is_last(index, gone)) {
            self.models[index].crashes.clear();
            self.reject(index, gone, error, Killed::No);
            self.load_best(index);
            return;
        }
        let reason = self.models[index].without_folders(&error.to_string());
        self.try_later(index, count, reason);
    }

    /// Somebody killed or stopped the dry runs of a model, so that nothing is known of it: they are made again.
    pub(super) fn disturbed(&mut self, index: usize) {
        let count = self.count_crash(index);
        self.try_later(index, count, "its dry runs were killed or stopped".to_owned());
    }

    /// Notes a crash; gives how many there were lately.
    fn count_crash(&mut self, index: usize) -> usize {
        let (now, crashes) = (Instant::now(), &mut self.models[index].crashes);
        crashes.retain(|at| now.duration_since(*at) < CRASH_WINDOW);
        crashes.push(now);
        crashes.len()
    }

    /// After a crash a model waits, longer with each, and jobs wait for it.
    fn try_later(&mut self, index: usize, crashes: usize, reason: String) {
        let now = Instant::now();
        let pause = RETRY_MIN.saturating_mul(1 << (crashes - 1).min(16)).min(RETRY_MAX);
        tracing::warn!(model = %self.models[index].name(), "it is tried again in {pause:?}: {reason}");
        self.models[index].decided_at = now;
        self.models[index].stage = Stage::Down(Down { why: DownWhy::Crashed, reason, retry_at: Some(now + pause) });
        self.governor.settled(now);
        self.answer_waiters(index);
    }

    /// Whether no other strategy than that of this engine can be used now.
    fn is_last(&mut self, index: usize, gone: &Active) -> bool {
        self.memory.read();
        let mut others = self.models[index].candidates_now(Tries::Fresh);
        others.retain(|candidate| candidate.strategy != gone.chosen.strategy);
        choose(&others, &self.headroom(index, None)).chosen.is_none()
    }

    /// Loads what fits below a place on the ladder; if nothing does, the model waits for memory.
    pub(super) fn step_to_worse(&mut self, index: usize, from: Rank, reason: &str) {
        self.memory.read();
        // What an operator chose must not keep the model from stepping down.
        self.models[index].only = None;
        let headroom = self.headroom(index, None);
        let choice = choose_worse(&self.models[index].candidates_now(Tries::Fresh), &headroom, from);
        tracing::warn!(model = %self.models[index].name(), "stepping down: {reason}");
        self.load(index, choice);
        if let Stage::Down(down) = &mut self.models[index].stage
            && down.why != DownWhy::Heat
        {
            // Not a failure: it fits again when memory comes back.
            down.why = DownWhy::NoRoom;
            down.retry_at = None;
            down.reason = format!("{reason}; {}", down.reason);
        }
    }

    fn unloaded(&mut self, index: usize, why: DownWhy, reason: String) {
        tracing::info!(model = %self.models[index].name(), "unloaded: {reason}");
        self.event(index, &ModelEvent::of(EventKind::Unloaded).because(reason.clone()));
        if why == DownWhy::Operator {
            let error = unavailable(&self.models[index].name().clone(), &reason, None);
            self.fail_waiting(index, &error);
        }
        let now = Instant::now();
        // A job that came while the engine was ending has woken nobody.
        let retry_at = (why == DownWhy::Idle && self.is_awaited(&self.models[index])).then_some(now);
        self.models[index].stage = Stage::Down(Down { why, reason, retry_at });
        self.governor.settled(now);
        self.answer_waiters(index);
    }

    /// Ends the engine of a model. Its jobs wait again; for an unload, they run to their ends first.
    pub(super) fn end_engine(&mut self, index: usize, then: Then) {
        let entry = &mut self.models[index];
        let Some(active) = entry.take_active() else { return };
        self.governor.change_begins();
        if active.running == 0 || !matches!(then, Then::Unload(..)) {
            active.engine().stop();
        }
        entry.decided_at = Instant::now();
        entry.stage = Stage::Ending { active, then };
        self.publish_model(index);
    }

    /// Tries models again whose time has come.
    pub(super) fn retry_models(&mut self, now: Instant) {
        for index in 0..self.models.len() {
            let entry = &mut self.models[index];
            entry.failures.retain(|failure| failure.until.is_none_or(|until| until > now));
            let Stage::Down(Down { why, retry_at: Some(at), reason }) = &entry.stage else { continue };
            if *at > now {
                continue;
            }
            match why {
                DownWhy::Crashed if entry.is_unmeasured() => {
                    entry.stage = Stage::Preparing { failed: Some(reason.clone()) };
                    self.prepare(index);
                }
                // The files may have been replaced, and what failed may work by now.
                DownWhy::Failed => {
                    entry.stage = Stage::Preparing { failed: Some(reason.clone()) };
                    entry.failures.clear();
                    self.prepare(index);
                }
                DownWhy::Idle => self.load_on_demand(index),
                DownWhy::Crashed | DownWhy::NoRoom | DownWhy::Heat | DownWhy::Operator | DownWhy::Removed => {
                    self.load_best(index);
                }
            }
            self.publish_model(index);
        }
    }

    /// Nothing can be loaded: because memory is short, or because nothing works.
    pub(super) fn set_down(&mut self, index: usize, reason: String) {
        let now = Instant::now();
        let entry = &mut self.models[index];
        let reasons: Vec<String> = entry.unusable().into_iter().chain((!reason.is_empty()).then_some(reason)).collect();
        let reason = entry.without_folders(&reasons.join("; "));
        let room_only = entry.refused.iter().any(|r| matches!(r.why, Why::TooLarge { .. }));
        let (why, retry_at) = if room_only {
            // The governor looks at memory all the time.
            (DownWhy::NoRoom, None)
        } else {
            let pause = RETRY_MIN.saturating_mul(1 << entry.attempts.min(16)).min(RETRY_MAX);
            (DownWhy::Failed, Some(now + pause))
        };
        entry.attempts += 1;
        tracing::error!(model = %entry.name(), "no strategy can be used: {reason}");
        let down = Down { why, reason, retry_at };
        self.fail_waiting_if_hopeless(index, &down);
        self.event(index, &ModelEvent::of(EventKind::Failed).because(down.reason.clone()));
        self.models[index].stage = Stage::Down(down);
        self.governor.settled(now);
        self.answer_waiters(index);
    }

    /// A model that never served may never do so: what waits for it ends now, with the reason.
    fn fail_waiting_if_hopeless(&mut self, index: usize, down: &Down) {
        let entry = &self.models[index];
        if entry.has_served || down.why != DownWhy::Failed {
            return;
        }
        let retry = down.retry_at.map(|at| at.saturating_duration_since(Instant::now()));
        self.fail_waiting(index, &unavailable(&entry.name().clone(), &down.reason, retry));
    }

    /// Ends every job that waits for a model.
    pub(super) fn fail_waiting(&mut self, index: usize, error: &JobError) {
        let name = self.models[index].name().clone();
        let waiting: Vec<JobId> =
            self.jobs.iter().filter(|(_, job)| job.model == name && job.is_waiting()).map(|(id, _)| id).collect();
        for job in waiting {
            self.fail(job, error.clone());
        }
    }
}
