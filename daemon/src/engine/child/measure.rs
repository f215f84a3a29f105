//! A dry run: what loading the model would take, found out without reading its weights.

use std::rc::Rc;

use super::link::Link;
use super::llama::{Backend, Context, LlamaError, Model, Share, shares};
use super::memory::own_memory;
use super::{LoadError, context_params, model_path};
use crate::engine::protocol::{BufferSizes, Buffers, CpuBackend, MeasureParams, MeasurePoint, MeasureReport, Phase};
use crate::plan::{Bytes, GpuLayers};

/// Measures every point.
pub fn measure(link: &Link, params: &MeasureParams) -> Result<MeasureReport, LoadError> {
    link.shared.enter(Phase::Loading);
    let needs_gpu = params.points.iter().any(|point| point.layers != GpuLayers::None);
    let backend = Backend::load(&params.backends, needs_gpu)?;
    let cpu = CpuBackend { library: backend.cpu_library(), features: backend.cpu_features() };
    let devices = backend.gpus();
    let mut model: Option<(GpuLayers, Rc<Model>)> = None;
    let mut process = Bytes(0);
    let mut buffers = Vec::new();
    for point in &params.points {
        let loaded = match model.take() {
            Some((layers, loaded)) if layers == point.layers => loaded,
            // The one before is gone by now: two vocabularies would count twice.
            _ => Rc::new(Model::dry(&backend, &model_path(), params.kind, point.layers, params.tuning)?),
        };
        if process == Bytes(0) {
            process = own_memory().host();
        }
        buffers.push(sizes(link, &loaded, point, params).map_err(|e| e.to_string()));
        model = Some((point.layers, loaded));
        link.shared.progress();
    }
    Ok(MeasureReport { process, cpu, devices, buffers })
}

fn sizes(link: &Link, model: &Rc<Model>, point: &MeasurePoint, params: &MeasureParams) -> Result<Buffers, LlamaError> {
    let params = context_params(model, point.shape, 1, params.reproducible, params.tuning);
    let context = Context::new(model, params, &link.shared)?;
    let shares = shares(&context).ok_or(LlamaError::Breakdown)?;
    let mut buffers = Buffers::default();
    for share in &shares {
        add(&mut buffers, share);
    }
    buffers.host.output = Bytes(context.output_bytes() as u64);
    Ok(buffers)
}

fn add(buffers: &mut Buffers, share: &Share) {
    let sizes: &mut BufferSizes = if share.is_host() { &mut buffers.host } else { &mut buffers.device };
    let weights = if share.is_repacked() { &mut sizes.repacked } else { &mut sizes.weights };
    weights.0 += share.model;
    sizes.kv.0 += share.context;
    sizes.compute.0 += share.compute;
}
