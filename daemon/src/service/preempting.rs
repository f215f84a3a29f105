//! A job of the highest class that finds every sequence taken gets that of one of the lowest, which goes on afterwards.

use std::time::Instant;

use super::driver::{Driver, Phase};
use super::jobs::{Job, Stage};
use super::models::ModelEntry;
use crate::engine::{EngineId, PARKED_PER_SEQUENCE};
use crate::job::{JobId, Priority};
use crate::telemetry::JobChange;

/// So often a job makes room; then it runs to its end, whoever waits.
const PARKINGS_MAX: u32 = 3;

impl Driver {
    /// Has a job of the lowest class make room where one of the highest is next and waits for nothing but a sequence. One
    /// after the other: the next is looked for when this one has left.
    pub(super) fn make_room(&mut self, index: usize) {
        let entry = &self.models[index];
        let Some(active) = entry.serving().filter(|_| !entry.has_room()) else { return };
        if !self.queue.is_urgent(entry.name(), Instant::now()) {
            return;
        }
        let engine = active.id();
        let most = PARKED_PER_SEQUENCE * active.places();
        let parked = self.jobs.iter().filter(|(_, job)| job.is_parked_in(engine)).count();
        if parked >= most || self.jobs.iter().any(|(_, job)| job.leaves(engine)) {
            return;
        }
        // The one that has computed least.
        let candidates = self.jobs.iter().filter_map(|(id, job)| Some((job.may_leave_since(engine)?, id)));
        if let Some((_, id)) = candidates.max()
            && active.engine().park(id)
            && let Some(Job { stage: Stage::Running { parking, .. }, .. }) = self.jobs.get_mut(id)
        {
            *parking = true;
        }
    }

    /// A job has made room: it waits again, before the others of its client.
    pub(super) fn on_parked(&mut self, index: usize, engine: EngineId, id: JobId) {
        if self.goes_on_at_once(index, engine, id) {
            return;
        }
        self.left(index, engine);
        if let Some(job) = self.jobs.get_mut(id)
            && let Stage::Running { since, stopping, .. } = &job.stage
        {
            let (since, stopping) = (*since, stopping.clone());
            job.spent = self.reporting.spent(id, job.spent);
            job.stage = Stage::Parked { engine, since, at: Instant::now() };
            job.parkings += 1;
            if let Some(reason) = stopping {
                self.fail(id, reason);
            } else {
                self.reporting.metrics.jobs.preempted();
                self.queue.put_back(job.waiting(id));
                self.mark(id);
                self.tell_open_job(id, JobChange::Parked);
            }
        }
        self.dispatch();
    }

    /// Whether a job stays in its engine after all: that finishes what it has and takes nothing else, so nobody needs the room.
    fn goes_on_at_once(&mut self, index: usize, engine: EngineId, id: JobId) -> bool {
        let serves = self.models[index].serving().is_some_and(|active| active.id() == engine);
        if serves && !matches!(self.phase, Phase::Draining { .. }) {
            return false;
        }
        let Some(Job { stage: Stage::Running { stopping: None, parking, .. }, .. }) = self.jobs.get_mut(id) else {
            return false;
        };
        let resumed = self.models[index].engine_mut(engine).is_some_and(|active| active.engine().resume(id));
        *parking &= !resumed;
        resumed
    }

    /// An engine takes nothing any more: what was parked in it begins anew.
    pub(super) fn unpark(&mut self, engine: EngineId) {
        let parked = self.jobs.iter().filter(|(_, job)| job.is_parked_in(engine));
        for id in parked.map(|(id, _)| id).collect::<Vec<_>>() {
            let Some(job) = self.jobs.get_mut(id) else { continue };
            job.stage = Stage::Waiting;
            job.deltas.ended |= job.deltas.count > 0;
            self.forget_in(engine, id);
            self.tell_open_job(id, JobChange::Waiting(None));
        }
    }

    /// A job ends without going on.
    pub(super) fn forget_parked(&self, id: JobId, job: &Job) {
        if let Stage::Parked { engine, .. } = job.stage {
            self.forget_in(engine, id);
        }
    }

    fn forget_in(&self, engine: EngineId, id: JobId) {
        let mut engines = self.models.iter().flat_map(ModelEntry::engines);
        if !engines.any(|active| active.id() == engine && active.engine().cancel(id)) {
            tracing::debug!("a parked job is forgotten when its engine ends");
        }
    }
}

impl Job {
    fn is_parked_in(&self, engine: EngineId) -> bool {
        matches!(self.stage, Stage::Parked { engine: parked_in, .. } if parked_in == engine)
    }

    /// Whether it will leave an engine's sequence at once.
    fn leaves(&self, engine: EngineId) -> bool {
        match &self.stage {
            Stage::Running { engine: runs_in, stopping, parking, .. } => {
                *runs_in == engine && (*parking || stopping.is_some())
            }
            Stage::Waiting | Stage::Parked { .. } | Stage::Composed(_) => false,
        }
    }

    /// Since when it runs in an engine, if it may leave that for a more urgent job.
    fn may_leave_since(&self, engine: EngineId) -> Option<Instant> {
        match &self.stage {
            Stage::Running { engine: runs_in, since, stopping: None, parking: false } if *runs_in == engine => {
                (self.request.priority == Priority::Low && self.parkings < PARKINGS_MAX).then_some(*since)
            }
            _ => None,
        }
    }
}
