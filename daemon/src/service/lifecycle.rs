//! From a model's files to an engine that serves it, and from one engine to the next.
//!
//! ```text
//! Preparing ──▶ Loading ──▶ Serving ──▶ Ending ──┬──▶ Loading …
//!                 │  ▲                           └──▶ Down
//!                 └──┴─ a failed strategy is a step down the ladder; none left: Down, tried again later
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ServiceError;
use super::driver::Driver;
use super::endings::KILLED_RECOVERIES;
use super::memory::Held;
use super::models::{
    Active, Down, DownWhy, EngineSettings, ModelEntry, Preparation, Prepared, Review, Stage, Then, Ticket, Tries,
    prepare,
};
use crate::engine::protocol::ModelReport;
use crate::engine::{EngineEnd, EngineError, EngineEvent, EngineId, EngineReport};
use crate::job::{ErrorCode, JobError};
use crate::plan::{Choice, Chosen, Headroom, Rank, Rejection, Strategy, choose};
use crate::telemetry::{EventKind, ModelEvent};

/// How often a model that waits for another's memory looks whether it is there.
const MAKING_ROOM: Duration = Duration::from_millis(200);

impl Driver {
    /// Reads the files of a model, in the background.
    pub(super) fn prepare(&mut self, index: usize) {
        self.board.still_loading();
        self.preparations += 1;
        let ticket = self.preparations;
        let entry = &mut self.models[index];
        entry.preparing = Some(ticket);
        let preparation = Preparation {
            model: entry.wanted.as_ref().unwrap_or(&entry.config).clone(),
            known: if entry.review == Some(Review::Reread) { Vec::new() } else { entry.variants.clone() },
            derived: self.derived_folder(),
            state_dir: self.config.service.state_dir.clone(),
            backends: self.backends.clone(),
            unified_memory: self.unified_memory,
            reproducible: self.config.engine.reproducible,
            prefix_cache: self.config.engine.prefix_cache,
            heartbeat_timeout: self.config.engine.heartbeat_timeout,
        };
        let done = self.prepared.clone();
        // On this thread: the children of dry runs die with it.
        tokio::spawn(async move {
            let prepared = prepare(preparation).await;
            // The driver is gone only when the daemon ends.
            let _ = done.send((ticket, prepared)).await;
        });
    }

    /// Takes what was found out about a model's files and loads it, or goes on with what runs.
    pub(super) fn on_prepared(&mut self, ticket: Ticket, prepared: Prepared) {
        let awaited = self.models.iter().position(|entry| entry.preparing == Some(ticket));
        let Some(index) = awaited else { return };
        let entry = &mut self.models[index];
        let model = entry.name().clone();
        for variant in &prepared.variants {
            if let Err(reason) = &variant.file {
                tracing::error!(%model, "{reason}");
            }
        }
        let usable = prepared.variants.iter().filter_map(|variant| variant.file.as_ref().ok());
        let hashes = usable.map(|usable| &usable.file.sha256);
        entry.failures.retain(|failure| failure.until.is_some());
        let until = Instant::now() + self.config.memory.recover_after.saturating_mul(KILLED_RECOVERIES);
        entry.failures.extend(hashes.flat_map(|sha256| self.failures.of(&model, sha256, until)));
        entry.preparing = None;
        entry.variants = prepared.variants;
        entry.candidates = prepared.candidates;
        entry.gpu = prepared.gpu;
        entry.adopt();
        let review = entry.review.take();
        match &entry.stage {
            Stage::Down(Down { why: DownWhy::Operator, .. }) => {}
            Stage::Preparing { .. } | Stage::Down(_) if prepared.disturbed && entry.is_unmeasured() => {
                self.disturbed(index);
            }
            Stage::Preparing { .. } | Stage::Down(_) => self.load_best(index),
            Stage::Loading(_) | Stage::Serving(_) | Stage::Ending { .. } => {
                self.renumber(index);
                if let Some(review) = review {
                    self.reviewed(index, review);
                }
            }
        }
        self.rechoose(index);
        self.answer_waiters(index);
        self.publish_model(index);
        self.derive_after = Instant::now();
        self.derive_next();
    }

