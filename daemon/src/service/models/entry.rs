//! One configured model.

use std::time::{Duration, Instant};

use super::active::ability_of;
use super::{Active, Failure, Gpu, Variant};
use crate::config::{Expect, Model};
use crate::engine::EngineId;
use crate::job::{Ability, ErrorCode, JobError, ModelName, Precision};
use crate::plan::{Candidate, Placement, Rank, Rejection, Strategy, Why};

/// A configured model.
pub struct ModelEntry {
    /// Its configuration.
    pub config: Model,
    /// Its files, once they were read.
    pub variants: Vec<Variant>,
    /// The strategies for them, best first, each with what it needs.
    pub candidates: Vec<Candidate>,
    /// The GPU that was found for it.
    pub gpu: Option<Gpu>,
    /// Where it is.
    pub stage: Stage,
    /// An engine that is to take over once it has passed its golden prompt.
    pub next: Option<Active>,
    /// Engines that were replaced and finish their jobs.
    pub retiring: Vec<Active>,
    /// Strategies that failed, and why.
    pub failures: Vec<Failure>,
    /// What was against each strategy when none was left.
    pub refused: Vec<Rejection>,
    /// The look at its files that is under way; an older one that is not over yet counts no more.
    pub preparing: Option<Ticket>,
    /// Why that look is taken, if not to load it for the first time.
    pub review: Option<Review>,
    /// The configuration that replaces its own when that look is over. Until then the old one holds for whatever is loaded.
    pub wanted: Option<Model>,
    /// Precisions that could not be derived, in this run.
    pub underivable: Vec<Precision>,
    /// The only strategy that an operator wants.
    pub only: Option<Strategy>,
    /// The best place that it has had: a worse one is a step down.
    pub best: Option<Rank>,
    /// What it served with last.
    pub last: Option<(Rank, Strategy)>,
    /// When it was decided to load what loads now.
    pub decided_at: Instant,
    /// When its engine crashed lately, oldest first.
    pub crashes: Vec<Instant>,
    /// Times in a row that nothing could be loaded.
    pub attempts: u32,
    /// When a job last ended or came.
    pub last_used: Instant,
    /// When it last began to serve.
    pub serves_since: Instant,
    /// Whether it has served in this run.
    pub has_served: bool,
}

/// The number of a look at a model's files in this run of the daemon.
pub type Ticket = u64;

/// Why the files of a model are looked at although they are known. The later ones include the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Review {
    /// They may have been replaced: then what they hold now is loaded.
    Checked,
    /// Its configuration has changed: it needs another engine.
    Renewed,
    /// An operator wants them read, and what they hold loaded, whatever is known of them.
    Reread,
}

/// Where a model is.
pub enum Stage {
    /// Its files are opened, hashed and measured.
    Preparing {
        /// Why it did not serve before, if it was tried.
        failed: Option<String>,
    },
    /// An engine reads it.
    Loading(Active),
    /// An engine serves it.
    Serving(Active),
    /// Its engine ends.
    Ending {
        /// The engine, which takes no jobs any more.
        active: Active,
        /// What comes after.
        then: Then,
    },
    /// No engine runs it.
    Down(Down),
}

/// What comes after the end of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// It ended by itself: what it died of decides.
    Decide,
    /// The best that fits is loaded.
    Replan {
        /// Why.
        reason: String,
    },
    /// The next smaller strategy is loaded.
    StepDown {
        /// From where.
        from: Rank,
        /// Why.
        reason: String,
    },
    /// Nothing.
    Unload(DownWhy, String),
}

/// A model without an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Down {
    /// Of which kind.
    pub why: DownWhy,
    /// In words.
    pub reason: String,
    /// When it is tried again by itself.
    pub retry_at: Option<Instant>,
}

/// Why a model has no engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownWhy {
    /// Nothing that was tried works.
    Failed,
    /// Its engine crashed; it comes back.
    Crashed,
    /// Nothing fits into memory.
    NoRoom,
    /// The machine is too hot to load it.
    Heat,
    /// Nobody has used it for long; it comes back when it is asked for.
    Idle,
    /// An operator wants it so.
    Operator,
    /// It is no longer configured.
    Removed,
}

