//! Carries out what the governor says, and brings models back when memory does.

use std::time::{Duration, Instant};

use super::driver::Driver;
use super::governor::{Action, Level, Reading, Verdict};
use super::jobs::Job;
use super::memory::Held;
use super::models::{Down, DownWhy, ModelEntry, Stage, Then, Tries};
use crate::engine::EngineId;
use crate::job::{ErrorCode, JobError, ModelName};
use crate::plan::{Choice, choose};

/// How often memory is looked at while any model is there.
pub(super) const TURN: Duration = Duration::from_millis(500);

/// As long a model may keep its memory while it has jobs and another waits for it. To load one takes a tenth of that on most
/// boards.
const RESIDENCE: Duration = Duration::from_secs(30);

impl Driver {
    /// Looks at memory and acts.
    pub(super) fn govern(&mut self, now: Instant) {
        let before = self.governor.level();
        self.memory.read();
        let slack = self.memory.slack(&Held::by(self.models.iter().flat_map(ModelEntry::engines), |_| false));
        let reading = self.memory.reading();
        let events = reading.events;
        let reading = Reading {
            slack,
            psi: reading.psi.map(|psi| psi.some_avg10),
            // `high` and `max` also count when only page cache had to go.
            oom_events: events.oom.unwrap_or_default().saturating_add(events.oom_kill.unwrap_or_default()),
        };
        let Verdict { level, action } = self.governor.observe(now, reading);
        if level != before {
            let slack = slack.map(|slack| slack.to_string());
            tracing::info!(?before, ?level, slack, psi = reading.psi, "memory pressure has changed");
            self.publish_status();
        }
        match action {
            Some(Action::DropCaches) => self.drop_caches(),
            Some(Action::Shed) => self.shed(now, false),
            Some(Action::ShedNow) => self.shed(now, true),
            None => {}
        }
        if level == Level::Normal {
            self.allow_caches();
            self.unload_idle(now);
        }
        if !self.is_too_hot() {
            self.step_up(now);
        }
        self.derive_next();
        self.next_turn = now + TURN;
    }

    /// Whether memory has to be watched: an engine holds some, or a model waits for it.
    pub(super) fn must_govern(&self) -> bool {
        let waits = |entry: &ModelEntry| matches!(entry.stage, Stage::Down(Down { why: DownWhy::NoRoom, .. }));
        self.governor.level() > Level::Normal
            || self.models.iter().any(|entry| entry.engines().next().is_some() || waits(entry))
    }

    fn drop_caches(&mut self) {
        let engines = self.models.iter_mut().flat_map(ModelEntry::engines_mut);
        for active in engines.filter(|engine| engine.report.is_some()) {
            active.trimmed |= active.engine().trim();
        }
        self.stop_deriving("memory is short");
    }

    /// Tells an engine that serves from now on, if memory is short: it was not there when the others were told.
    pub(super) fn trim_if_short(&mut self, index: usize, id: EngineId) {
        if self.governor.level() > Level::Normal
            && let Some(active) = self.models[index].engine_mut(id)
        {
            active.trimmed |= active.engine().trim();
        }
    }

    /// Lets engines keep again what is only there to be fast.
    fn allow_caches(&mut self) {
        let engines = self.models.iter_mut().flat_map(ModelEntry::engines_mut);
        for active in engines.filter(|engine| engine.trimmed) {
            active.trimmed = !active.engine().ease();
        }
    }

    /// Gives memory back: an idle model's, else that of the model that was used longest ago, which steps down.
    fn shed(&mut self, now: Instant, at_once: bool) {
        self.stop_deriving("memory is short");
        let reason = "memory ran short".to_owned();
        if let Some(index) = self.models.iter().position(|entry| entry.next.is_some()) {
            // One that is loaded beside another is the first to go: the other serves.
            self.models[index].next = None;
            let error =
                JobError::new(ErrorCode::MemoryHeadroom, "memory ran short while it was loaded; the old one goes on");
            self.end_waiters(index, &Err(error));
            self.governor.settled(now);
            return;
        }
        if let Some(index) = self.idle_beside_another() {
            self.end_engine(index, Then::Unload(DownWhy::NoRoom, reason));
            return;
        }
        let Some(index) = self.victim(at_once) else {
            self.governor.settled(now);
            return;
        };
        let Some(from) = self.models[index].active().map(|active| active.chosen.rank) else { return };
        self.end_engine(index, Then::StepDown { from, reason });
    }

    /// The model other than this one that nobody uses, and that was used longest ago.
    pub(super) fn idle_model(&self, needed: &ModelName) -> Option<usize> {
        let idle = |entry: &ModelEntry| entry.is_idle() && entry.name() != needed && !self.is_awaited(entry);
        let models = self.models.iter().enumerate().filter(|(_, entry)| idle(entry));
        models.min_by_key(|(_, entry)| entry.last_used).map(|(index, _)| index)
    }

    /// Whether another model than this one may give its memory to it some time.
    pub(super) fn may_get_room(&self, needed: &ModelName) -> bool {
        self.models.iter().any(|entry| entry.name() != needed && entry.may_make_room())
    }

