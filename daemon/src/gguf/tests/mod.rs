//! Tests of the whole reader, on files made by hand.

mod facts;
mod malformed;
mod robust;
mod seeds;
mod semantics;
mod valid;
mod writer;

use super::{Gguf, GgufError};

fn read(bytes: &[u8]) -> Result<Gguf, GgufError> {
    Gguf::read(&bytes, bytes.len() as u64)
}

/// The message with which a file is refused.
fn refusal(bytes: &[u8]) -> String {
    match read(bytes) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}
