//! What a model becomes: the kind of file, its size, and the memory that making it takes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::gguf::{Gguf, Tensor};
use crate::job::Precision;
use crate::plan::Bytes;

/// Most bytes of tensor rows that llama.cpp holds at once while it quantizes. Its own limit is 8 GiB, more than the boards
/// have that need a smaller model. 64 MiB are some ten million weights, enough to keep all cores busy: with SmolLM2-135M on
/// two cores 256 MiB were no faster.
pub(in crate::engine) const ROWS_MAX: u64 = 64 * 1024 * 1024;

/// Memory of the process besides rows and headers: relocated libraries, stacks, the allocator. Measured: about 12 MiB.
const PROCESS: u64 = 24 * 1024 * 1024;

/// The header is held as read, as it will be written, and as the bytes that are written.
const HEADER_COPIES: u64 = 4;

/// Elements in a block of the K-quants.
const K_BLOCK: u64 = 256;

/// A kind of file that the quantizer makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileType {
    /// 16 bits.
    F16,
    /// 8 bits and a scale for each 32 weights.
    Q8_0,
    /// 4 bits and a scale for each 32 weights.
    Q4_0,
    /// 4 bits, with two levels of scales for each 256 weights, and 6 bits where it matters most.
    #[serde(rename = "Q4_K_M")]
    Q4KM,
}

impl FileType {
    /// Its usual name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F16 => "F16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4KM => "Q4_K_M",
        }
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a model is made from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// What it becomes.
    pub file_type: FileType,
    /// Size of the file: an estimate that errs on the large side by some percent.
    pub size: Bytes,
    /// Memory of its own that the process needs at most. The source is mapped besides, which the kernel can take back.
    pub memory: Bytes,
}

impl Recipe {
    /// Decides from the header.
    pub fn of(source: &Gguf, to: Precision) -> Self {
        let header = source.tensors().iter().map(|tensor| tensor.offset).min().unwrap_or_default();
        let parts: Vec<Part<'_>> = source.tensors().iter().map(Part::of).collect();
        Self::decide(header, &parts, to)
    }

    fn decide(header: u64, parts: &[Part<'_>], to: Precision) -> Self {
        let file_type = match to {
            Precision::F16 => FileType::F16,
            Precision::Int8 => FileType::Q8_0,
            Precision::Int4 if suits_k_quants(parts) => FileType::Q4KM,
            Precision::Int4 => FileType::Q4_0,
        };
        // Without an output matrix the embedding is that, too.
        let tied = !parts.iter().any(|part| part.name == "output.weight");
        let target = |part: &Part<'_>| part.target_bytes(file_type, tied);
        let data = parts.iter().map(target).fold(0, u64::saturating_add);
        // llama.cpp keeps some small tensors as they are and chooses for some kinds of models differently.
        let size = (data / 20).saturating_add(data).saturating_add(header).saturating_add(1024 * 1024);
        let rows = rows_at_most(parts.iter().map(|part| part.rows_bytes(target(part))));
        let memory = PROCESS.saturating_add(header.saturating_mul(HEADER_COPIES)).saturating_add(rows);
        Self { file_type, size: Bytes(size), memory: Bytes(memory) }
    }
}

/// Memory for rows over the whole run. The buffers are kept from tensor to tensor; while they grow, what was in them is there
/// twice.
fn rows_at_most(sizes: impl Iterator<Item = u64>) -> u64 {
    let (largest, second) = sizes.fold((0, 0), |(largest, second), size| match size {
        _ if size > largest => (size, largest),
        _ if size < largest => (largest, size.max(second)),
        _ => (largest, second),
    });
    largest.max(2_u64.saturating_mul(second))
}

/// Whether nearly all rows are whole blocks of K-quants. Of other models llama.cpp makes `Q5_0`, which is larger and has no
/// fast kernels, where `Q4_0` has the fastest of all.
fn suits_k_quants(parts: &[Part<'_>]) -> bool {
    let matrices = || parts.iter().filter(|part| part.is_converted());
    let sum = |elements: u64, part: &Part<'_>| elements.saturating_add(part.row.saturating_mul(part.rows));
    let all = matrices().fold(0, sum);
    let whole = matrices().filter(|part| part.row.is_multiple_of(K_BLOCK)).fold(0, sum);
    whole >= all / 10 * 9
}

/// What counts of a tensor.
struct Part<'a> {
    name: &'a str,
    /// Elements of a row.
    row: u64,
    rows: u64,
    /// Its size in the source.
    bytes: u64,
}

impl<'a> Part<'a> {
    fn of(tensor: &'a Tensor) -> Self {
        let [row, rest @ ..] = tensor.shape;
        // The product was checked when the table was read.
        Self { name: &tensor.name, row, rows: rest.iter().product(), bytes: tensor.bytes }
    }

    /// The rule of `llama-quant.cpp` for tensors of all models: matrices of weights, but no norms.
    fn is_converted(&self) -> bool {
        self.rows > 1 && self.name.ends_with("weight") && !self.name.contains("_norm.weight")
    }

