//! What a dry run is told, and what it tells.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::LoadParams;
use super::ModelKind;
use crate::plan::{Bytes, GpuLayers, LoadShape, Tuning};

/// What a dry run shall find out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasureParams {
    /// Folders of the back ends to load, in this order.
    pub backends: Vec<String>,
    /// What the model does, by its file.
    pub kind: ModelKind,
    /// The combinations to measure; those of one placement stand together.
    pub points: Vec<MeasurePoint>,
    /// As in [`LoadParams`]: it costs flash attention.
    pub reproducible: bool,
    /// As in [`LoadParams`].
    pub tuning: Tuning,
}

/// One way to load the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasurePoint {
    /// Where the layers go.
    pub layers: GpuLayers,
    /// Context, sequences and the type of the KV cache.
    pub shape: LoadShape,
}

/// What a dry run has found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasureReport {
    /// Memory of the process with back ends and vocabulary, but without the model.
    pub process: Bytes,
    /// What computes on the CPU.
    pub cpu: CpuBackend,
    /// The devices that compute, without the CPU.
    pub devices: Vec<GpuDevice>,
    /// For each point, in order: the buffers, or why there are none.
    pub buffers: Vec<Result<Buffers, String>>,
}

/// The back end that ggml has chosen for this CPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuBackend {
    /// The name of its file, such as `libggml-cpu-haswell.so`; none if the loader does not tell.
    pub library: Option<String>,
    /// What it uses, as llama.cpp lists it: `CPU : SSE3 = 1 | AVX = 1 | …`.
    pub features: String,
}

/// A GPU as llama.cpp sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuDevice {
    /// Such as `Vulkan0`.
    pub name: String,
    /// Such as `NVIDIA Orin`.
    pub description: String,
    /// Whether its memory is the host's.
    pub integrated: bool,
    /// All of its memory.
    pub total: Bytes,
    /// What is free of it.
    pub free: Bytes,
}

/// Sizes of llama.cpp's buffers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buffers {
    /// In the host's memory.
    pub host: BufferSizes,
    /// In GPU memory.
    pub device: BufferSizes,
}

/// Sizes of the buffers of one memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferSizes {
    /// Weights as they are in the file.
    pub weights: Bytes,
    /// Weights in an order that computes faster; a copy.
    pub repacked: Bytes,
    /// Keys and values, and recurrent states.
    pub kv: Bytes,
    /// Outputs.
    pub output: Bytes,
    /// Intermediate results.
    pub compute: Bytes,
}
