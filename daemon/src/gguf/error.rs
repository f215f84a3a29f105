//! What can be wrong with a GGUF file.

use std::io;

use thiserror::Error;

/// Why a file is refused. Every message names the value and the limit; text from the file is escaped and shortened.
#[derive(Debug, Error)]
pub enum GgufError {
    /// The operating system could not read the file.
    #[error("reading at byte {offset} failed: {source}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The file ends too early.
    #[error("the file is truncated: {what} needs bytes up to {needed}, the file has {present}")]
    Truncated {
        /// Which part is cut.
        what: String,
        /// Offset of the first byte after that part.
        needed: u64,
        /// Size of the file in bytes.
        present: u64,
    },
    /// The metadata and the tensor table are larger than any real model's.
    #[error("the header is larger than {limit} bytes")]
    HeaderTooLarge {
        /// Most bytes that are read.
        limit: u64,
    },
    /// Another kind of file.
    #[error("not a GGUF file: it begins with '{found}', expected is 'GGUF'")]
    NotGguf {
        /// The first four bytes.
        found: String,
    },
    /// Made for a big-endian machine.
    #[error("the file is big-endian (version field {version:#010x}); only little-endian files can be loaded")]
    BigEndian {
        /// The version as it reads on this machine.
        version: u32,
    },
    /// An unknown version of the format.
    #[error("GGUF version {version}; supported are 2 and 3")]
    Version {
        /// The file's version.
        version: u32,
    },
    /// A count or size beyond its limit.
    #[error("{what}: {found}; allowed are at most {limit}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// How many the file has.
        found: u64,
        /// Most that are allowed.
        limit: u64,
    },
    /// A key or tensor name that cannot be used.
    #[error("{what} {index} {problem}")]
    Name {
        /// `key` or `tensor name`.
        what: &'static str,
        /// Its position in the file, from 0.
        index: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The same key or tensor name twice.
    #[error("{what} '{name}' is there twice")]
    Duplicate {
        /// `key` or `tensor name`.
        what: &'static str,
        /// Which one.
        name: String,
    },
    /// A value type that the format does not have.
    #[error("key '{key}' has value type {code}; known are 0 to 12")]
    ValueType {
        /// The key.
        key: String,
        /// The type's number in the file.
        code: u32,
    },
    /// An array of arrays, which llama.cpp does not read.
    #[error("key '{key}' is an array of arrays, which is not supported")]
    NestedArray {
        /// The key.
        key: String,
    },
    /// A bool that is neither true nor false.
    #[error("key '{key}' holds {value} where a bool is 0 or 1")]
    Bool {
        /// The key.
        key: String,
        /// The byte.
        value: u8,
    },
    /// A key that every model needs.
    #[error("key '{key}' is missing")]
    Missing {
        /// The key.
        key: String,
    },
    /// A key whose value has another type than llama.cpp reads it with.
    #[error("key '{key}' is {found}, expected is {expected}")]
    WrongType {
        /// The key.
        key: String,
        /// The type in the file.
        found: String,
        /// The type that llama.cpp reads.
        expected: &'static str,
    },
    /// A value that no model can have.
    #[error("key '{key}' is {found}; allowed is {allowed}")]
    OutOfRange {
        /// The key.
        key: String,
        /// The value in the file.
        found: String,
        /// What it may be.
        allowed: String,
    },
    /// A tensor whose shape, type or place is impossible.
    #[error("tensor '{name}' {problem}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No weights at all.
    #[error("the file holds no tensors; is it a vocabulary only?")]
    NoTensors,
    /// One part of a model that was split over several files.
    #[error("split GGUF files are not supported: this is one of {count} parts; merge them with llama-gguf-split")]
    Split {
        /// How many parts there are.
        count: u64,
    },
    /// A vocabulary with which llama.cpp would abort, now or at some text.
    #[error("the vocabulary is unusable: {problem}")]
    Vocabulary {
        /// What is wrong with it.
        problem: String,
    },
}

/// Longest text from a file that goes into a message, in bytes.
const EXCERPT_MAX: usize = 64;

/// Text from a file as it may stand in a message: control characters escaped, cut to a readable length.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    let shown = bytes[..bytes.len().min(EXCERPT_MAX)].escape_ascii().to_string();
    if bytes.len() > EXCERPT_MAX { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_short_and_printable() {
        assert_eq!(excerpt(b"blk.0\n\0"), "blk.0\\n\\x00");
        assert_eq!(excerpt(&[b'x'; 65]), format!("{}…", "x".repeat(64)));
    }
}
