//! The only folder that calls llama.cpp.
//!
//! The safe crate keeps its handles to itself and hides what the batch loop needs (`n_outputs_max`, the abort callback),
//! so model, context, batch and samplers go through the sys crate here. Each wrapper checks what llama.cpp would answer
//! with `GGML_ABORT`.

#![allow(unsafe_code)]

mod breakdown;
mod context;
mod model;
mod numbers;
mod quantize;
mod sampler;

use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use llama_cpp_2::llama_backend::{LlamaBackend, load_backends_from_path};
use llama_cpp_2::{LlamaBackendDeviceType, LogOptions, list_llama_ggml_backend_devices, send_logs_to_tracing};
use llama_cpp_sys_2 as sys;
use thiserror::Error;

use crate::engine::protocol::GpuDevice;
use crate::plan::Bytes;

pub use breakdown::{Share, shares};
pub use context::{Batch, Context, ContextParams, DecodeFailed, Decoded, Pooled};
pub use model::{ControlToken, Model};
pub use numbers::numbers;
pub use quantize::{QuantizeFailed, quantize};
pub use sampler::{Chain, ChainParams};

/// A token of the vocabulary.
pub type Token = sys::llama_token;

/// What llama.cpp refused.
#[derive(Debug, Error)]
pub enum LlamaError {
    /// No back end fits this machine.
    #[error("no compute back end could be loaded from {0}")]
    NoBackend(String),
    /// A GPU was to compute and there is none.
    #[error("no GPU was found with the back ends in {0}")]
    NoGpu(String),
    /// The back ends could not be initialised.
    #[error("llama.cpp: {0}")]
    Backend(#[from] llama_cpp_2::LlamaCppError),
    /// The model file was refused.
    #[error("llama.cpp cannot load the model: {0}")]
    Model(&'static str),
    /// No memory for the context, or parameters that the model does not allow.
    #[error("llama.cpp cannot make a context of {context} tokens for each of {sequences} sequences")]
    Context {
        /// Tokens for each sequence.
        context: u32,
        /// Sequences.
        sequences: u32,
    },
    /// llama.cpp could not tell the sizes of its buffers.
    #[error("llama.cpp cannot tell the sizes of its buffers")]
    Breakdown,
    /// Text could not be tokenized.
    #[error("llama.cpp cannot tokenize a text of {0} bytes")]
    Tokenize(usize),
}

/// The loaded back ends; lives as long as the process.
pub struct Backend(LlamaBackend);

impl Backend {
    /// Loads the best back end of each folder and sends llama.cpp's log to tracing.
    pub fn load(folders: &[String], needs_gpu: bool) -> Result<Self, LlamaError> {
        // First: loading writes to the log.
        send_logs_to_tracing(LogOptions::default());
        for folder in folders {
            load_backends_from_path(Path::new(folder));
        }
        let backend = Self(LlamaBackend::init()?);
        if backend.devices().is_empty() {
            return Err(LlamaError::NoBackend(folders.join(", ")));
        }
        // Without one llama.cpp would silently compute on the CPU.
        if needs_gpu && backend.gpus().is_empty() {
            return Err(LlamaError::NoGpu(folders.join(", ")));
        }
        Ok(backend)
    }

    /// The GPUs among the devices and their memory.
    pub fn gpus(&self) -> Vec<GpuDevice> {
        let Self(_initialised) = self;
        let kinds = [LlamaBackendDeviceType::Gpu, LlamaBackendDeviceType::IntegratedGpu];
        let gpus = list_llama_ggml_backend_devices().into_iter().filter(|device| kinds.contains(&device.device_type));
        gpus.map(|device| GpuDevice {
            integrated: device.device_type == LlamaBackendDeviceType::IntegratedGpu,
            name: device.name,
            description: device.description,
            total: Bytes(device.memory_total as u64),
            free: Bytes(device.memory_free as u64),
        })
        .collect()
    }

    /// The devices that compute.
    pub fn devices(&self) -> Vec<String> {
        let Self(_initialised) = self;
        list_llama_ggml_backend_devices().into_iter().map(|device| device.name).collect()
    }

    /// The name of the file that ggml has chosen for the CPU among those of the folder.
    pub fn cpu_library(&self) -> Option<String> {
        let Self(_initialised) = self;
        // SAFETY: both names are C strings, and ggml answers an unknown one with a null pointer.
        let function = unsafe {
            let backend = sys::ggml_backend_reg_by_name(c"CPU".as_ptr());
            if backend.is_null() {
                return None;
            }
            sys::ggml_backend_reg_get_proc_address(backend, c"ggml_backend_set_n_threads".as_ptr())
        };
        let mut found = MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: dladdr takes any address and writes to `found` only; all zeros is a valid `Dl_info`. The name that it
        // gives lives as long as the library, which is never unloaded.
        let file = unsafe {
            if function.is_null() || libc::dladdr(function, found.as_mut_ptr()) == 0 {
                return None;
            }
            let name = found.assume_init().dli_fname;
            if name.is_null() {
                return None;
            }
            CStr::from_ptr(name)
        };
        Path::new(OsStr::from_bytes(file.to_bytes())).file_name().map(|name| name.to_string_lossy().into_owned())
    }

    /// The CPU features that the loaded back end uses.
    pub fn cpu_features(&self) -> String {
        let Self(_initialised) = self;
        // SAFETY: returns a static buffer that only this thread writes.
        let text = unsafe { CStr::from_ptr(sys::llama_print_system_info()) };
        text.to_string_lossy().trim().to_owned()
    }
}
