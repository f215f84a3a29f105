//! What would be tried for a model on this machine now, without a daemon.

use super::ServiceError;
use super::memory::{Held, MemoryWatch};
use super::models::{Gpu, Preparation, Prepared, Variant, prepare};
use crate::config::{Config, Model};
use crate::engine::backends_folder;
use crate::health::{Board, MemorySensors, Roots};
use crate::plan::{Candidate, Choice, Headroom, choose};

/// The strategies for a model, and which one would be used.
#[derive(Debug)]
pub struct Fit {
    /// Its files.
    pub variants: Vec<Variant>,
    /// The GPU that was found, if the ladder wants one.
    pub gpu: Option<Gpu>,
    /// Its strategies, best first, each with what it needs.
    pub candidates: Vec<Candidate>,
    /// What the machine has for it.
    pub headroom: Headroom,
    /// The best that fits.
    pub choice: Choice,
}

/// Opens the files, measures every strategy in children, and chooses as the daemon would with no other model loaded. What
/// a running daemon holds counts as taken. Must be called within a runtime on the main thread.
pub async fn fit(config: &Config, model: Model) -> Result<Fit, ServiceError> {
    let roots = Roots::this();
    let preparation = Preparation {
        model,
        known: Vec::new(),
        derived: config.service.state_dir.join("derived"),
        state_dir: config.service.state_dir.clone(),
        backends: backends_folder()?,
        unified_memory: Board::detect(&roots).unified_memory,
        reproducible: config.engine.reproducible,
        prefix_cache: config.engine.prefix_cache,
        heartbeat_timeout: config.engine.heartbeat_timeout,
    };
    let Prepared { variants, candidates, gpu, .. } = prepare(preparation).await;
    let memory = MemoryWatch::new(MemorySensors::discover(roots), config.memory.clone());
    let headroom = memory.headroom(&Held::default(), gpu.as_ref());
    let choice = choose(&candidates, &headroom);
    Ok(Fit { variants, gpu, candidates, headroom, choice })
}
