//! The only folder that calls llama.cpp.
//!
//! The safe crate keeps its handles to itself and hides what the batch loop needs (`n_outputs_max`, the abort callback),
//! so model, context, batch and samplers go through the sys crate here. Each wrapper checks what llama.cpp would answer
//! with `GGML_ABORT`.

#![allow(unsafe_code)]

mod context;
mod model;
mod sampler;

use std::ffi::CStr;
use std::path::Path;

use llama_cpp_2::llama_backend::{LlamaBackend, load_backends_from_path};
use llama_cpp_2::{LogOptions, list_llama_ggml_backend_devices, send_logs_to_tracing};
use llama_cpp_sys_2 as sys;
use thiserror::Error;

pub use context::{Batch, Context, ContextParams, DecodeFailed, Decoded};
pub use model::{ControlToken, Model};
pub use sampler::{Chain, ChainParams};

/// A token of the vocabulary.
pub type Token = sys::llama_token;

/// What llama.cpp refused.
#[derive(Debug, Error)]
pub enum LlamaError {
    /// No back end fits this machine.
    #[error("no compute back end could be loaded from {0}")]
    NoBackend(String),
    /// The back ends could not be initialised.
    #[error("llama.cpp: {0}")]
    Backend(#[from] llama_cpp_2::LlamaCppError),
    /// The model file was refused.
    #[error("llama.cpp cannot load the model; its log tells why")]
    Model,
    /// No memory for the context, or parameters that the model does not allow.
    #[error("llama.cpp cannot make a context of {context} tokens for each of {sequences} sequences")]
    Context {
        /// Tokens for each sequence.
        context: u32,
        /// Sequences.
        sequences: u32,
    },
    /// Text could not be tokenized.
    #[error("llama.cpp cannot tokenize a text of {0} bytes")]
    Tokenize(usize),
}

/// The loaded back ends; lives as long as the process.
pub struct Backend(LlamaBackend);

impl Backend {
    /// Loads the best back end of a folder and sends llama.cpp's log to tracing.
    pub fn load(folder: &Path) -> Result<Self, LlamaError> {
        // First: loading writes to the log.
        send_logs_to_tracing(LogOptions::default());
        load_backends_from_path(folder);
        let backend = Self(LlamaBackend::init()?);
        if backend.devices().is_empty() {
            return Err(LlamaError::NoBackend(folder.display().to_string()));
        }
        Ok(backend)
    }

    /// The devices that compute.
    pub fn devices(&self) -> Vec<String> {
        let Self(_initialised) = self;
        list_llama_ggml_backend_devices().into_iter().map(|device| device.name).collect()
    }

    /// The CPU features that the loaded back end uses.
    pub fn cpu_features(&self) -> String {
        let Self(_initialised) = self;
        // SAFETY: returns a static buffer that only this thread writes.
        let text = unsafe { CStr::from_ptr(sys::llama_print_system_info()) };
        text.to_string_lossy().trim().to_owned()
    }
}
