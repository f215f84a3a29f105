//! From a model's configuration to the strategies that could run it, each with what it would take.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::active::{backend_folders, kind_of};
use crate::config::Model;
use crate::engine::derive::{Derived, find};
use crate::engine::protocol::{Buffers, GpuDevice, MeasureParams, MeasurePoint, MeasureReport, ModelKind};
use crate::engine::{CPU_BACKENDS, EngineError, GPU_BACKENDS, ModelFile, Tuned, measure};
use crate::health::Machine;
use crate::job::Precision;
use crate::plan::{
    Bytes, Candidate, DeviceKind, DeviceNeed, Devices, GpuLayers, HostNeed, KvType, LoadOption, LoadShape, Need,
    Placement, Strategy, Tuning, ladder, squeezes, wanted_precisions,
};

/// Shares of the layers that `partial` tries on the GPU, in quarters.
const PARTIAL_QUARTERS: [u32; 3] = [3, 2, 1];

/// So often a dry run is tried that somebody kills: it takes no memory that the kernel could want.
const TRIES: u32 = 3;

/// What is needed to prepare a model.
#[derive(Debug, Clone)]
pub struct Preparation {
    /// Its configuration.
    pub model: Model,
    /// Files of it that are open already.
    pub known: Vec<Variant>,
    /// Where derived models lie.
    pub derived: PathBuf,
    /// Where the daemon keeps its state.
    pub state_dir: PathBuf,
    /// Folder with one folder for each kind of back end.
    pub backends: PathBuf,
    /// Whether GPUs of this machine share the host's memory, whatever their drivers say.
    pub unified_memory: bool,
    /// As configured.
    pub reproducible: bool,
    /// Most memory for what is kept of prompts.
    pub prefix_cache: Bytes,
    /// Longest time without progress of a dry run.
    pub heartbeat_timeout: Duration,
}

/// A file of a model.
#[derive(Debug, Clone)]
pub struct Variant {
    /// Where it is.
    pub path: PathBuf,
    /// The file, or why it can't be used.
    pub file: Result<Usable, String>,
}

/// A file that can be used.
#[derive(Debug, Clone)]
pub struct Usable {
    /// The file.
    pub file: Arc<ModelFile>,
    /// Its rung of the ladder. For a derived file the one that was asked for: the header of a small model whose embedding is
    /// stored more exactly tells another one.
    pub precision: Precision,
    /// What suits it on this machine, if that was measured.
    pub tuned: Option<Tuned>,
}

/// The GPU for a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// The folder of its back end.
    pub backend: &'static str,
    /// The device.
    pub device: GpuDevice,
    /// Whether its memory is the host's.
    pub kind: DeviceKind,
}

/// What was found out.
#[derive(Debug)]
pub struct Prepared {
    /// Every file.
    pub variants: Vec<Variant>,
    /// The strategies, best first.
    pub candidates: Vec<Candidate>,
    /// The GPU, if there is one.
    pub gpu: Option<Gpu>,
    /// Whether somebody killed or stopped a dry run, so that nothing is known of its strategy.
    pub disturbed: bool,
}

/// Opens, checks and hashes the files, looks for GPUs, and measures every strategy. Must be called within a runtime on the
/// daemon's main thread.
pub async fn prepare(preparation: Preparation) -> Prepared {
    let mut variants = open_all(&preparation).await;
    let machine = Machine::this().name();
    for usable in variants.iter_mut().filter_map(|variant| variant.file.as_mut().ok()) {
        usable.tuned = match Tuned::find(&preparation.state_dir, &usable.file.sha256, &machine) {
            Some(Err(reason)) => {
                let path = usable.file.path.display();
                tracing::info!(model = %preparation.model.name, "what was found best for {path} is not used: {reason}");
                None
            }
            found => found.and_then(Result::ok),
        };
    }
    let usable = one_of_each(&variants);
    for unused in variants.iter().filter(|v| v.file.is_ok() && !usable.iter().any(|usable| usable.file.path == v.path))
    {
        tracing::warn!(model = %preparation.model.name, "{} is not used: an earlier file has its precision", unused.path.display());
    }
    let gpu = match usable.first() {
        Some(first) if wants_gpu(preparation.model.ladder.as_deref()) => find_gpu(&preparation, &first.file).await,
        _ => None,
    };
    let devices = match gpu.as_ref().map(|gpu| gpu.kind) {
        None => Devices::None,
        Some(DeviceKind::Unified) => Devices::Unified,
        Some(DeviceKind::Discrete) => Devices::Discrete,
    };
    let precisions: Vec<Precision> = usable.iter().map(|usable| usable.precision).collect();
    let mut candidates = Vec::new();
    let mut disturbed = false;
    for strategy in ladder(preparation.model.ladder.as_deref(), &precisions, devices) {
        let Some(usable) = usable.iter().find(|usable| usable.precision == strategy.precision) else { continue };
        let options = measure_strategy(&preparation, usable, gpu.as_ref(), strategy).await;
        disturbed |= options.as_ref().is_err_and(EngineError::is_blameless);
        candidates.push(Candidate { strategy, options: options.map_err(|e| e.to_string()) });
    }
    Prepared { variants, candidates, gpu, disturbed }
}

