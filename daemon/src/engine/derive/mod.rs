//! Derived models: lower precisions that promptd makes itself, with llama.cpp's quantizer in a child process.
//!
//! The child writes into an unfinished file that the parent has made, locked and will remove; the parent watches it grow,
//! checks and hashes the result, and gives it its name as the last step. Dropping the future of a derivation ends it: the
//! child dies, the file is removed.

mod error;
mod partial;
mod recipe;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, interval};

use self::partial::PUBLIC;
use super::connection::Launch;
use super::protocol::{FromChild, QuantizeParams, ToChild};
use super::{EngineError, ModelFile, errand};
use crate::gguf::Gguf;
use crate::job::{ModelName, Precision};
use crate::plan::Bytes;

pub use error::DeriveError;
pub(super) use partial::{PRIVATE, Partial, sync_folder};
#[cfg(feature = "engine-child")]
pub(super) use recipe::ROWS_MAX;
pub use recipe::{FileType, Recipe};
pub(in crate::engine) use store::LLAMA;
pub use store::{Origin, clean, find};

/// Longest derivation. A board that makes 100,000 weights a second needs it for a model of eight milliards.
const LONGEST: Duration = Duration::from_hours(24);

/// Longest time in which the file doesn't grow. Between two writes some ten million weights are computed.
const STALLED: Duration = Duration::from_mins(5);

/// Longest time without a sign of life from the child.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_mins(1);

/// How often the file is looked at.
const TICK: Duration = Duration::from_millis(200);

/// The share that counts as done when the child has written everything; checking and hashing is the rest.
const WRITTEN: f32 = 0.95;

/// How much of a disk derived models may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskLimits {
    /// Stays free for others.
    pub reserve: Bytes,
    /// Most that the models of the folder may have together.
    pub derived_max: Bytes,
}

/// What to derive.
#[derive(Debug, Clone)]
pub struct DeriveSpec {
    /// The model's name, for the list of processes and the log.
    pub model: ModelName,
    /// What it is made from.
    pub source: Arc<ModelFile>,
    /// The rung, lower than the source's.
    pub to: Precision,
    /// Where derived models lie; made if it is missing.
    pub folder: PathBuf,
    /// Threads that compute.
    pub threads: u32,
    /// How much of the disk may be taken.
    pub disk: DiskLimits,
}

/// What to convert by hand.
#[derive(Debug, Clone)]
pub struct ConvertSpec {
    /// The name in the list of processes and the log.
    pub model: ModelName,
    /// What it is made from.
    pub source: Arc<ModelFile>,
    /// The rung.
    pub to: Precision,
    /// Whether the rung may be the source's or a higher one: the file grows, and is no more exact than before.
    pub any_direction: bool,
    /// The file to make.
    pub output: PathBuf,
    /// Whether it may replace another one.
    pub replace: bool,
    /// Threads that compute.
    pub threads: u32,
}

/// A model that was made from another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// Where it is.
    pub path: PathBuf,
    /// Its SHA-256, lower-case hex.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// What it is.
    pub file_type: FileType,
}

impl Derived {
    /// Opens it, if its content is what was made. Reads all of it: call it where blocking is allowed.
    pub fn open(&self) -> Result<ModelFile, EngineError> {
        let Self { path, sha256: expected, .. } = self;
        let file = ModelFile::open(path, None)?;
        if file.sha256 != *expected {
            let expected = expected.clone();
            return Err(EngineError::WrongHash { path: path.clone(), found: file.sha256, expected });
        }
        Ok(file)
    }
}

/// What a derivation would make and take.
pub fn recipe(source: &ModelFile, to: Precision) -> Result<Recipe, EngineError> {
    let unreadable = |error| EngineError::Unreadable { path: source.path.clone(), source: error };
    let file = std::fs::File::from(source.descriptor().map_err(unreadable)?);
    let malformed = |error| EngineError::Malformed { path: source.path.clone(), source: error };
    Ok(Recipe::of(&Gguf::read(&file, source.size).map_err(malformed)?, to))
}

/// Makes a lower precision of a model, or makes it anew. The closure gets the share that is done, 0 to 1.
///
/// Must be polled on the daemon's main thread: the child dies with the thread that started it.
pub async fn derive(spec: DeriveSpec, progress: impl FnMut(f32)) -> Result<Derived, EngineError> {
    let DeriveSpec { model, source, to, folder, threads, disk } = spec;
    only_down(&source, to)?;
    let recipe = recipe(&source, to)?;
    std::fs::create_dir_all(&folder).map_err(|e| DeriveError::File { path: folder.clone(), source: e })?;
    let target = store::model_path(&folder, &source.sha256, to);
    let partial = Partial::create(&target, PRIVATE)?;
    // First of all: the new one may need its room.
    store::remove(&target)?;
    let used = store::used(&folder)?;
    if used.0.saturating_add(recipe.size.0) > disk.derived_max.0 {
        return Err(DeriveError::FolderFull { folder, used, needed: recipe.size, limit: disk.derived_max }.into());
    }
    let work = Work { model, source, recipe, threads, reserve: disk.reserve };
    let sha256 = work.source.sha256.clone();
    let name = move |partial: Partial, made: &Derived| {
        Origin::new(&sha256, to, made).write(partial.target())?;
        partial.rename()
    };
    work.run(partial, progress, name).await
}

