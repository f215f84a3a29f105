//! llama.cpp's quantizer: reads one file, writes another.
//!
//! Its exceptions end in its C interface, which answers with a number; why it failed is in its log only.

use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, PoisonError};

use llama_cpp_sys_2 as sys;
use thiserror::Error;

use crate::engine::derive::FileType;
use crate::engine::protocol::QuantizeParams;

/// What precedes the reason in llama.cpp's log.
const FAILED: &str = "failed to quantize: ";

/// The last error that llama.cpp logged.
static REASON: Mutex<String> = Mutex::new(String::new());

/// llama.cpp gave up; its words.
#[derive(Debug, Error)]
#[error("llama.cpp cannot quantize the model: {0}")]
pub struct QuantizeFailed(String);

/// Quantizes a file into another one. The rows of a tensor that are held at once have at most `rows_max` bytes.
pub fn quantize(input: &CStr, output: &CStr, params: QuantizeParams, rows_max: u64) -> Result<(), QuantizeFailed> {
    // SAFETY: plain data.
    let mut raw = unsafe { sys::llama_model_quantize_default_params() };
    raw.nthread = i32::try_from(params.threads).unwrap_or(i32::MAX);
    raw.ftype = match params.file_type {
        FileType::F16 => sys::LLAMA_FTYPE_MOSTLY_F16,
        FileType::Q8_0 => sys::LLAMA_FTYPE_MOSTLY_Q8_0,
        FileType::Q4_0 => sys::LLAMA_FTYPE_MOSTLY_Q4_0,
        FileType::Q4KM => sys::LLAMA_FTYPE_MOSTLY_Q4_K_M,
    };
    // Whoever asks has decided which way is allowed.
    raw.allow_requantize = true;
    raw.max_buf_size = usize::try_from(rows_max).unwrap_or(usize::MAX);
    // SAFETY: the function has static life and needs no data; nothing else of llama.cpp runs in this process. The paths are
    // C strings; the parameters hold no pointers.
    let code = unsafe {
        sys::llama_log_set(Some(keep_errors), std::ptr::null_mut());
        sys::llama_backend_init();
        sys::llama_model_quantize(input.as_ptr(), output.as_ptr(), &raw const raw)
    };
    if code == 0 {
        return Ok(());
    }
    let reason = REASON.lock().unwrap_or_else(PoisonError::into_inner);
    let reason = reason.split_once(FAILED).map_or(reason.as_str(), |(_, reason)| reason);
    Err(QuantizeFailed(if reason.is_empty() { format!("it answered {code}") } else { reason.to_owned() }))
}

/// llama.cpp logs a line for each tensor, in pieces that `send_logs_to_tracing` complains of, and nobody needs them.
unsafe extern "C" fn keep_errors(level: sys::ggml_log_level, text: *const c_char, _data: *mut c_void) {
    if level != sys::GGML_LOG_LEVEL_ERROR || text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a C string that lives as long as this call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    text.trim().clone_into(&mut REASON.lock().unwrap_or_else(PoisonError::into_inner));
}
