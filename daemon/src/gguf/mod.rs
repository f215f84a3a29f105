//! Reads the header of a GGUF file and nothing else: metadata, tensor table, sizes.
//!
//! llama.cpp aborts the process on many malformed files, so nothing reaches it that has not passed through here. Every
//! length is checked against the bytes that are really there before memory is taken for it; of large arrays only the
//! length and element type are kept. The checks follow the bundled llama.cpp (`gguf.cpp`, `llama-model.cpp`,
//! `llama-vocab.cpp`): what it would refuse with an error is refused here with a better one, what it would abort on is
//! refused as well, and what it accepts is accepted.
//!
//! Architecture invariant: this room opens no file and knows nothing of llama.cpp's API. It gets a [`ReadAt`] that the
//! caller has opened, and reads it without moving the file offset: the same descriptor can be loaded afterwards.

mod error;
mod exact;
mod experts;
mod facts;
mod file_type;
mod header;
mod hyper;
mod model;
mod names;
mod source;
mod tensor;
mod tokens;
mod value;
mod vocabulary;

#[cfg(test)]
mod tests;

pub use error::GgufError;
pub use facts::{Cache, HEAD_BIAS, HEAD_WEIGHT, ModelFacts, Pooling, TypeBytes};
pub use header::Gguf;
pub use source::ReadAt;
pub use tensor::{Tensor, TensorType};
pub use value::{Array, Value, ValueType};
