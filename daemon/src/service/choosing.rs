//! Which model a request is for: the one that it names, else one that can do its task.

use super::driver::Driver;
use super::jobs::Stage;
use super::models::ModelEntry;
use super::policy::check_model;
use crate::job::{Ability, ErrorCode, JobError, JobId, ModelName, Request, Task};

impl Driver {
    /// The model for a request, whether or not it can serve now. One whose files are not known yet may turn out not to fit:
    /// see [`Driver::rechoose`].
    pub(super) fn model_of(&self, request: &Request) -> Result<usize, JobError> {
        let needed = self.needs(request);
        let Some(name) = self.model_named(request) else {
            let other = || request.task.also().and_then(|ability| self.fitting(ability));
            return self.fitting(needed).or_else(other).ok_or_else(|| self.no_model(request));
        };
        let index = self.configured(name).ok_or_else(|| self.unknown_model(name))?;
        if is_unfit(&self.models[index], request, needed) { Err(self.wrong_model(name, request)) } else { Ok(index) }
    }

    /// What the model for a request must be able to do: for a pipeline, what its first step needs.
    pub(super) fn needs(&self, request: &Request) -> Ability {
        let first = if let Task::Pipeline(pipeline) = &request.task { pipeline.steps.first() } else { None };
        first.and_then(|step| self.reader.step_needs(step)).unwrap_or_else(|| request.task.needs())
    }

    /// The model that a request names: for a pipeline, that of its first step, or that of the whole if it can do that step.
    fn model_named<'a>(&self, request: &'a Request) -> Option<&'a ModelName> {
        let Task::Pipeline(pipeline) = &request.task else { return request.model.as_ref() };
        let needed = self.needs(request);
        let fits =
            |name: &&ModelName| self.configured(name).is_none_or(|at| self.models[at].can(needed) != Some(false));
        let first = pipeline.steps.first().and_then(|step| step.model.as_ref());
        first.or_else(|| request.model.as_ref().filter(fits))
    }

    /// The default model, if it may fit; else the first that does; else the first that may.
    fn fitting(&self, needed: Ability) -> Option<usize> {
        let configured = || self.models.iter().enumerate().filter(|(_, entry)| !entry.is_leaving());
        let default = configured().find(|(_, entry)| entry.config.default && entry.can(needed) != Some(false));
        // Nobody can tell what one does whose files are broken.
        let usable = default.filter(|(_, entry)| entry.can(needed).is_some() || entry.variants.is_empty());
        let first = |known: Option<bool>| configured().find(move |(_, entry)| entry.can(needed) == known);
        usable.or_else(|| first(Some(true))).or(default).or_else(|| first(None)).map(|(index, _)| index)
    }

    fn no_model(&self, request: &Request) -> JobError {
        let text = if self.models.iter().all(ModelEntry::is_leaving) {
            "no model is configured on this node".to_owned()
        } else {
            let (task, needed) = (request.task_name(), self.needs(request).does());
            format!("no model of this node can do the task \"{task}\": it needs one that {needed}")
        };
        JobError::new(ErrorCode::NoModel, text)
    }

    fn wrong_model(&self, name: &ModelName, request: &Request) -> JobError {
        let (task, needed) = (request.task_name(), self.needs(request));
        let able = self.models.iter().filter(|entry| !entry.is_leaving() && entry.can(needed) == Some(true));
        let able: Vec<&str> = able.map(|entry| entry.name().as_str()).collect();
        let others = if able.is_empty() { "none of this node".to_owned() } else { able.join(", ") };
        let text = format!("the model {name} can't do the task \"{task}\"; a model that {}: {others}", needed.does());
        JobError::new(ErrorCode::InvalidRequest, text)
    }

    /// The files of a model have become known: jobs that wait for it and that it can't do go to a model that can, or end.
    pub(super) fn rechoose(&mut self, index: usize) {
        let entry = &self.models[index];
        let unfit = self.jobs.iter().filter(|(_, job)| {
            job.is_waiting() && job.model == *entry.name() && is_unfit(entry, &job.request, self.needs(&job.request))
        });
        let mut unfit: Vec<JobId> = unfit.map(|(id, _)| id).collect();
        // In the order in which they came.
        unfit.sort_unstable();
        for id in unfit {
            let Some(job) = self.jobs.get(id).filter(|job| job.is_waiting()) else { continue };
            // What an operator's pipeline does is the operator's business.
            let of_operator = job
                .step()
                .and_then(|step| self.jobs.get(step.root))
                .is_some_and(|root| matches!(root.request.task, Task::Pipeline(_)) && root.request.defined.is_some());
            let policy = self.config.policy_of(&job.request.client).filter(|_| !of_operator);
            let chosen = self.model_of(&job.request).and_then(|index| {
                policy.map_or(Ok(()), |policy| check_model(policy, self.models[index].name())).map(|()| index)
            });
            match chosen {
                Ok(index) => self.move_job(id, index),
                Err(error) => self.fail(id, error),
            }
        }
        self.dispatch();
    }

    fn move_job(&mut self, id: JobId, index: usize) {
        self.queue.remove(id);
        let model = self.models[index].name().clone();
        if let Some(job) = self.jobs.get(id) {
            self.forget_parked(id, job);
        }
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.stage = Stage::Waiting;
        job.model = model.clone();
        self.queue.rejoin(job.waiting(id));
        self.hold(id);
        self.wake_model(&model);
    }
}

/// Whether a model cannot do a request that names it.
fn is_unfit(entry: &ModelEntry, request: &Request, needed: Ability) -> bool {
    let ways = std::iter::once(needed).chain(request.task.also());
    ways.into_iter().all(|ability| entry.can(ability) == Some(false))
}
