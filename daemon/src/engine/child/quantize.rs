//! Writes the model once more in another type, instead of serving it.

use std::ffi::CString;

use super::link::Link;
use super::{LoadError, llama, model_path, sandbox};
use crate::engine::derive::ROWS_MAX;
use crate::engine::protocol::{OUTPUT_FD, Phase, QuantizeParams};

/// Added to the process' niceness: a model that is made for later gives way to those that serve now.
const NICENESS: i32 = 10;

/// Quantizes from one inherited descriptor to another. The daemon sees the progress: the file grows.
pub fn quantize(link: &Link, params: QuantizeParams) -> Result<(), LoadError> {
    link.shared.enter(Phase::Working);
    // Open until the end: llama.cpp opens it again by its number.
    let _output = sandbox::inherited(OUTPUT_FD);
    // For this thread and those that it will start to compute.
    if let Err(e) = rustix::process::nice(NICENESS) {
        tracing::warn!("cannot lower the priority: {e}");
    }
    let output = CString::new(format!("/proc/self/fd/{OUTPUT_FD}")).unwrap_or_default();
    Ok(llama::quantize(&model_path(), &output, params, ROWS_MAX)?)
}
