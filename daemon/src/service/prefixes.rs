//! What the operator's prompts begin with, which engines compute once; and the folder where they keep it for the next start.

use std::fs::{self, DirEntry};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::composed::step_name;
use super::driver::Driver;
use super::models::ModelEntry;
use crate::config::{Config, Durability};
use crate::engine::protocol::{Instructions, Opening, PrefixFolder, Prefixes};
use crate::engine::{EngineId, ModelFile};
use crate::health::Room;
use crate::job::{JobId, Task, TaskName};
use crate::plan::{Bytes, Reserve};

/// What prompts of the configured tasks and pipelines begin with.
fn openings(config: &Config) -> Vec<Opening> {
    let of_tasks = config.tasks.iter().map(|task| (task.name(), None, task.opening()));
    let of_pipelines = config.pipelines.iter().flat_map(|pipeline| {
        pipeline.openings().map(|(step, messages)| (pipeline.name(), Some(step.to_string()), messages))
    });
    let opening = |(task, step, messages): (&TaskName, _, _)| Opening {
        instructions: Instructions { task: task.clone(), step },
        messages,
    };
    of_tasks.chain(of_pipelines).map(opening).collect()
}

/// What an engine may keep of prompts, so much in memory, and on disk.
pub(super) fn prefixes(config: &Config, file: &ModelFile, most: Bytes) -> Prefixes {
    let disk = (are_written(config) && most > Bytes(0)).then(|| PrefixFolder {
        path: folder(config),
        most: config.engine.prefix_cache,
        reserve: disk_reserve(config.disk.reserve, &config.service.state_dir),
    });
    Prefixes { most, model: file.sha256.clone(), disk }
}

/// Whether anything of them is kept on disk: flash that must not be written is not written.
fn are_written(config: &Config) -> bool {
    config.journal.durability == Durability::Full && config.engine.prefix_cache > Bytes(0)
}

/// Where they lie.
fn folder(config: &Config) -> PathBuf {
    config.service.state_dir.join("prefixes")
}

/// What must stay free of the file system with a folder.
pub(super) fn disk_reserve(reserve: Reserve, folder: &Path) -> Bytes {
    let total = rustix::fs::statvfs(folder).map_or(0, |fs| fs.f_blocks * fs.f_frsize);
    reserve.of(Bytes(total))
}

impl Driver {
    /// The instructions of the operator's that the prompt of a job is made of: those of its task, else of the step of a pipeline that
    /// it is or belongs to.
    pub(super) fn instructions_of(&self, id: JobId) -> Option<Instructions> {
        let job = self.jobs.get(id)?;
        if let Some(task) = job.request.defined.clone() {
            return Some(Instructions { task, step: None });
        }
        let step = job.step()?;
        let of = self.jobs.get(step.job)?;
        match &of.request.task {
            Task::Pipeline(_) => {
                let task = of.request.defined.clone()?;
                Some(Instructions { task, step: Some(step_name(&step.key)) })
            }
            _ => self.instructions_of(step.job),
        }
    }

    /// Tells an engine that serves now what prompts begin with.
    pub(super) fn tell_openings(&self, index: usize, id: EngineId) {
        let engine = self.models[index].engines().find(|engine| engine.id() == id);
        // It computes every prompt by itself, if it is not told.
        if engine.is_some_and(|engine| !engine.engine().set_openings(openings(&self.config))) {
            tracing::debug!("an engine was not told what prompts begin with: it is busy");
        }
    }

    /// Tells every engine, after the configuration has changed.
    pub(super) fn tell_all_openings(&self) {
        for index in 0..self.models.len() {
            for engine in self.models[index].engines().filter(|engine| engine.report.is_some()) {
                self.tell_openings(index, engine.id());
            }
        }
    }

    /// Removes what engines keep on disk when that is short: of all that could go it costs the least.
    pub(super) fn reclaim_disk(&self, disk: Option<Room>) {
        if disk.is_some_and(|disk| Bytes(disk.free) < self.config.disk.reserve.of(Bytes(disk.total))) {
            self.remove_prefixes("the disk is short (disk.reserve)");
        }
    }

    /// Removes what an earlier run has kept on disk, if this one keeps nothing there.
    pub(super) fn remove_unwanted_prefixes(&self) {
        if !are_written(&self.config) {
            self.remove_prefixes("nothing of prompts is kept on disk");
        }
    }

    /// Removes what engines keep on disk.
    fn remove_prefixes(&self, reason: &str) {
        let folder = folder(&self.config);
        match fs::remove_dir_all(&folder) {
            Ok(()) => tracing::info!("removed {}: {reason}", folder.display()),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => tracing::warn!("cannot remove {}: {e}", folder.display()),
        }
    }

    /// Removes what is kept on disk of the model of an engine that has failed: it may have read what it cannot bear.
    pub(super) fn distrust_prefixes(&self, index: usize, id: EngineId) {
        let Some(failed) = self.models[index].engines().find(|engine| engine.id() == id) else { return };
        let mark = PrefixFolder::mark(&failed.file.sha256);
        let of_model = |entry: &DirEntry| entry.file_name().to_str().is_some_and(|name| name.starts_with(mark));
        for entry in fs::read_dir(folder(&self.config)).into_iter().flatten().flatten().filter(of_model) {
            match fs::remove_file(entry.path()) {
                Ok(()) => {
                    tracing::info!("removed {}: an engine has failed that may have read it", entry.path().display());
                }
                Err(e) => tracing::warn!("cannot remove {}: {e}", entry.path().display()),
            }
        }
    }

    /// Has engines forget what sessions have left, and will leave, of a client or one of its sessions.
    pub(super) fn forget_in_engines(&self, client: u64, session: Option<u64>) {
        for engine in self.models.iter().flat_map(ModelEntry::engines) {
            if !engine.engine().forget(client, session) {
                tracing::warn!("an engine that is busy keeps what a session has left until it expires");
            }
        }
    }
}
