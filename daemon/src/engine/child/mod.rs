//! The child side: `promptd engine`. It loads one model, answers jobs in a batch loop, and ends with its daemon.

mod asks;
mod cache;
mod chooser;
mod encoder;
mod frame;
mod golden;
mod grammar;
mod link;
mod llama;
mod logprobs;
mod logs;
mod measure;
mod memory;
mod pace;
mod prompt;
mod quantize;
mod sandbox;
mod scheduler;
mod scorer;
mod sequence;
mod spans;
mod template;
mod text;
mod threads;
mod tune;
mod warm;
mod writer;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Instant;

use sha2::{Digest, Sha256};
use thiserror::Error;

use self::cache::disk::Key;
use self::encoder::{Encoder, Head, HeadError};
use self::golden::GoldenError;
use self::link::Link;
use self::llama::{Backend, Context, ContextParams, LlamaError, Model, shares};
use self::memory::own_memory;
use self::pace::Pace;
use self::prompt::Prompter;
use self::scheduler::Scheduler;
use self::threads::Crew;
use super::derive::LLAMA;
use super::protocol::{
    BUILD, FromChild, Hello, LoadParams, MODEL_FD, ModelReport, PROTOCOL, Phase, RealMemory, SOCKET_FD, ToChild,
};
use crate::plan::{Bytes, GpuLayers, KvType, LoadShape, Tuning};