    /// Whether a model that does not fit waits until others have no jobs any more: because it was let go for another while it
    /// had jobs, or because steps of jobs wait for it, which are not given up while other steps are still at work.
    pub(super) fn waits_for_turn(&self, index: usize) -> bool {
        let entry = &self.models[index];
        let was_let_go = matches!(entry.stage, Stage::Down(Down { why: DownWhy::Idle, .. }));
        let awaits = |job: &Job| job.is_waiting() && job.model == *entry.name() && (was_let_go || job.step().is_some());
        self.may_get_room(entry.name()) && self.jobs.iter().any(|(_, job)| awaits(job))
    }

    /// The model that has to leave although jobs wait for it, because another one has waited for its memory as long as any may
    /// keep it. Its running jobs end first.
    pub(super) fn due_to_leave(&self, waiting: usize) -> Option<usize> {
        let long = |at: Instant| at.elapsed() >= RESIDENCE;
        let waiting = Some(&self.models[waiting]).filter(|entry| long(entry.decided_at))?;
        let due = |entry: &ModelEntry| {
            entry.name() != waiting.name()
                && !entry.config.pinned
                && entry.serving().is_some()
                && long(entry.serves_since)
        };
        // One after the other.
        if self.models.iter().any(|entry| matches!(entry.stage, Stage::Ending { .. })) {
            return None;
        }
        let models = self.models.iter().enumerate().filter(|(_, entry)| due(entry));
        models.min_by_key(|(_, entry)| entry.serves_since).map(|(index, _)| index)
    }

    /// Whether jobs wait for a model.
    pub(super) fn is_awaited(&self, entry: &ModelEntry) -> bool {
        self.jobs.iter().any(|(_, job)| job.model == *entry.name() && !job.is_composed())
    }

    /// The idle model to let go under pressure: one beside another that was used later. The only model, and the one that
    /// was used last, step down instead: clients come back to them.
    fn idle_beside_another(&self) -> Option<usize> {
        let serving = self.models.iter().filter(|entry| entry.serving().is_some());
        let last = serving.max_by_key(|entry| entry.last_used)?.name().clone();
        self.idle_model(&last)
    }

    /// The model that has to step down: not a pinned one if there is another.
    fn victim(&self, at_once: bool) -> Option<usize> {
        let may =
            |entry: &ModelEntry| entry.serving().is_some() || (at_once && matches!(entry.stage, Stage::Loading(_)));
        let victims = self.models.iter().enumerate().filter(|(_, entry)| may(entry));
        victims.min_by_key(|(_, entry)| (entry.config.pinned, entry.last_used)).map(|(index, _)| index)
    }

    /// Lets models go that nobody has used for `load.idle_unload`.
    fn unload_idle(&mut self, now: Instant) {
        let Some(longest) = self.config.load.idle_unload else { return };
        let long = |entry: &ModelEntry| now.duration_since(entry.last_used) >= longest;
        let idle = |entry: &ModelEntry| entry.is_idle() && long(entry) && !self.is_awaited(entry);
        if let Some(index) = self.models.iter().position(idle) {
            self.end_engine(index, Then::Unload(DownWhy::Idle, "nobody has used it for long".to_owned()));
        }
    }

    /// When the governor allows it, loads what fits by now and is better than what runs.
    fn step_up(&mut self, now: Instant) {
        let better = (0..self.models.len()).find_map(|index| Some((index, self.better(index)?)));
        if !self.governor.may_step_up(now, better.is_some()) {
            return;
        }
        let Some((index, choice)) = better else { return };
        let entry = &mut self.models[index];
        tracing::info!(model = %entry.name(), "memory has come back: stepping up");
        entry.decided_at = now;
        if entry.serving().is_some() {
            self.replace(index, choice, Then::Replan { reason: "memory has come back".to_owned() });
        } else {
            self.load(index, choice);
        }
    }

    /// Loads a better choice beside what serves if there is room for both, else in its place.
    fn replace(&mut self, index: usize, choice: Choice, then: Then) {
        let Choice { chosen: Some(chosen), rejected } = choice else { return };
        if self.headroom(index, None).shortage(&chosen.option.need).is_none() {
            self.models[index].next = self.start_engine(index, chosen, rejected);
        } else {
            self.end_engine(index, then);
        }
    }

    /// What would be better than what runs and fits if that gave its memory back; for a model that waits for memory, what
    /// fits.
    fn better(&self, index: usize) -> Option<Choice> {
        let entry = &self.models[index];
        let (current, replaced) = match &entry.stage {
            Stage::Serving(active) if entry.next.is_none() => (Some(active.chosen.rank), Some(active.id())),
            Stage::Down(Down { why: DownWhy::NoRoom, .. }) => (None, None),
            _ => return None,
        };
        // Nothing is better than the first option of the first strategy.
        if current.is_some_and(|rank| rank.candidate == 0 && rank.option == 0) {
            return None;
        }
        let choice = choose(&entry.candidates_now(Tries::Fresh), &self.headroom(index, replaced));
        let rank = choice.chosen.as_ref()?.rank;
        current.is_none_or(|current| rank < current).then_some(choice)
    }
}
