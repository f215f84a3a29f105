//! Makes the lower precisions that a model's ladder wants and no file has, one at a time, while memory allows.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinHandle;

use super::driver::Driver;
use super::governor::Level;
use super::models::{ModelEntry, Stage, missing, one_of_each};
use super::prefixes::disk_reserve;
use super::thermal::Heat;
use crate::engine::EngineError;
use crate::engine::derive::{DeriveSpec, Derived, DiskLimits, clean, derive, recipe};
use crate::job::{ModelName, Precision};
use crate::plan::{Bytes, DeviceNeed, HostNeed, Need};
use crate::telemetry::{EventKind, ModelEvent};

/// A derivation that is under way. Dropping it ends it.
pub(super) struct Deriving {
    model: ModelName,
    to: Precision,
    task: JoinHandle<()>,
}

impl Drop for Deriving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a derivation ended.
pub(super) type DerivedReport = (ModelName, Precision, Result<Derived, EngineError>);

/// Removes what a crash has left in the folder of derived models.
pub(super) fn clean_folder(folder: &Path) {
    if !folder.is_dir() {
        return;
    }
    match clean(folder, |_| true) {
        Ok(removed) => {
            for path in removed {
                tracing::info!(
                    "removed {}, which a derivation has left unfinished or which has changed",
                    path.display()
                );
            }
        }
        Err(e) => tracing::warn!("{e}"),
    }
}

impl Driver {
    /// Where derived models lie.
    pub(super) fn derived_folder(&self) -> PathBuf {
        self.config.service.state_dir.join("derived")
    }

    /// Starts the next derivation if there is one to do and nothing more important is under way.
    pub(super) fn derive_next(&mut self) {
        let busy = |entry: &ModelEntry| {
            entry.preparing.is_some() || entry.next.is_some() || matches!(entry.stage, Stage::Loading(_))
        };
        let now = Instant::now();
        if self.deriving.is_some()
            || now < self.derive_after
            || self.governor.level() > Level::Normal
            || self.thermal.heat() > Heat::Normal
            || self.models.iter().any(busy)
        {
            return;
        }
        self.deriving = (0..self.models.len()).find_map(|index| self.derive_for(index));
        // What is to be made is in the headers of files: they are not read at each turn.
        if self.deriving.is_none() {
            self.derive_after = now + self.config.memory.recover_after;
        }
    }

    fn derive_for(&self, index: usize) -> Option<Deriving> {
        let entry = &self.models[index];
        let usable = one_of_each(&entry.variants);
        let source = usable.iter().max_by_key(|usable| usable.precision).filter(|_| entry.config.derive)?;
        let wanted = missing(&entry.config, &usable);
        let to = wanted.into_iter().find(|to| !entry.underivable.contains(to))?;
        let memory = recipe(&source.file, to).ok()?.memory;
        let need = Need::new(HostNeed { process: memory, ..HostNeed::default() }, DeviceNeed::default());
        if self.headroom(index, None).shortage(&need).is_some() {
            return None;
        }
        let reserve = disk_reserve(self.config.disk.reserve, &self.config.service.state_dir);
        let spec = DeriveSpec {
            model: entry.name().clone(),
            source: Arc::clone(&source.file),
            to,
            folder: self.derived_folder(),
            threads: entry.config.threads,
            disk: DiskLimits { reserve, derived_max: self.config.disk.derived_max },
        };
        tracing::info!(model = %entry.name(), "deriving {to} from {}", source.file.path.display());
        let (model, done) = (entry.name().clone(), self.derived.clone());
        // On this thread: the child dies with it.
        let task = tokio::spawn(async move {
            let model = spec.model.clone();
            let derived = derive(spec, |_| {}).await;
            // The driver is gone only when the daemon ends.
            let _ = done.send((model, to, derived)).await;
        });
        Some(Deriving { model, to, task })
    }

    /// Takes the end of a derivation: its file is one of the model's from now on.
    pub(super) fn on_derived(&mut self, report: DerivedReport) {
        let (model, to, derived) = report;
        self.deriving = None;
        let Some(index) = self.model_index(&model) else { return };
        match derived {
            Ok(derived) => {
                let what = format!("{to} ({}, {})", derived.file_type.as_str(), Bytes(derived.size));
                tracing::info!(%model, "derived {what}");
                self.event(index, &ModelEvent::of(EventKind::Derived).to(to.to_string()));
                self.prepare(index);
            }
            Err(error) => {
                tracing::error!(%model, "cannot derive {to}: {error}");
                self.models[index].underivable.push(to);
                self.event(index, &ModelEvent::of(EventKind::Failed).to(to.to_string()).because(error.to_string()));
                self.derive_next();
            }
        }
    }

    /// Gives the derivation for a model up for good.
    pub(super) fn stop_deriving_for(&mut self, model: &ModelName) {
        if self.deriving.as_ref().is_some_and(|deriving| deriving.model == *model) {
            self.stop_deriving("its model is no longer configured");
        }
    }

    /// Gives a derivation up; it is started again later.
    pub(super) fn stop_deriving(&mut self, reason: &str) {
        if let Some(Deriving { model, to, .. }) = self.deriving.as_ref() {
            tracing::info!(%model, "the derivation of {to} is stopped: {reason}");
        }
        self.deriving = None;
    }
}