/// Why a child ended by itself.
#[derive(Debug, Error)]
pub enum ChildError {
    /// The socket failed before it was of use.
    #[error("the connection to the daemon failed: {0}")]
    Connection(#[from] io::Error),
    /// The sandbox could not be set up.
    #[error("cannot give up the network: {0}")]
    Sandbox(#[from] seccompiler::Error),
    /// Started by hand, or the daemon is gone already.
    #[error("process {0} is not the parent: `promptd engine` is started by the daemon only")]
    NotOurs(u32),
    /// A defect of the batch loop.
    #[error("the batch loop panicked")]
    Panicked,
    /// The daemon sent something else first.
    #[error("the daemon did not begin with an order")]
    NoOrder,
    /// The model cannot serve; the daemon has been told.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// llama.cpp failed for good.
    #[error(transparent)]
    Decode(#[from] llama::DecodeFailed),
}

/// Why a model cannot serve.
#[derive(Debug, Error)]
pub enum LoadError {
    /// llama.cpp refused it.
    #[error(transparent)]
    Llama(#[from] LlamaError),
    /// It could not be written in another type.
    #[error(transparent)]
    Quantize(#[from] llama::QuantizeFailed),
    /// An encoder with a decoder.
    #[error("models with an encoder and a decoder are not supported")]
    EncoderDecoder,
    /// A quantized KV cache needs flash attention, which makes output depend on the load.
    #[error("engine.reproducible needs kv_type \"f16\"")]
    ReproducibleKv,
    /// Its head for tokens cannot be used.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// It loads and computes nonsense.
    #[error("the golden prompt failed: {0}")]
    Golden(#[from] GoldenError),
}

/// Runs a child whose daemon has this process id. Returns when the daemon went away or the model can't serve.
pub fn run(parent: u32) -> Result<(), ChildError> {
    logs::init();
    if !sandbox::die_with_parent(parent)? {
        return Err(ChildError::NotOurs(parent));
    }
    let stream = UnixStream::from(sandbox::inherited(SOCKET_FD));
    // Stays open until the end: llama.cpp opens it again by its number.
    let model_file = sandbox::inherited(MODEL_FD);
    if let Err(e) = sandbox::volunteer_for_oom() {
        tracing::warn!("cannot raise the out-of-memory score: {e}");
    }
    sandbox::leave_the_network()?;
    let mut greeting = stream.try_clone()?;
    frame::write(&mut greeting, &Hello::own())?;
    let order = frame::read(&mut greeting)?.ok_or(ChildError::NoOrder)?;
    let prompt_bytes = if let ToChild::Load(params) = &order { params.prompt_bytes } else { 0 };
    let loops = std::thread::Builder::new().name("batch loop".into()).stack_size(stack_size(prompt_bytes));
    let outcome = loops.spawn(move || obey(Link::start(stream)?, order, &model_file))?.join();
    outcome.unwrap_or(Err(ChildError::Panicked))
}

fn obey(link: Link, order: ToChild, model_file: &OwnedFd) -> Result<(), ChildError> {
    match order {
        ToChild::Load(params) => serve(link, &params, model_file),
        ToChild::Measure(params) => {
            let measured = measure::measure(&link, &params);
            answer(link, measured.map(FromChild::Measured))
        }
        ToChild::Tune(params) => {
            let report = tune::tune(&link, &params, model_file);
            answer(link, report.map(|report| FromChild::Tuned(Box::new(report))))
        }
        ToChild::Quantize(params) => {
            let written = quantize::quantize(&link, params);
            answer(link, written.map(|()| FromChild::Quantized))
        }
        _ => Err(ChildError::NoOrder),
    }
}

/// Sends the one answer of an errand, then ends.
fn answer(link: Link, result: Result<FromChild, LoadError>) -> Result<(), ChildError> {
    let failed = |e: &LoadError| FromChild::LoadFailed(e.to_string());
    link.send(result.as_ref().map_or_else(failed, Clone::clone));
    link.finish();
    Ok(result.map(drop)?)
}

/// Many tokenizers of llama.cpp split text by `std::regex`, which recurses once for each character: 26 000 equal ones end a
/// stack of 8 MiB. Address space only: pages are taken when they are used.
fn stack_size(prompt_bytes: u64) -> usize {
    const FOR_EACH_BYTE: u64 = 512;
    const REST: u64 = 16 * 1024 * 1024;
    usize::try_from(prompt_bytes.saturating_mul(FOR_EACH_BYTE).saturating_add(REST)).unwrap_or(usize::MAX)
}

fn serve(link: Link, params: &LoadParams, model_file: &OwnedFd) -> Result<(), ChildError> {
    match load(&link, params, model_file) {
        Ok((model, context, prompter, head, report)) => {
            if !model.generates() {
                link.send(FromChild::Loaded(Box::new(report)));
                return Ok(Encoder::new(model, context, head, link, params).run()?);
            }
            let pace = Pace::new(params.max_stall);
            let crew = Crew::new(params, &link.shared);
            let prefixes = (&params.prefixes, states_key(&model, params, &report), params.reproducible);
            link.send(FromChild::Loaded(Box::new(report)));
            let scheduler = Scheduler::new(model, context, prompter, link, (pace, crew), prefixes);
            Ok(scheduler.run()?)
        }
        Err(e) => answer(link, Err(e)),
    }
}

/// What the state of a sequence depends on besides its tokens: who computes it, from which weights, and in which form. The template
/// is in the model's file; it is named because a later version may take it from elsewhere.
fn states_key(model: &Model, params: &LoadParams, report: &ModelReport) -> Key {
    let template = Sha256::digest(model.chat_template().unwrap_or_default());
    let LoadParams { layers, shape, threads, tuning, reproducible, prefixes, .. } = params;
    let ModelReport { context, devices, cpu_features, .. } = report;
    let how =
        format!("{layers:?} {shape:?} {threads:?} {tuning:?} {reproducible} {context} {devices:?} {cpu_features}");
    let parts = format!("{BUILD} {PROTOCOL} {LLAMA} {} {template:?} {how}", prefixes.model);
    Sha256::digest(parts).into()
}

type Loaded = (Rc<Model>, Context, Prompter, Option<Head>, ModelReport);

fn load(link: &Link, params: &LoadParams, model_file: &OwnedFd) -> Result<Loaded, LoadError> {
    let start = Instant::now();
    if params.reproducible && params.shape.kv_type != KvType::F16 {
        return Err(LoadError::ReproducibleKv);
    }
    link.shared.enter(Phase::Loading);
    let backend = Backend::load(&params.backends, params.layers != GpuLayers::None)?;
    let free_before = device_free(&backend);
    let mut reported = 0.0;
    let model = Model::load(&backend, &model_path(), params.kind, params.layers, params.tuning, |share| {
        link.shared.progress();
        if share >= reported + 0.01 {
            reported = share;
            link.offer(FromChild::LoadProgress(share));
        }
        true
    })?;
    if model.has_encoder() {
        return Err(LoadError::EncoderDecoder);
    }
    let model = Rc::new(model);
    let context_params =
        context_params(&model, params.shape, params.threads.most(), params.reproducible, params.tuning);
    let mut context = Context::new(&model, context_params, &link.shared)?;
    let prompter = Prompter::new(&model);
    let pools = model.generates() || context.gives() != llama::Pooled::Nothing;
    let head = if pools { None } else { Head::read(&model, model_file)? };
    link.shared.enter(Phase::Warming);
    golden::check(&model, &mut context, &prompter, &params.golden, &link.shared)?;
    if shares(&context).is_some_and(|shares| shares.iter().any(llama::Share::is_repacked)) {
        memory::forget_mapping(model_file.as_fd());
    }
    if params.warm_up {
        warm::warm_up(&model, &mut context, &link.shared);
    }
    let device = Bytes(free_before.saturating_sub(device_free(&backend)));
    let report = ModelReport {
        description: model.description(),
        context: u32::try_from(context.tokens_per_sequence()).unwrap_or(u32::MAX),
        sequences: params.jobs(),
        threads: params.threads.most(),
        chat_template: prompter.has_template(),
        devices: backend.devices(),
        cpu_features: backend.cpu_features(),
        memory: RealMemory { device, ..own_memory() },
        load_time: start.elapsed(),
    };
    Ok((model, context, prompter, head, report))
}

/// llama.cpp opens the inherited descriptor by this name.
fn model_path() -> CString {
    CString::new(format!("/proc/self/fd/{MODEL_FD}")).unwrap_or_default()
}

/// The same for a load and for its dry run. An encoder sees all tokens of a sequence in one step.
fn context_params(model: &Model, shape: LoadShape, threads: u32, reproducible: bool, tuning: Tuning) -> ContextParams {
    let batch = if model.generates() { tuning.batch } else { shape.context.min(model.trained_context()).max(1) };
    ContextParams { shape, batch, threads, flash_attention: tuning.flash_attention && !reproducible }
}

fn device_free(backend: &Backend) -> u64 {
    backend.gpus().iter().map(|gpu| gpu.free.0).sum()
}
