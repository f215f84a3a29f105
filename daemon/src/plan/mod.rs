//! Whether a model fits: what it needs of the machine's memory, in numbers.
//!
//! Architecture invariant: everything here is arithmetic. Sizes come in as plain numbers, from the file's header and
//! from measurements; nothing here reads a file, a sensor or a clock.

mod bytes;
mod memory;
mod strategy;

pub use bytes::Bytes;
pub use memory::{
    Attention, ContextShape, Estimate, KvType, ModelShape, compute_bytes, kv_bytes, output_bytes, process_bytes,
};
pub use strategy::{Placement, Strategy};