    /// After the candidates have changed, finds the place of what runs among them.
    fn renumber(&mut self, index: usize) {
        let entry = &mut self.models[index];
        let candidates = std::mem::take(&mut entry.candidates);
        let place = |chosen: &Chosen| {
            let candidate = candidates.iter().position(|candidate| candidate.strategy == chosen.strategy)?;
            let options = candidates[candidate].options.as_ref().ok()?;
            let option = options.iter().position(|option| option.shape == chosen.option.shape)?;
            Some(Rank { candidate, option })
        };
        let id = entry.active().map(Active::id);
        if let Some(active) = id.and_then(|id| entry.engine_mut(id))
            && let Some(rank) = place(&active.chosen)
        {
            active.chosen.rank = rank;
            let strategy = active.chosen.strategy;
            entry.best = Some(rank);
            entry.last = entry.last.map(|(before, last)| (if last == strategy { rank } else { before }, last));
        }
        entry.candidates = candidates;
    }

    /// Loads the best that fits now, or says why there is nothing.
    pub(super) fn load_best(&mut self, index: usize) {
        let choice = self.choose_now(index, None);
        self.load(index, choice);
    }

    /// Loads a model that jobs wait for. If there is no room, the idle model that was used longest ago makes some. Without one the
    /// jobs end, unless there are steps among them: those wait for their turn.
    pub(super) fn load_on_demand(&mut self, index: usize) {
        if self.is_too_hot() {
            self.wait_for_cold(index);
            return;
        }
        let choice = self.choose_now(index, None);
        let name = self.models[index].name().clone();
        let fits = choice.chosen.is_some();
        // Nobody leaves for one that would not fit even then.
        let gets_room = !fits && self.could_fit(index);
        let waits = gets_room && self.waits_for_turn(index);
        let idle = if gets_room { self.idle_model(&name) } else { None };
        let idle = idle.or_else(|| self.due_to_leave(index).filter(|_| waits));
        if let Some(idle) = idle {
            self.end_engine(idle, Then::Unload(DownWhy::Idle, format!("the model {name} needs its memory")));
        }
        let ending = |entry: &ModelEntry| matches!(entry.stage, Stage::Ending { .. });
        if waits || !fits && self.models.iter().any(ending) {
            let reason = "waits for the memory of another model".to_owned();
            let retry_at = Some(Instant::now() + MAKING_ROOM);
            self.models[index].stage = Stage::Down(Down { why: DownWhy::Idle, reason, retry_at });
            self.publish_model(index);
            return;
        }
        self.load(index, choice);
        if let Stage::Down(Down { why: DownWhy::NoRoom, reason, .. }) = &self.models[index].stage {
            let text = format!("the model {name} does not fit into memory now: {reason}");
            let error = JobError::new(ErrorCode::MemoryHeadroom, text).retry_after(self.config.memory.recover_after);
            self.fail_waiting(index, &error);
        }
    }

    /// The best that fits now, if the engine `replaced` gave its memory back.
    pub(super) fn choose_now(&mut self, index: usize, replaced: Option<EngineId>) -> Choice {
        self.memory.read();
        let headroom = self.headroom(index, replaced);
        let entry = &self.models[index];
        let first = choose(&entry.candidates_now(Tries::Fresh), &headroom);
        if first.chosen.is_some() || entry.failures.iter().all(|failure| !failure.earlier) {
            return first;
        }
        choose(&entry.candidates_now(Tries::All), &headroom)
    }

    /// What a model may take, if the engine `replaced` gave its memory back.
    pub(super) fn headroom(&self, index: usize, replaced: Option<EngineId>) -> Headroom {
        let engines = self.models.iter().flat_map(ModelEntry::engines);
        let held = Held::by(engines, |engine| replaced == Some(engine.id()));
        self.memory.headroom(&held, self.models[index].gpu.as_ref())
    }

