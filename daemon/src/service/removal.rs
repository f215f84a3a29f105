//! Models that come and go while the daemon runs, because the configuration says so.

use std::time::Instant;

use bytes::Bytes;

use super::driver::Driver;
use super::models::{Down, DownWhy, ModelEntry, Review, Stage, Then};
use crate::config::Model;
use crate::job::{ErrorCode, JobError, ModelName};

impl Driver {
    /// Takes a model in and loads it.
    pub(super) fn add_model(&mut self, model: Model) {
        if let Some(index) = self.model_index(&model.name) {
            self.call_back(index, model);
            return;
        }
        self.reporting.metrics.jobs.begin(&model.name);
        self.reporting.metrics.engines.begin(&model.name);
        self.models.push(ModelEntry::new(model, Instant::now()));
        let index = self.models.len() - 1;
        self.prepare(index);
        self.publish_model(index);
    }

    /// A model is configured again before the last jobs of its former life have ended: they begin anew in the next.
    fn call_back(&mut self, index: usize, model: Model) {
        let entry = &mut self.models[index];
        entry.config.default = model.default;
        if let Stage::Ending { active, then } = &mut entry.stage {
            active.engine().stop();
            *then = Then::Replan { reason: "it is configured again".to_owned() };
        } else {
            entry.stage = Stage::Preparing { failed: None };
        }
        self.renew_model(index, model);
    }

    /// Gives a model other settings; its engine serves until one that was made for them can.
    pub(super) fn renew_model(&mut self, index: usize, model: Model) {
        let entry = &mut self.models[index];
        let name = entry.name().clone();
        entry.wanted = Some(model);
        // What failed with other settings may work with these.
        entry.failures.clear();
        entry.underivable.clear();
        entry.attempts = 0;
        self.failures.forget(Some(&name), None);
        self.review(index, Review::Renewed);
    }

    /// Takes over what a model's configuration says besides how its engine is made, and looks whether its files are what they
    /// were.
    pub(super) fn keep_model(&mut self, index: usize, model: Model) {
        let entry = &mut self.models[index];
        let model = Model { default: entry.config.default, ..model };
        *entry.wanted.as_mut().unwrap_or(&mut entry.config) = model;
        if entry.preparing.is_none() && !entry.is_current() {
            self.review(index, Review::Checked);
        }
        self.publish_model(index);
    }

    /// Looks at a model's files again.
    pub(super) fn review(&mut self, index: usize, why: Review) {
        let entry = &mut self.models[index];
        entry.review = entry.review.max(Some(why));
        self.prepare(index);
    }

    /// Lets a model go for good: its running jobs end first, those that wait get an error.
    pub(super) fn remove_model(&mut self, index: usize) {
        let entry = &mut self.models[index];
        let name = entry.name().clone();
        let reason = "it is no longer configured".to_owned();
        entry.preparing = None;
        entry.wanted = None;
        entry.review = None;
        entry.next = None;
        entry.config.default = false;
        entry.config.derive = false;
        if let Stage::Ending { then, .. } = &mut entry.stage {
            *then = Then::Unload(DownWhy::Removed, reason);
        } else if entry.active().is_some() {
            self.end_engine(index, Then::Unload(DownWhy::Removed, reason));
        } else {
            entry.stage = Stage::Down(Down { why: DownWhy::Removed, reason, retry_at: None });
        }
        self.stop_deriving_for(&name);
        let error = no_longer_configured(&name);
        self.fail_waiting(index, &error);
        self.end_waiters(index, &Err(error));
        self.let_go(index);
    }

    /// Forgets a model that was removed when the last of its engines is gone.
    pub(super) fn let_go(&mut self, index: usize) {
        let entry = &self.models[index];
        if !entry.is_leaving() || entry.engines().next().is_some() {
            return;
        }
        let name = entry.name().clone();
        // A job that its engine gave back.
        self.fail_waiting(index, &no_longer_configured(&name));
        self.models.remove(index);
        self.queue.remove_model(&name);
        tracing::info!(model = %name, "the model is gone: it is no longer configured");
        self.link.set_retained(self.topics.model(&name), Bytes::new());
        self.publish_status();
    }

    /// The index of a model.
    pub(super) fn model_index(&self, model: &ModelName) -> Option<usize> {
        self.models.iter().position(|entry| entry.name() == model)
    }

    /// The index of a model that is configured.
    pub(super) fn configured(&self, model: &ModelName) -> Option<usize> {
        self.model_index(model).filter(|index| !self.models[*index].is_leaving())
    }
}

fn no_longer_configured(name: &ModelName) -> JobError {
    JobError::new(ErrorCode::UnknownModel, format!("the model {name} is no longer configured"))
}