/// Makes a file of another precision. Progress and thread as for [`derive()`].
pub async fn convert(spec: ConvertSpec, progress: impl FnMut(f32)) -> Result<Derived, EngineError> {
    let ConvertSpec { model, source, to, any_direction, output, replace, threads } = spec;
    if !any_direction {
        only_down(&source, to)?;
    }
    let recipe = recipe(&source, to)?;
    let may_write = move |path: &Path| match path.try_exists() {
        Ok(exists) if exists && !replace => Err(DeriveError::Exists(path.to_owned())),
        Ok(_) => Ok(()),
        Err(source) => Err(DeriveError::File { path: path.to_owned(), source }),
    };
    may_write(&output)?;
    let partial = Partial::create(&output, PUBLIC)?;
    let work = Work { model, source, recipe, threads, reserve: Bytes(0) };
    let name = move |partial: Partial, _: &Derived| {
        // Somebody may have made it meanwhile.
        may_write(partial.target())?;
        partial.rename()
    };
    work.run(partial, progress, name).await
}

fn only_down(source: &ModelFile, to: Precision) -> Result<(), DeriveError> {
    let from = source.facts.precision;
    if to < from { Ok(()) } else { Err(DeriveError::NotLower { from, to }) }
}

/// One quantization into an unfinished file.
struct Work {
    model: ModelName,
    source: Arc<ModelFile>,
    recipe: Recipe,
    threads: u32,
    reserve: Bytes,
}

impl Work {
    /// Writes, checks, and has the file named.
    async fn run(
        self,
        partial: Partial,
        mut progress: impl FnMut(f32),
        name: impl FnOnce(Partial, &Derived) -> Result<(), DeriveError> + Send + 'static,
    ) -> Result<Derived, EngineError> {
        let folder = folder_of(partial.target()).to_owned();
        let available = available(&folder)?;
        let needed = self.recipe.size;
        if available.0 < needed.0.saturating_add(self.reserve.0) {
            return Err(DeriveError::NoSpace { folder, needed, reserve: self.reserve, available }.into());
        }
        self.write(&partial, &folder, &mut progress).await?;
        let expected = self.recipe.file_type;
        let finish = move || {
            partial.sync()?;
            let made = check(&partial, expected)?;
            name(partial, &made)?;
            sync_folder(&folder)?;
            Ok::<_, EngineError>(made)
        };
        let made = spawn_blocking(finish).await.map_err(|e| EngineError::Ended(e.to_string()))??;
        progress(1.0);
        Ok(made)
    }

    async fn write(&self, partial: &Partial, folder: &Path, progress: &mut impl FnMut(f32)) -> Result<(), EngineError> {
        let order = ToChild::Quantize(QuantizeParams { file_type: self.recipe.file_type, threads: self.threads });
        let launch = Launch {
            model: &self.model,
            file: self.source.descriptor().map_err(EngineError::Spawn)?,
            output: Some(partial.descriptor().map_err(EngineError::Spawn)?),
            heartbeat_timeout: HEARTBEAT_TIMEOUT,
        };
        let outcome = tokio::select! {
            biased;
            answer = errand::run(launch, &order, LONGEST, |_| {}) => answer,
            error = self.watch(partial, folder, progress) => Err(error),
        };
        match outcome {
            Ok(FromChild::Quantized) => Ok(()),
            Ok(other) => Err(EngineError::unexpected(&other)),
            // llama.cpp only says that a stream failed.
            Err(error) => Err(partial.full().map_or(error, EngineError::from)),
        }
    }

    /// Reports how the file grows. Returns when it doesn't any more, or when others fill the disk.
    async fn watch(&self, partial: &Partial, folder: &Path, progress: &mut impl FnMut(f32)) -> EngineError {
        let mut ticks = interval(TICK);
        let mut written = 0;
        let mut grown = Instant::now();
        loop {
            ticks.tick().await;
            match (partial.written(), available(folder)) {
                (_, Ok(available)) if available < self.reserve => {
                    let folder = folder.to_owned();
                    return DeriveError::DiskLow { folder, reserve: self.reserve, available }.into();
                }
                (Ok(now), _) if now > written => {
                    written = now;
                    grown = Instant::now();
                    progress((written as f32 / self.recipe.size.0.max(1) as f32).min(1.0) * WRITTEN);
                }
                _ if grown.elapsed() > STALLED => return EngineError::Stalled(STALLED),
                _ => {}
            }
        }
    }
}

/// Reads the finished file as strictly as any other model, and hashes it.
fn check(partial: &Partial, expected: FileType) -> Result<Derived, EngineError> {
    let made = ModelFile::open(partial.path(), None)?;
    let found = made.facts.file_type;
    if found != expected.as_str() {
        return Err(DeriveError::WrongResult { found, expected: expected.as_str() }.into());
    }
    Ok(Derived { path: partial.target().to_owned(), sha256: made.sha256, size: made.size, file_type: expected })
}

/// What the disk of a folder has free for this user.
pub(super) fn available(folder: &Path) -> Result<Bytes, DeriveError> {
    match rustix::fs::statvfs(folder) {
        Ok(disk) => Ok(Bytes(disk.f_bavail.saturating_mul(disk.f_frsize))),
        Err(e) => Err(DeriveError::File { path: folder.to_owned(), source: e.into() }),
    }
}

/// The folder that a file is or will be in.
pub(super) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