    /// Its size in the new file.
    fn target_bytes(&self, file_type: FileType, tied: bool) -> u64 {
        if !self.is_converted() {
            return self.bytes;
        }
        let (elements, bytes) = self.target_block(file_type, tied);
        (self.row / elements).saturating_mul(self.rows).saturating_mul(bytes)
    }

    /// Elements and bytes of a block of the type that llama.cpp chooses.
    fn target_block(&self, file_type: FileType, tied: bool) -> (u64, u64) {
        const F16: (u64, u64) = (1, 2);
        const Q8_0: (u64, u64) = (32, 34);
        const Q5_0: (u64, u64) = (32, 22);
        const Q4_0: (u64, u64) = (32, 18);
        const Q6_K: (u64, u64) = (K_BLOCK, 210);
        const Q5_K: (u64, u64) = (K_BLOCK, 176);
        const Q4_K: (u64, u64) = (K_BLOCK, 144);
        // One half of these layers is Q6_K, the other Q4_K.
        const MIXED: (u64, u64) = (K_BLOCK, 177);

        let fits = |block: u64| self.row.is_multiple_of(block);
        let or = |k_quant: (u64, u64), other: (u64, u64)| if fits(K_BLOCK) { k_quant } else { other };
        let is_output = self.name == "output.weight" || (tied && self.name == "token_embd.weight");
        match file_type {
            FileType::F16 => F16,
            _ if !fits(32) => F16,
            FileType::Q8_0 => Q8_0,
            FileType::Q4_0 | FileType::Q4KM if is_output => or(Q6_K, Q8_0),
            FileType::Q4_0 => Q4_0,
            FileType::Q4KM if self.name.contains("attn_qkv") => or(Q5_K, Q5_0),
            FileType::Q4KM if self.name.contains("ffn_down") || self.name.contains("attn_v") => or(MIXED, Q5_0),
            FileType::Q4KM => or(Q4_K, Q5_0),
        }
    }

    /// Memory for the rows that are under way: as 32-bit numbers, and as they will be.
    fn rows_bytes(&self, target: u64) -> u64 {
        let all = self.row.saturating_mul(self.rows).saturating_mul(4).saturating_add(target);
        // One row is the least that can be held, however wide.
        all.min(ROWS_MAX.max(all / self.rows.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn part(name: &str, row: u64, rows: u64) -> Part<'_> {
        Part { name, row, rows, bytes: row * rows * 2 }
    }

    #[test]
    fn four_bits_are_k_quants_where_the_rows_allow_it() {
        let wide = [part("token_embd.weight", 2048, 32_000), part("blk.0.ffn_down.weight", 5632, 2048)];
        assert_eq!(Recipe::decide(0, &wide, Precision::Int4).file_type, FileType::Q4KM);
        // SmolLM2-135M: only the rows of ffn_down are whole blocks.
        let narrow = [part("blk.0.attn_q.weight", 576, 576), part("blk.0.ffn_down.weight", 1536, 576)];
        assert_eq!(Recipe::decide(0, &narrow, Precision::Int4).file_type, FileType::Q4_0);
        assert_eq!(Recipe::decide(0, &wide, Precision::Int8).file_type, FileType::Q8_0);
        assert_eq!(Recipe::decide(0, &wide, Precision::F16).file_type, FileType::F16);
    }

    #[test]
    fn vectors_norms_and_odd_rows_keep_sixteen_bits_or_more() {
        let kept =
            [part("blk.0.attn_norm.weight", 1024, 2), part("output_norm.weight", 1024, 1), part("x.bias", 64, 64)];
        for part in kept {
            assert_eq!(part.target_bytes(FileType::Q4_0, true), part.bytes, "{}", part.name);
        }
        assert_eq!(part("blk.0.odd.weight", 100, 10).target_bytes(FileType::Q8_0, true), 2000);
    }

    #[test]
    fn the_output_matrix_is_more_exact() {
        let embedding = part("token_embd.weight", 256, 10);
        assert_eq!(embedding.target_bytes(FileType::Q4KM, true), 2100, "it is the output, too");
        assert_eq!(embedding.target_bytes(FileType::Q4KM, false), 1440);
        assert_eq!(part("token_embd.weight", 288, 10).target_bytes(FileType::Q4_0, true), 3060, "Q8_0");
    }

    #[test]
    fn a_buffer_that_grows_is_there_twice() {
        assert_eq!(rows_at_most([10, 60, 60].into_iter()), 60);
        assert_eq!(rows_at_most([40, 60, 50].into_iter()), 100);
        assert_eq!(rows_at_most([].into_iter()), 0);
    }

    #[test]
    fn memory_is_bounded_however_large_the_model() {
        let memory = |rows: u64| Recipe::decide(0, &[part("output.weight", 8192, rows)], Precision::Int8).memory.0;
        assert!(memory(10) < PROCESS + MIB);
        assert_eq!(memory(128_000), PROCESS + ROWS_MAX);
        assert_eq!(memory(1 << 40), PROCESS + ROWS_MAX);
    }
}