async fn open_all(preparation: &Preparation) -> Vec<Variant> {
    let mut variants = Vec::new();
    for file in &preparation.model.files {
        let sha256 = file.sha256;
        let open = move |path: &Path| ModelFile::open(path, sha256.as_ref());
        variants.push(open_one(preparation, &file.path, None, open).await);
    }
    for (derived, precision) in derived(preparation, &variants) {
        let path = derived.path.clone();
        variants.push(open_one(preparation, &path, Some(precision), move |_: &Path| derived.open()).await);
    }
    variants
}

/// Opens a file, or takes it as it was opened before. With a precision it is a derived one.
async fn open_one(
    preparation: &Preparation,
    path: &Path,
    derived: Option<Precision>,
    open: impl FnOnce(&Path) -> Result<ModelFile, EngineError> + Send + 'static,
) -> Variant {
    let unchanged = |known: &&Variant| known.path == path && known.file.as_ref().is_ok_and(|u| u.file.is_current());
    if let Some(known) = preparation.known.iter().find(unchanged) {
        return known.clone();
    }
    let opening = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || open(&opening)).await;
    let file = match opened {
        Ok(Ok(file)) => {
            let precision = derived.unwrap_or(file.facts.precision);
            Ok(Usable { file: Arc::new(file), precision, tuned: None })
        }
        Ok(Err(e)) => Err(e.to_string()),
        Err(e) => Err(format!("cannot read {}: {e}", path.display())),
    };
    Variant { path: path.to_owned(), file }
}

/// What was made of a model's files earlier.
fn derived(preparation: &Preparation, variants: &[Variant]) -> Vec<(Derived, Precision)> {
    let usable = one_of_each(variants);
    let Some(source) = usable.iter().max_by_key(|usable| usable.precision).filter(|_| preparation.model.derive) else {
        return Vec::new();
    };
    let missing = missing(&preparation.model, &usable);
    let find = |to: Precision| Some((find(&preparation.derived, &source.file.sha256, to)?, to));
    missing.into_iter().filter_map(find).collect()
}

/// The precisions that the ladder wants, no file has, and can be made from one that is more exact.
pub(in crate::service) fn missing(model: &Model, usable: &[Usable]) -> Vec<Precision> {
    let best = usable.iter().map(|usable| usable.precision).max();
    let wanted = wanted_precisions(model.ladder.as_deref()).into_iter();
    let lacks = |to: &Precision| usable.iter().all(|usable| usable.precision != *to);
    wanted.filter(|to| best.is_some_and(|best| best > *to) && lacks(to)).collect()
}

/// The first usable file of each precision; a second one would never be chosen.
pub(in crate::service) fn one_of_each(variants: &[Variant]) -> Vec<Usable> {
    let mut all: Vec<Usable> = Vec::new();
    for usable in variants.iter().filter_map(|variant| variant.file.as_ref().ok()) {
        if all.iter().all(|known| known.precision != usable.precision) {
            all.push(usable.clone());
        }
    }
    all
}

/// How to run a file. What was measured on the CPU is of no use on a GPU, and a quantized KV cache needs flash attention.
pub(super) fn tuning_of(tuned: Option<&Tuned>, strategy: Strategy, kv_type: KvType) -> Tuning {
    let tuned = tuned.filter(|_| strategy.placement == Placement::Cpu);
    let tuning = tuned.map_or_else(Tuning::default, |tuned| tuned.tuning);
    Tuning { flash_attention: tuning.flash_attention || kv_type != KvType::F16, ..tuning }
}

fn wants_gpu(ladder: Option<&[Strategy]>) -> bool {
    ladder.is_none_or(|steps| steps.iter().any(|step| step.placement != Placement::Cpu))
}

/// The first GPU of the first back end that is installed and finds one.
async fn find_gpu(preparation: &Preparation, file: &Arc<ModelFile>) -> Option<Gpu> {
    for backend in GPU_BACKENDS {
        let folder = preparation.backends.join(backend);
        if !folder.is_dir() {
            continue;
        }
        match probe(preparation, file, &folder).await {
            Ok(report) => {
                // Discrete ones are faster.
                let device = report.devices.into_iter().min_by_key(|device| device.integrated);
                let Some(device) = device else { continue };
                let unified = device.integrated || preparation.unified_memory;
                let kind = if unified { DeviceKind::Unified } else { DeviceKind::Discrete };
                return Some(Gpu { backend, device, kind });
            }
            Err(e) => tracing::warn!(model = %preparation.model.name, "the back end {backend} is not used: {e}"),
        }
    }
    None
}

