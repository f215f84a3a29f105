//! The configured models and what has become of them.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Model;
use crate::engine::protocol::ModelReport;
use crate::engine::{Engine, ModelFile};
use crate::job::{ErrorCode, JobError, ModelName};
use crate::telemetry::{ModelDocument, ModelStage};

/// A configured model.
pub struct ModelEntry {
    /// Its configuration.
    pub config: Model,
    /// Where it is.
    pub state: ModelState,
    /// Its file, once that was read.
    pub file: Option<Arc<ModelFile>>,
    /// Its engine, once the file was read.
    pub engine: Option<Engine>,
    /// Jobs in the engine.
    pub running: usize,
    /// Whether it has served in this run.
    pub has_served: bool,
}

/// Where a model is.
#[derive(Debug)]
pub enum ModelState {
    /// The file is hashed, or a child reads it.
    Loading {
        /// The share that is done, 0 to 1.
        share: f32,
        /// Why the last child does not serve any more, if there was one.
        failed: Option<String>,
    },
    /// It serves.
    Ready(Box<ModelReport>),
    /// It does not serve: why, and when it is tried again.
    Unavailable {
        /// In words.
        reason: String,
        /// None if only a new start can help.
        retry: Option<Duration>,
    },
}

impl ModelEntry {
    /// A model that nobody has looked at yet.
    pub fn new(config: Model) -> Self {
        Self {
            config,
            state: ModelState::Loading { share: 0.0, failed: None },
            file: None,
            engine: None,
            running: 0,
            has_served: false,
        }
    }

    /// Its name.
    pub fn name(&self) -> &ModelName {
        &self.config.name
    }

    /// Why it does not serve, if that is known.
    pub fn failure(&self) -> Option<&str> {
        match &self.state {
            ModelState::Unavailable { reason, .. } => Some(reason),
            ModelState::Loading { failed, .. } => failed.as_deref(),
            ModelState::Ready(_) => None,
        }
    }

    /// Whether it has been loaded or refused at least once.
    pub fn is_settled(&self) -> bool {
        !matches!(self.state, ModelState::Loading { failed: None, .. })
    }

    /// Whether another job can start.
    pub fn has_room(&self) -> bool {
        matches!(self.state, ModelState::Ready(_)) && self.running < self.config.sequences as usize
    }

    /// Precision and placement, once the file was read.
    pub fn strategy(&self) -> Option<String> {
        self.file.as_ref().map(|file| format!("cpu:{}", file.facts.precision))
    }

    /// What clients and the fleet read names the model's file, not where it lies.
    pub fn without_folder(&self, reason: &str) -> String {
        match self.config.file.path.parent() {
            Some(folder) if folder.parent().is_some() => reason.replace(&format!("{}/", folder.display()), ""),
            _ => reason.to_owned(),
        }
    }

    /// `model/<name>`.
    pub fn document(&self) -> ModelDocument {
        let report = if let ModelState::Ready(report) = &self.state { Some(report) } else { None };
        let (state, progress, reason) = match &self.state {
            ModelState::Loading { share, failed } => (ModelStage::Loading, Some(*share), failed.clone()),
            ModelState::Ready(_) => (ModelStage::Ready, None, None),
            ModelState::Unavailable { reason, .. } => (ModelStage::Unavailable, None, Some(reason.clone())),
        };
        let file = self.config.file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ModelDocument {
            name: self.name().clone(),
            state,
            progress,
            reason,
            strategy: report.and_then(|_| self.strategy()),
            file,
            sha256: self.file.as_ref().map(|file| file.sha256.clone()),
            precision: self.file.as_ref().map(|file| file.facts.file_type.clone()),
            description: report.map(|report| report.description.clone()),
            context: report.map(|report| report.context),
            sequences: report.map(|report| report.sequences),
            threads: report.map(|report| report.threads),
            chat_template: report.map(|report| report.chat_template),
            cpu_features: report.map(|report| report.cpu_features.clone()),
            load_seconds: report.map(|report| report.load_time.as_secs_f32()),
        }
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
