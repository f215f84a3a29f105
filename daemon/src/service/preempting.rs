//! A job of the highest class that finds every sequence taken gets that of one of the lowest, which goes on afterwards.

use std::time::Instant;

use super::driver::Driver;
use super::intake::waiting;
use super::jobs::{Job, Stage};
use super::models::ModelEntry;
use crate::engine::EngineId;
use crate::job::{JobId, Priority};
use crate::queue::aged;
use crate::telemetry::JobChange;

impl Driver {
    /// Has jobs of the lowest class make room where those of the highest wait for nothing but a sequence.
    pub(super) fn make_room(&mut self, index: usize) {
        let now = Instant::now();
        let entry = &self.models[index];
        let Some(active) = entry.serving().filter(|_| !entry.has_room()) else { return };
        let sequences = active.chosen.option.shape.sequences as usize;
        let engine = active.id();
        // Those that end or make room already.
        let leaving = self.jobs.iter().filter(|(_, job)| job.leaves(engine)).count();
        let parked = self.jobs.iter().filter(|(_, job)| job.is_parked_in(engine)).count();
        let wanted = self.queue.urgent(entry.name(), sequences).saturating_sub(leaving);
        let allowed = sequences.saturating_sub(parked + leaving);
        for job in self.least_urgent(engine, now).into_iter().take(wanted.min(allowed)) {
            self.park(index, job);
        }
    }

    /// Jobs that may be parked, the one that has computed least first. One that has waited so long that it has risen may not:
    /// else it would never end.
    fn least_urgent(&self, engine: EngineId, now: Instant) -> Vec<JobId> {
        let mut jobs: Vec<_> =
            self.jobs.iter().filter_map(|(id, job)| Some((job.may_park(engine, now)?, id))).collect();
        jobs.sort_unstable_by(|a, b| b.cmp(a));
        jobs.into_iter().map(|(_, id)| id).collect()
    }

    fn park(&mut self, index: usize, id: JobId) {
        let told = self.models[index].serving().is_some_and(|active| active.engine().park(id));
        if let Some(Job { stage: Stage::Running { parking, .. }, .. }) = self.jobs.get_mut(id).filter(|_| told) {
            *parking = true;
        }
    }

    /// A job has made room: it waits again, before the others of its client.
    pub(super) fn on_parked(&mut self, index: usize, engine: EngineId, id: JobId) {
        self.left(index, engine);
        if let Some(job) = self.jobs.get_mut(id)
            && let Stage::Running { since, stopping, .. } = &job.stage
        {
            let (since, stopping) = (*since, stopping.clone());
            job.spent = self.reporting.spent(id, job.spent);
            job.stage = Stage::Parked { engine, since };
            if let Some(reason) = stopping {
                self.fail(id, reason);
            } else {
                self.reporting.metrics.jobs.preempted();
                self.recorder.journal.put_back(id, job.crashes);
                self.queue.put_back(waiting(id, &job.request, &job.model, job.received, job.deadline));
                self.tell_open_job(id, JobChange::Parked);
            }
        }
        self.dispatch();
    }

    /// An engine takes nothing any more: what was parked in it begins anew.
    pub(super) fn unpark(&mut self, engine: EngineId) {
        for job in self.jobs.iter_mut().filter(|job| job.is_parked_in(engine)) {
            job.stage = Stage::Waiting;
            job.deltas.ended |= job.deltas.count > 0;
        }
    }

    /// A job ends without going on.
    pub(super) fn forget_parked(&self, id: JobId, job: &Job) {
        let Stage::Parked { engine, .. } = job.stage else { return };
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
            Stage::Waiting | Stage::Parked { .. } => false,
        }
    }

    /// When it got into an engine that it may leave for a more urgent job.
    fn may_park(&self, engine: EngineId, now: Instant) -> Option<Instant> {
        match &self.stage {
            Stage::Running { engine: runs_in, since, stopping: None, parking: false } if *runs_in == engine => {
                let lowest = aged(self.request.priority, self.received, now) == Priority::Low;
                lowest.then_some(*since)
            }
            _ => None,
        }
    }
}
