//! What is printed: as it stands in JSON, and as [`show`](super::show) writes it for people.

mod way;

use std::path::PathBuf;

use promptd::config::{Config, Engine, Model};
use promptd::gguf::{Cache, ModelFacts};
use promptd::job::{ModelName, Precision};
use promptd::plan::{
    Bytes, DEVICE_MARGIN, DeviceKind, Headroom, HostHeadroom, KvType, LoadShape, Percent, Reserve, Strategy,
};
use promptd::service::{self, Gpu};
use serde::Serialize;

pub use self::way::{Outcome, StrategyReport, Way};
use super::survey::{Found, Survey};

/// Contexts in the table of estimates, up to what the model was trained with.
const CONTEXTS: [u32; 5] = [512, 2048, 4096, 8192, 32_768];

/// Numbers of sequences in the table of estimates.
pub const SEQUENCES: [u32; 4] = [1, 4, 8, 16];

/// Everything. Sizes are in bytes.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The configured model; none for a file.
    pub model: Option<ModelName>,
    /// Whether the needs were measured by dry runs, else they are estimates.
    pub measured: bool,
    /// What the model is to be loaded with.
    pub wanted: LoadShape,
    /// Its files.
    pub files: Vec<FileReport>,
    /// The GPU, if there is one.
    pub gpu: Option<GpuReport>,
    /// What the model may take.
    pub limits: Limits,
    /// The strategies, best first.
    pub strategies: Vec<StrategyReport>,
    /// The one that would be used; none if nothing fits.
    pub chosen: Option<Strategy>,
    /// What other shapes would need.
    pub estimates: Option<Estimates>,
}

/// A file.
#[derive(Debug, Serialize)]
pub struct FileReport {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds.
    #[serde(flatten)]
    pub content: Content,
}

/// What a file holds.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// A model.
    Model(Header),
    /// Nothing that can be used.
    Unusable {
        /// Why.
        error: String,
    },
}

/// What a file's header tells.
#[derive(Debug, Serialize)]
pub struct Header {
    /// The name that its makers gave it.
    pub name: Option<String>,
    /// Such as `llama`.
    pub architecture: String,
    /// How it was quantised.
    pub file_type: String,
    /// Its rung of the ladder.
    pub rung: Precision,
    /// Number of parameters.
    pub parameters: u64,
    /// All tensors together.
    pub weights: Bytes,
    /// Longest context that it was trained for.
    pub trained_context: u32,
    /// Tokens in the vocabulary.
    pub vocabulary: u32,
    /// What it remembers of earlier tokens.
    pub cache: Cache,
}

/// The GPU.
#[derive(Debug, Serialize)]
pub struct GpuReport {
    /// The kind of its back end.
    pub backend: &'static str,
    /// Such as `Vulkan0`.
    pub name: String,
    /// Such as `NVIDIA Orin`.
    pub description: String,
    /// Whether its memory is the host's.
    pub kind: DeviceKind,
    /// All of its memory.
    pub total: Bytes,
    /// What a model may take of it; none where it shares the host's.
    pub available: Option<Bytes>,
}

/// What the model may take of the host's memory.
#[derive(Debug, Serialize)]
pub struct Limits {
    /// So much; none if that can't be read.
    pub available: Option<Bytes>,
    /// What sets this limit, the tightest of all.
    pub limit: Option<String>,
    /// What stays free of each limit: a share or a number of bytes.
    pub reserve: ReserveReport,
    /// The configured most for all models.
    pub budget: Option<Bytes>,
}

/// As it is configured.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ReserveReport {
    /// Of every limit the same.
    Bytes(Bytes),
    /// A share of every limit.
    Share(Percent),
}

/// Estimates from a header, on the CPU.
#[derive(Debug, Serialize)]
pub struct Estimates {
    /// The file: that of the chosen strategy, else the most exact one.
    pub file: PathBuf,
    /// Its rung.
    pub rung: Precision,
    /// Element type of the KV cache.
    pub kv_type: KvType,
    /// Whether there is a state of recurrent layers, which comes on top.
    pub state_on_top: bool,
    /// One for each context, with all numbers of sequences.
    pub contexts: Vec<ContextEstimates>,
}

