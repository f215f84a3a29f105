//! An engine and what it runs.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::super::prefixes::prefixes;
use super::Gpu;
use super::prepare::tuning_of;
use crate::config::{Classification, Config, Model};
use crate::engine::protocol::{Golden, LoadParams, ModelKind, ModelReport, ThreadCount};
use crate::engine::{CPU_BACKENDS, Duty, Engine, EngineId, EngineReport, EngineSpec, ModelFile, Tuned};
use crate::gguf::{Cache, ModelFacts, Pooling};
use crate::job::Ability;
use crate::plan::{Bytes, Chosen, GpuLayers, Placement, Rejection, Strategy, Tuning};

/// An engine that loads, serves or ends.
pub struct Active {
    engine: Engine,
    /// What it was started with.
    pub chosen: Chosen,
    /// The better strategies, and what was against each.
    pub rejected: Vec<Rejection>,
    /// The only strategy that an operator wants from when it serves.
    pub only: Option<Strategy>,
    /// The file that it runs.
    pub file: Arc<ModelFile>,
    /// How it was found to run best, if that was measured.
    pub tuning: Option<Tuning>,
    /// The process, once there is one.
    pub pid: Option<u32>,
    /// Bytes of the largest request that it was made for.
    pub request_max: usize,
    /// Jobs in it.
    pub running: usize,
    /// How much of the time it computes.
    pub duty: Duty,
    /// Whether it was told that memory is short.
    pub trimmed: bool,
    /// The share of the file that is read, 0 to 1.
    pub share: f32,
    /// What it is, once it serves.
    pub report: Option<Box<ModelReport>>,
}

/// What an engine needs besides its choice.
pub struct EngineSettings<'a> {
    /// The daemon's configuration.
    pub config: &'a Config,
    /// The model's.
    pub model: &'a Model,
    /// Folder with one folder for each kind of back end.
    pub backends: &'a Path,
    /// The GPU that strategies on a GPU run on.
    pub gpu: Option<&'a Gpu>,
    /// What suits its file on this machine, if that was measured.
    pub tuned: Option<&'a Tuned>,
    /// The engine's number.
    pub id: EngineId,
    /// Whether jobs wait for the model to come back.
    pub urgent: bool,
}

impl Active {
    /// Starts an engine. Must be called on the daemon's main thread.
    pub fn start(
        settings: &EngineSettings<'_>,
        chosen: Chosen,
        rejected: Vec<Rejection>,
        file: Arc<ModelFile>,
        driver: mpsc::Sender<EngineReport>,
    ) -> Self {
        let spec = settings.spec(&chosen, Arc::clone(&file));
        let engine = Engine::start(spec, settings.id, driver);
        let request_max = settings.config.limits.request;
        let cpu = chosen.strategy.placement == Placement::Cpu;
        Self {
            engine,
            chosen,
            rejected,
            only: None,
            file,
            tuning: settings.tuned.filter(|_| cpu).map(|tuned| tuned.tuning),
            pid: None,
            request_max,
            running: 0,
            duty: Duty::FULL,
            trimmed: false,
            share: 0.0,
            report: None,
        }
    }

    /// The engine's number.
    pub fn id(&self) -> EngineId {
        self.engine.id()
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Jobs that it takes at once; none before it serves.
    pub fn places(&self) -> usize {
        self.report.as_ref().map_or(0, |report| report.sequences as usize)
    }

    /// What it holds of the host's memory for itself: measured once it serves, planned before.
    pub fn anonymous(&self) -> Bytes {
        match &self.report {
            Some(report) => report.memory.anonymous,
            None => self.chosen.option.need.host(),
        }
    }

    /// Bytes of files that it keeps mapped; none before it serves, when they are still counted as planned.
    pub fn mapped(&self) -> Bytes {
        self.report.as_ref().map_or(Bytes(0), |report| report.memory.file)
    }

    /// All that it holds of the host's memory.
    pub fn host(&self) -> Bytes {
        Bytes(self.anonymous().0.saturating_add(self.mapped().0))
    }
}

impl EngineSettings<'_> {
    fn spec(&self, chosen: &Chosen, file: Arc<ModelFile>) -> EngineSpec {
        let Self { config, model, .. } = self;
        let golden = match (&model.golden_prompt, &model.golden_expect) {
            (Some(prompt), expect) => {
                Golden::Answer { prompt: prompt.clone(), expect: expect.clone().unwrap_or_else(|| r"\S".to_owned()) }
            }
            (None, _) => Golden::Loss,
        };
        EngineSpec {
            model: model.name.clone(),
            load: LoadParams {
                backends: backend_folders(self.backends, self.gpu, chosen.option.gpu_layers),
                kind: kind_of(&file.facts),
                layers: chosen.option.gpu_layers,
                shape: chosen.option.shape,
                threads: self.threads(chosen.strategy),
                tuning: tuning_of(self.tuned, chosen.strategy, chosen.option.shape.kv_type),
                max_stall: config.engine.max_stall,
                reproducible: config.engine.reproducible,
                prompt_bytes: config.limits.request as u64,
                multi_label: model.classification == Classification::MultiLabel,
                golden,
                warm_up: !self.urgent,
                prefixes: prefixes(config, &file, chosen.option.need.prefixes(config.engine.prefix_cache)),
            },
            file,
            load_timeout: config.load.timeout,
            heartbeat_timeout: config.engine.heartbeat_timeout,
        }
    }

    /// Another number of threads than the default is somebody's wish.
    fn threads(&self, strategy: Strategy) -> ThreadCount {
        let Self { config, model, .. } = self;
        let by_default = model.threads == config.profile.threads;
        let tuned = self.tuned.filter(|_| by_default && strategy.placement == Placement::Cpu);
        let threads = tuned.map_or(model.threads, |tuned| tuned.threads);
        // Other numbers of threads add up in another order.
        let adapts = config.engine.adapt_threads && !config.engine.reproducible;
        if adapts { ThreadCount::UpTo(threads) } else { ThreadCount::Fixed(threads) }
    }
}

/// The back ends that a child loads: a GPU's computes beside the CPU's, and a child for the CPU never wakes a GPU.
pub(super) fn backend_folders(backends: &Path, gpu: Option<&Gpu>, layers: GpuLayers) -> Vec<String> {
    let gpu = gpu.filter(|_| layers != GpuLayers::None).map(|gpu| gpu.backend);
    let kinds = std::iter::once(CPU_BACKENDS).chain(gpu);
    kinds.map(|kind| backends.join(kind).to_string_lossy().into_owned()).collect()
}

/// What a model of these facts can do; none if that serves no task.
pub(super) fn ability_of(facts: &ModelFacts) -> Option<Ability> {
    match (kind_of(facts), facts.pooling) {
        (ModelKind::Decoder, _) => Some(Ability::Generate),
        (ModelKind::Encoder, Some(Pooling::Mean | Pooling::Cls | Pooling::Last)) => Some(Ability::Embed),
        (ModelKind::Encoder, Some(Pooling::Rank)) if facts.n_labels > 1 => Some(Ability::Classify),
        (ModelKind::Encoder, Some(Pooling::None)) if facts.n_labels > 1 => Some(Ability::Extract),
        (ModelKind::Encoder, None | Some(Pooling::None | Pooling::Rank)) => None,
    }
}

/// What a model of these facts does.
pub(super) fn kind_of(facts: &ModelFacts) -> ModelKind {
    if facts.cache == Cache::None { ModelKind::Encoder } else { ModelKind::Decoder }
}