/// A dry run without points tells the devices.
async fn probe(preparation: &Preparation, file: &Arc<ModelFile>, folder: &Path) -> Result<MeasureReport, EngineError> {
    let backends = [preparation.backends.join(CPU_BACKENDS), folder.to_owned()];
    let backends = backends.map(|path| path.to_string_lossy().into_owned()).to_vec();
    run(preparation, file, Tuning::default(), backends, Vec::new()).await
}

async fn measure_strategy(
    preparation: &Preparation,
    Usable { file, tuned, .. }: &Usable,
    gpu: Option<&Gpu>,
    strategy: Strategy,
) -> Result<Vec<LoadOption>, EngineError> {
    let tuning = tuning_of(tuned.as_ref(), strategy, preparation.model.kv_type);
    let points = points(preparation, file, tuning, strategy);
    let backends = backend_folders(&preparation.backends, gpu, points[0].layers);
    let report = run(preparation, file, tuning, backends, points.clone()).await?;
    let process = report.process;
    // Encoders write nothing that could be held to a form, and remember nothing.
    let with_room = |need: Need| match kind_of(&file.facts) {
        ModelKind::Decoder => need.with_tables(file.facts.n_vocab).with_prefixes(preparation.prefix_cache),
        ModelKind::Encoder => need,
    };
    let mut options = Vec::new();
    let mut failed = None;
    for (point, buffers) in points.iter().zip(report.buffers) {
        match buffers {
            Ok(buffers) => options.push(option(point, &buffers, process, with_room)),
            Err(reason) => failed = Some(reason),
        }
    }
    match failed {
        Some(reason) if options.is_empty() => Err(EngineError::Refused(reason)),
        _ => Ok(options),
    }
}

/// The shapes of a placement, best first: with a part of the layers on a GPU, the wanted shape with as many as possible,
/// then the smallest.
fn points(preparation: &Preparation, file: &ModelFile, tuning: Tuning, strategy: Strategy) -> Vec<MeasurePoint> {
    let Model { context, sequences, kv_type, min_context, .. } = preparation.model;
    let trained = file.facts.n_ctx_train.max(1);
    let wanted = LoadShape { context: context.min(trained), sequences, kv_type };
    // A quantized KV cache needs flash attention.
    let may_quantize = tuning.flash_attention && !preparation.reproducible;
    let shapes = squeezes(wanted, min_context.min(trained), may_quantize);
    let with = |layers: GpuLayers| move |shape: &LoadShape| MeasurePoint { layers, shape: *shape };
    match strategy.placement {
        Placement::Cpu => shapes.iter().map(with(GpuLayers::None)).collect(),
        Placement::Gpu => shapes.iter().map(with(GpuLayers::All)).collect(),
        Placement::Partial => {
            let ends = [Some(wanted), shapes.last().copied().filter(|last| *last != wanted)];
            let layers = PARTIAL_QUARTERS.map(|quarters| GpuLayers::Some((file.facts.n_layer * quarters / 4).max(1)));
            let point = |shape| layers.map(|layers| MeasurePoint { layers, shape });
            ends.into_iter().flatten().flat_map(point).collect()
        }
    }
}

fn option(point: &MeasurePoint, buffers: &Buffers, process: Bytes, with_room: impl Fn(Need) -> Need) -> LoadOption {
    let Buffers { host, device } = *buffers;
    let on_host = HostNeed {
        weights: host.weights,
        repack: host.repacked,
        kv: host.kv,
        output: host.output,
        compute: host.compute,
        process,
    };
    let on_device =
        DeviceNeed { weights: device.weights, kv: device.kv, output: device.output, compute: device.compute };
    LoadOption { shape: point.shape, gpu_layers: point.layers, need: with_room(Need::new(on_host, on_device)) }
}

async fn run(
    preparation: &Preparation,
    file: &Arc<ModelFile>,
    tuning: Tuning,
    backends: Vec<String>,
    points: Vec<MeasurePoint>,
) -> Result<MeasureReport, EngineError> {
    let Preparation { model, reproducible, heartbeat_timeout, .. } = preparation;
    let params = MeasureParams { backends, kind: kind_of(&file.facts), points, reproducible: *reproducible, tuning };
    for _ in 1..TRIES {
        match measure(&model.name, file, params.clone(), *heartbeat_timeout).await {
            Err(error @ EngineError::Killed) => tracing::warn!(model = %model.name, "a dry run is made again: {error}"),
            result => return result,
        }
    }
    measure(&model.name, file, params, *heartbeat_timeout).await
}