    /// Whether a model would fit if all left that may. While engines come and go nobody knows.
    fn could_fit(&self, index: usize) -> bool {
        let engines = || self.models.iter().flat_map(ModelEntry::engines);
        let ending = |entry: &ModelEntry| matches!(entry.stage, Stage::Ending { .. });
        if engines().any(|engine| engine.report.is_none()) || self.models.iter().any(ending) {
            return true;
        }
        let pinned = self.models.iter().filter(|entry| entry.config.pinned).flat_map(ModelEntry::engines);
        let stay: Vec<EngineId> = pinned.map(Active::id).collect();
        let held = Held::by(engines(), |engine| !stay.contains(&engine.id()));
        let entry = &self.models[index];
        let headroom = self.memory.headroom(&held, entry.gpu.as_ref());
        choose(&entry.candidates_now(Tries::All), &headroom).chosen.is_some()
    }

    /// Starts the engine of a choice, or sets the model down.
    pub(super) fn load(&mut self, index: usize, choice: Choice) {
        if self.is_too_hot() {
            self.wait_for_cold(index);
            return;
        }
        let Choice { chosen, rejected } = choice;
        for rejection in &rejected {
            tracing::info!(model = %self.models[index].name(), "{rejection}");
        }
        let reason = rejected.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        if let Some(active) = chosen.and_then(|chosen| self.start_engine(index, chosen, rejected.clone())) {
            let (model, strategy) = (self.models[index].name(), active.chosen.strategy);
            tracing::info!(%model, %strategy, "loading {}", describe(&active.chosen));
            self.models[index].stage = Stage::Loading(active);
        } else {
            self.models[index].refused = rejected;
            self.set_down(index, reason);
        }
        self.publish_model(index);
    }

    /// Starts an engine for a choice; none if its file is gone from the list.
    pub(super) fn start_engine(&mut self, index: usize, chosen: Chosen, rejected: Vec<Rejection>) -> Option<Active> {
        self.governor.change_begins();
        self.engines_started += 1;
        self.reporting.metrics.engines.started(self.models[index].name());
        let id = EngineId(self.engines_started);
        let entry = &self.models[index];
        let mut usable = entry.variants.iter().filter_map(|variant| variant.file.as_ref().ok());
        let usable = usable.find(|usable| usable.precision == chosen.strategy.precision)?;
        let settings = EngineSettings {
            config: &self.config,
            model: &entry.config,
            backends: &self.backends,
            gpu: entry.gpu.as_ref(),
            tuned: usable.tuned.as_ref(),
            id,
            urgent: entry.has_served,
        };
        let mut active = Active::start(&settings, chosen, rejected, Arc::clone(&usable.file), self.reports.clone());
        active.only = entry.only;
        Some(active)
    }

    /// Takes what an engine says.
    pub(super) fn on_engine(&mut self, report: EngineReport) -> Result<(), ServiceError> {
        let EngineReport { model, engine: id, event } = report;
        let Some(index) = self.model_index(&model) else { return Ok(()) };
        match event {
            EngineEvent::Started(pid) => {
                if let Some(active) = self.models[index].engine_mut(id) {
                    active.pid = Some(pid);
                }
            }
            EngineEvent::Loading(share) => {
                if let Some(active) = self.models[index].engine_mut(id) {
                    active.share = share;
                }
                self.board.still_loading();
                self.report_progress(index, share);
                self.publish_model(index);
            }
            EngineEvent::Ready(report) => {
                // Before its first job.
                self.tell_openings(index, id);
                self.trim_if_short(index, id);
                self.on_ready(index, id, report);
            }
            EngineEvent::Delta { job, text } => self.publish_delta(job, &text),
            EngineEvent::Ended { job, result } => {
                self.left(index, id);
                self.finish_running(job, result);
                self.dispatch();
            }
            EngineEvent::Parked(job) => self.on_parked(index, id, job),
            EngineEvent::Interrupted => {
                self.unpark(id);
                self.on_interrupted(index, id);
            }
            EngineEvent::Returned { job, crashed } => {
                self.left(index, id);
                self.wait_again(job, crashed);
                // One that was replaced leaves its jobs to its successor.
                self.dispatch();
            }
            EngineEvent::Gone(EngineEnd::Failed { error: error @ EngineError::Replaced, .. }) => {
                return Err(error.into());
            }
            EngineEvent::Gone(end) => self.on_gone(index, id, end),
        }
        Ok(())
    }

