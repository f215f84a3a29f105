//! Which memory holds how much of a model and its context.

use std::ffi::{CStr, c_char, c_void};

use llama_cpp_sys_2 as sys;

use super::Context;

/// What one kind of memory holds, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// llama.cpp's name for it, such as `CPU`, `CPU_REPACK` or `Vulkan0`.
    pub name: String,
    /// Whether the CPU can read it as it is.
    pub host: bool,
    /// Weights.
    pub model: u64,
    /// Keys and values, and recurrent states.
    pub context: u64,
    /// Intermediate results.
    pub compute: u64,
}

impl Share {
    /// Whether it holds weights in an order that only the CPU back end knows: copies of what the file has.
    pub fn is_repacked(&self) -> bool {
        self.name.starts_with("CPU") && !self.host && self.model > 0
    }

    /// Whether it lies in the host's memory.
    pub fn is_host(&self) -> bool {
        self.host || self.name.starts_with("CPU")
    }
}

type Each = extern "C" fn(*const c_char, bool, u64, u64, u64, *mut c_void);

unsafe extern "C" {
    /// In `breakdown.cpp`; false if it failed.
    fn promptd_memory_breakdown(context: *const sys::llama_context, each: Each, user: *mut c_void) -> bool;
}

/// The shares of a context and its model; exact for a dry run as well.
pub fn shares(context: &Context) -> Option<Vec<Share>> {
    extern "C" fn add(name: *const c_char, host: bool, model: u64, context: u64, compute: u64, user: *mut c_void) {
        // SAFETY: the vector below, which outlives the call; the name is a C string of the back end.
        let (shares, name) = unsafe { (&mut *user.cast::<Vec<Share>>(), CStr::from_ptr(name)) };
        shares.push(Share { name: name.to_string_lossy().into_owned(), host, model, context, compute });
    }
    let mut shares: Vec<Share> = Vec::new();
    // SAFETY: the context is alive; the callback gets the pointer to `shares`, on this thread, during the call only.
    let done = unsafe { promptd_memory_breakdown(context.raw.as_ptr(), add, (&raw mut shares).cast()) };
    done.then_some(shares)
}