impl ModelEntry {
    /// A model that nobody has looked at yet.
    pub fn new(config: Model, now: Instant) -> Self {
        Self {
            config,
            variants: Vec::new(),
            candidates: Vec::new(),
            gpu: None,
            stage: Stage::Preparing { failed: None },
            next: None,
            retiring: Vec::new(),
            failures: Vec::new(),
            refused: Vec::new(),
            preparing: None,
            review: None,
            wanted: None,
            underivable: Vec::new(),
            only: None,
            best: None,
            last: None,
            decided_at: now,
            crashes: Vec::new(),
            attempts: 0,
            last_used: now,
            serves_since: now,
            has_served: false,
        }
    }

    /// Its name.
    pub fn name(&self) -> &ModelName {
        &self.config.name
    }

    /// The engine of its stage, whatever that does.
    pub fn active(&self) -> Option<&Active> {
        match &self.stage {
            Stage::Loading(active) | Stage::Serving(active) | Stage::Ending { active, .. } => Some(active),
            Stage::Preparing { .. } | Stage::Down(_) => None,
        }
    }

    /// The engine that takes jobs.
    pub fn serving(&self) -> Option<&Active> {
        if let Stage::Serving(active) = &self.stage { Some(active) } else { None }
    }

    /// Every engine that it has now.
    pub fn engines(&self) -> impl Iterator<Item = &Active> {
        self.active().into_iter().chain(&self.next).chain(&self.retiring)
    }

    /// The same, to change what is known of them.
    pub fn engines_mut(&mut self) -> impl Iterator<Item = &mut Active> {
        let current = match &mut self.stage {
            Stage::Loading(active) | Stage::Serving(active) | Stage::Ending { active, .. } => Some(active),
            Stage::Preparing { .. } | Stage::Down(_) => None,
        };
        current.into_iter().chain(&mut self.next).chain(&mut self.retiring)
    }

    /// One of its engines.
    pub fn engine_mut(&mut self, id: EngineId) -> Option<&mut Active> {
        self.engines_mut().find(|active| active.id() == id)
    }