    /// A job is in an engine no more; one that was replaced ends with its last.
    pub(super) fn left(&mut self, index: usize, id: EngineId) {
        let entry = &mut self.models[index];
        entry.last_used = Instant::now();
        if let Some(active) = entry.engine_mut(id) {
            active.running = active.running.saturating_sub(1);
        }
        let finished = match &entry.stage {
            Stage::Ending { active, then: Then::Unload(..) } => Some(active),
            _ => None,
        };
        for old in entry.retiring.iter().chain(finished).filter(|old| old.running == 0) {
            old.engine().stop();
        }
    }

    fn on_ready(&mut self, index: usize, id: EngineId, report: Box<ModelReport>) {
        let entry = &mut self.models[index];
        let model = entry.name().clone();
        let Some(active) = entry.engine_mut(id) else { return };
        tracing::info!(
            %model,
            strategy = %active.chosen.strategy,
            "the model is ready: {} as {} on {}, loaded in {:.1} s",
            report.description,
            active.chosen.strategy,
            report.devices.join(", "),
            report.load_time.as_secs_f64()
        );
        active.report = Some(report);
        if entry.next.as_ref().is_some_and(|next| next.id() == id) {
            self.take_over(index);
        } else if let Some(active) = entry.take_active() {
            entry.stage = Stage::Serving(active);
        }
        self.serves(index);
    }

    fn serves(&mut self, index: usize) {
        let now = Instant::now();
        let entry = &mut self.models[index];
        let Some(active) = entry.serving() else { return };
        let (rank, strategy) = (active.chosen.rank, active.chosen.strategy);
        let memory = entry.document().memory;
        if let Some(error) = memory.and_then(|memory| memory.error) {
            tracing::info!(model = %entry.name(), "estimated memory is {:+.1} % off what it really takes", 100.0 * error);
        }
        let event = ModelEvent::of(match &entry.last {
            Some((_, before)) if *before != strategy && entry.only == Some(strategy) => EventKind::Switched,
            Some((before, _)) if *before < rank => EventKind::SteppedDown,
            Some((before, _)) if *before > rank => EventKind::SteppedUp,
            _ => EventKind::Loaded,
        });
        let event = entry.last.iter().fold(event, |event, (_, before)| event.from(before.to_string()));
        let event = event.to(strategy.to_string()).took(now.duration_since(entry.decided_at));
        entry.last = Some((rank, strategy));
        entry.best = Some(entry.best.map_or(rank, |best| best.min(rank)));
        entry.has_served = true;
        entry.attempts = 0;
        entry.last_used = now;
        entry.serves_since = now;
        entry.failures.retain(|failure| failure.strategy != strategy);
        let name = entry.name().clone();
        self.failures.forget(Some(&name), Some(strategy));
        self.queue.forget_pace(&name);
        self.event(index, &event);
        self.governor.settled(now);
        self.set_duties();
        self.publish_model(index);
        self.answer_waiters(index);
        self.dispatch();
        self.derive_next();
    }

    /// Says of each strategy that is better than the one in use what is against it now.
    pub(super) fn explain_anew(&mut self, index: usize) {
        let entry = &self.models[index];
        let Some(active) = entry.serving() else { return };
        let (id, rank) = (active.id(), active.chosen.rank);
        let better: Vec<Strategy> = entry.candidates.iter().take(rank.candidate).map(|c| c.strategy).collect();
        let mut rejected = choose(&entry.candidates_now(Tries::Fresh), &self.headroom(index, Some(id))).rejected;
        rejected.retain(|rejection| better.contains(&rejection.strategy));
        if let Some(active) = self.models[index].engine_mut(id) {
            active.rejected = rejected;
        }
    }
}

/// A choice in words.
pub(super) fn describe(chosen: &Chosen) -> String {
    let Chosen { strategy, option, squeezed, .. } = chosen;
    let shape = option.shape;
    let squeezed = if *squeezed { ", squeezed to" } else { "," };
    format!(
        "{strategy}{squeezed} {} sequences of {} tokens ({}): {}",
        shape.sequences, shape.context, shape.kv_type, option.need
    )
}