/// Estimates for one context.
#[derive(Debug, Serialize)]
pub struct ContextEstimates {
    /// Tokens for each sequence.
    pub context: u32,
    /// For 1, 4, 8 and 16 sequences.
    pub totals: [Estimate; SEQUENCES.len()],
}

/// The estimate for one shape.
#[derive(Debug, Serialize)]
pub struct Estimate {
    /// Jobs that run at once.
    pub sequences: u32,
    /// What it takes, margin included.
    pub total: Bytes,
}

impl Report {
    /// Gathers it. `name` is the model's where it comes from the configuration.
    pub fn new(name: Option<ModelName>, model: &Model, config: &Config, survey: Survey) -> Self {
        let chosen = survey.choice.chosen.as_ref().map(|chosen| chosen.strategy);
        let estimates = Estimates::of(&survey.files, chosen, model.kv_type, &config.engine);
        let strategies = way::strategies(&survey);
        Self {
            model: name,
            measured: survey.measured,
            wanted: LoadShape { context: model.context, sequences: model.sequences, kv_type: model.kv_type },
            limits: Limits::of(survey.headroom, config),
            gpu: survey.gpu.map(GpuReport::from),
            files: survey.files.into_iter().map(FileReport::from).collect(),
            strategies,
            chosen,
            estimates,
        }
    }
}

impl From<Found> for FileReport {
    fn from(found: Found) -> Self {
        let content = match found.content {
            Ok((rung, facts)) => Content::Model(Header {
                weights: Bytes(facts.weight_bytes()),
                name: facts.name,
                architecture: facts.architecture,
                file_type: facts.file_type,
                rung,
                parameters: facts.parameters,
                trained_context: facts.n_ctx_train,
                vocabulary: facts.n_vocab,
                cache: facts.cache,
            }),
            Err(error) => Content::Unusable { error },
        };
        Self { path: found.path, content }
    }
}

impl From<Gpu> for GpuReport {
    fn from(Gpu { backend, device, kind }: Gpu) -> Self {
        let left = Bytes(device.free.0.saturating_sub(DEVICE_MARGIN.0));
        let available = (kind == DeviceKind::Discrete).then_some(left);
        Self { backend, name: device.name, description: device.description, kind, total: device.total, available }
    }
}

impl Limits {
    fn of(headroom: Headroom, config: &Config) -> Self {
        let (available, limit) = match headroom.host {
            HostHeadroom::Known { bytes, limit } => (Some(bytes), Some(limit)),
            HostHeadroom::Unknown => (None, None),
        };
        let reserve = match config.memory.reserve {
            Reserve::Bytes(bytes) => ReserveReport::Bytes(bytes),
            Reserve::Percent(share) => ReserveReport::Share(share),
        };
        Self { available, limit, reserve, budget: config.memory.budget }
    }
}

impl Estimates {
    fn of(files: &[Found], chosen: Option<Strategy>, kv_type: KvType, engine: &Engine) -> Option<Self> {
        let usable = files.iter().filter_map(|file| Some((&file.path, file.content.as_ref().ok()?)));
        // Of equal ones the first, as in the daemon.
        let rank = |precision: Precision| {
            (chosen.is_none_or(|chosen| chosen.precision != precision), std::cmp::Reverse(precision))
        };
        let (path, (rung, facts)) = usable.min_by_key(|(_, (precision, _))| rank(*precision))?;
        let contexts = CONTEXTS.into_iter().filter(|context| *context <= facts.n_ctx_train);
        Some(Self {
            file: path.clone(),
            rung: *rung,
            kv_type,
            state_on_top: matches!(facts.cache, Cache::Recurrent | Cache::Hybrid),
            contexts: contexts.map(|context| ContextEstimates::of(facts, context, kv_type, engine)).collect(),
        })
    }
}

impl ContextEstimates {
    fn of(facts: &ModelFacts, context: u32, kv_type: KvType, engine: &Engine) -> Self {
        let total = |sequences| {
            let shape = LoadShape { context, sequences, kv_type };
            Estimate { sequences, total: service::estimate(facts, shape, engine).total() }
        };
        Self { context, totals: SEQUENCES.map(total) }
    }
}