    /// Takes the engine out of its stage, which the caller must replace.
    pub fn take_active(&mut self) -> Option<Active> {
        match std::mem::replace(&mut self.stage, Stage::Preparing { failed: None }) {
            Stage::Loading(active) | Stage::Serving(active) | Stage::Ending { active, .. } => Some(active),
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// Whether it is on its way out: it is no longer configured, and only its last jobs keep it.
    pub fn is_leaving(&self) -> bool {
        matches!(
            &self.stage,
            Stage::Ending { then: Then::Unload(DownWhy::Removed, _), .. }
                | Stage::Down(Down { why: DownWhy::Removed, .. })
        )
    }

    /// Whether every file is there and is the one that was looked at last.
    pub fn is_current(&self) -> bool {
        let current = |variant: &Variant| variant.file.as_ref().is_ok_and(|usable| usable.file.is_current());
        !self.variants.is_empty() && self.variants.iter().all(current)
    }

    /// Goes on with the configuration that is wanted, if there is one, now that its files have been looked at. Which model is
    /// the default one is not for the model's configuration alone to say.
    pub fn adopt(&mut self) {
        let Some(wanted) = self.wanted.take() else { return };
        self.config = Model { default: self.config.default, ..wanted };
        // What is loading to take over was made for the old one, and ranks were those of another ladder.
        self.next = None;
        self.best = None;
        self.only = self.only.filter(|only| self.candidates.iter().any(|candidate| candidate.strategy == *only));
    }

    /// Whether it can do what a task needs; none as long as its files are not known.
    pub fn can(&self, needed: Ability) -> Option<bool> {
        let known = self.variants.iter().find_map(|variant| variant.file.as_ref().ok())?;
        Some(ability_of(&known.file.facts) == Some(needed))
    }

    /// Whether another job can start.
    pub fn has_room(&self) -> bool {
        self.serving().is_some_and(|active| active.running < active.places())
    }

    /// Why it does not serve, if that is known.
    pub fn failure(&self) -> Option<&str> {
        match &self.stage {
            Stage::Preparing { failed } => failed.as_deref(),
            Stage::Loading(_) => self.failures.last().map(|failure| failure.reason.as_str()),
            Stage::Down(Down { why: DownWhy::Idle, .. })
            | Stage::Ending { then: Then::Unload(DownWhy::Idle, _), .. }
            | Stage::Serving(_) => None,
            Stage::Ending { then, .. } => Some(match then {
                Then::Decide => "the engine process is ending",
                Then::Replan { reason } | Then::StepDown { reason, .. } | Then::Unload(_, reason) => reason,
            }),
            Stage::Down(down) => Some(&down.reason),
        }
    }

    /// Why it serves, but not as it should.
    pub fn shortcomings(&self) -> Vec<String> {
        let Some(Active { chosen, .. }) = self.serving() else { return Vec::new() };
        let mut reasons = self.unusable();
        if self.config.expect == Expect::Gpu && chosen.strategy.placement != Placement::Gpu {
            let why = self.gpu_problem().unwrap_or_else(|| "the ladder has no step on a GPU".to_owned());
            reasons.push(format!("runs as {}, expected is a GPU: {why}", chosen.strategy));
        }
        // What an operator chose is no failure of the others.
        let failed = |rejection: &&Rejection| matches!(rejection.why, Why::Failed(_)) && self.only.is_none();
        let failed = self.rejected().iter().filter(failed);
        reasons.extend(failed.map(ToString::to_string));
        if chosen.squeezed {
            let shape = chosen.option.shape;
            reasons.push(format!(
                "memory allows {} sequences of {} tokens ({}); configured are {} of {} ({})",
                shape.sequences,
                shape.context,
                shape.kv_type,
                self.config.sequences,
                self.config.context,
                self.config.kv_type
            ));
        }
        if self.only.is_none() && self.best.is_some_and(|best| best.candidate < chosen.rank.candidate) {
            reasons.push(format!("stepped down to {}", chosen.strategy));
        }
        reasons
    }

    fn gpu_problem(&self) -> Option<String> {
        let rejected = self.rejected().iter().find(|rejection| rejection.strategy.placement == Placement::Gpu);
        rejected.map(ToString::to_string).or_else(|| match &self.gpu {
            None => Some("no back end with a GPU was found".to_owned()),
            Some(_) => None,
        })
    }

    /// The better strategies than the one in use, and what is against each.
    pub fn rejected(&self) -> &[Rejection] {
        self.active().map_or(&self.refused, |active| &active.rejected)
    }

    /// What is wrong with its files.
    pub fn unusable(&self) -> Vec<String> {
        self.variants.iter().filter_map(|variant| variant.file.as_ref().err()).cloned().collect()
    }

    /// Whether it has been loaded or refused at least once.
    pub fn is_settled(&self) -> bool {
        match &self.stage {
            Stage::Serving(_) | Stage::Ending { .. } | Stage::Down(_) => true,
            Stage::Preparing { failed } => failed.is_some(),
            Stage::Loading(_) => self.has_served || self.attempts > 0,
        }
    }

    /// When it is tried again by itself, or with strategies that failed before.
    pub fn retry_at(&self) -> Option<Instant> {
        let own = if let Stage::Down(down) = &self.stage { down.retry_at } else { None };
        own.into_iter().chain(self.failures.iter().filter_map(|failure| failure.until)).min()
    }

    /// Whether its engine may be ended for memory: nothing runs in it and it is not pinned.
    pub fn is_idle(&self) -> bool {
        !self.config.pinned && self.serving().is_some_and(|active| active.running == 0)
    }

    /// Whether it holds memory that it can give to another model some time.
    pub fn may_make_room(&self) -> bool {
        !self.config.pinned && self.active().is_some()
    }

    /// What clients and the fleet read names the model's files, not where they lie.
    pub fn without_folders(&self, reason: &str) -> String {
        let folders = self.config.files.iter().filter_map(|file| file.path.parent());
        folders
            .filter(|folder| folder.parent().is_some())
            .fold(reason.to_owned(), |reason, folder| reason.replace(&format!("{}/", folder.display()), ""))
    }
}

/// The error for jobs of a model that cannot serve.
pub fn unavailable(model: &ModelName, reason: &str, retry: Option<Duration>) -> JobError {
    let error = JobError::new(ErrorCode::ModelUnavailable, format!("the model {model} cannot serve: {reason}"));
    match retry {
        Some(after) => error.retry_after(after),
        None => error,
    }
}
