//! The tensor table and the types of weights.

use std::fmt;

use super::GgufError;
use super::names::{Names, Text};
use super::source::Cursor;
use crate::job::Precision;

/// Most tensors in one file; the largest models known have about 2,000.
const TENSORS_MAX: u64 = 32_768;

/// llama.cpp's `GGML_MAX_NAME`, which counts a zero byte at the end.
const NAME_MAX: u64 = 63;

/// llama.cpp's `GGML_MAX_DIMS`.
const DIMS_MAX: u32 = 4;

/// Where llama.cpp's CPU back end accepts weights that are mapped from a file; elsewhere it aborts.
const PLACE_MULTIPLE: u64 = 32;

/// How the numbers of a tensor are stored: in blocks of some elements that take some bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TensorType {
    code: u32,
    name: &'static str,
    block: u64,
    bytes: u64,
    precision: Precision,
    compute: Compute,
}

/// What llama.cpp's CPU back end does with a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compute {
    /// Everything.
    Full,
    /// Nothing but vectors: as a matrix it has no dot product, and calling that ends the process.
    Vectors,
    /// An intermediate format that no file has.
    Never,
}

macro_rules! tensor_types {
    ($($code:literal $name:literal $block:literal $bytes:literal $precision:ident $compute:ident;)*) => {
        /// The types of the bundled ggml, by number. Numbers that are not here were removed from it.
        const TYPES: &[TensorType] = &[$(TensorType {
            code: $code,
            name: $name,
            block: $block,
            bytes: $bytes,
            precision: Precision::$precision,
            compute: Compute::$compute,
        },)*];
    };
}

tensor_types! {
    0 "F32" 1 4 F16 Full;
    1 "F16" 1 2 F16 Full;
    2 "Q4_0" 32 18 Int4 Full;
    3 "Q4_1" 32 20 Int4 Full;
    6 "Q5_0" 32 22 Int4 Full;
    7 "Q5_1" 32 24 Int4 Full;
    8 "Q8_0" 32 34 Int8 Full;
    9 "Q8_1" 32 36 Int8 Never;
    10 "Q2_K" 256 84 Int4 Full;
    11 "Q3_K" 256 110 Int4 Full;
    12 "Q4_K" 256 144 Int4 Full;
    13 "Q5_K" 256 176 Int4 Full;
    14 "Q6_K" 256 210 Int4 Full;
    15 "Q8_K" 256 292 Int8 Never;
    16 "IQ2_XXS" 256 66 Int4 Full;
    17 "IQ2_XS" 256 74 Int4 Full;
    18 "IQ3_XXS" 256 98 Int4 Full;
    19 "IQ1_S" 256 50 Int4 Full;
    20 "IQ4_NL" 32 18 Int4 Full;
    21 "IQ3_S" 256 110 Int4 Full;
    22 "IQ2_S" 256 82 Int4 Full;
    23 "IQ4_XS" 256 136 Int4 Full;
    24 "I8" 1 1 Int8 Vectors;
    25 "I16" 1 2 F16 Vectors;
    26 "I32" 1 4 F16 Full;
    27 "I64" 1 8 F16 Vectors;
    28 "F64" 1 8 F16 Vectors;
    29 "IQ1_M" 256 56 Int4 Full;
    30 "BF16" 1 2 F16 Full;
    34 "TQ1_0" 256 54 Int4 Full;
    35 "TQ2_0" 256 66 Int4 Full;
    39 "MXFP4" 32 17 Int4 Full;
    40 "NVFP4" 64 36 Int4 Full;
    41 "Q1_0" 128 18 Int4 Full;
    42 "Q2_0" 64 18 Int4 Full;
}

impl TensorType {
    /// The type with this number in the file.
    pub(super) fn from_code(code: u32) -> Option<Self> {
        TYPES.iter().find(|row| row.code == code).copied()
    }

    /// The type of this name.
    #[cfg(test)]
    pub(crate) fn named(name: &str) -> Option<Self> {
        TYPES.iter().find(|row| row.name == name).copied()
    }

    /// Its number in the file, which is ggml's.
    pub fn code(self) -> u32 {
        self.code
    }

    /// Such as `Q4_1`.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The rung that weights of this type count for.
    pub fn precision(self) -> Precision {
        self.precision
    }

    /// Elements in one block; the first dimension of a tensor is a multiple of it.
    pub fn block_elements(self) -> u64 {
        self.block
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> u64 {
        self.bytes
    }
}

impl fmt::Debug for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// One tensor of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name, such as `blk.0.attn_q.weight`.
    pub name: Box<str>,
    /// How its numbers are stored.
    pub kind: TensorType,
    /// Its dimensions, fastest first; those that the file leaves out are 1.
    pub shape: [u64; 4],
    /// Where its data begins, from the start of the file.
    pub offset: u64,
    /// Size of its data.
    pub bytes: u64,
}

impl Tensor {
    /// Number of its elements.
    pub fn elements(&self) -> u64 {
        // The product was checked when the table was read.
        self.shape.iter().product()
    }

    fn error(&self, problem: String) -> GgufError {
        GgufError::Tensor { name: self.name.to_string(), problem }
    }
}

/// Reads the table. Offsets are still relative to the data section.
pub(super) fn read_table(cursor: &mut Cursor<'_>, count: u64, names: &mut Names) -> Result<Vec<Tensor>, GgufError> {
    if count > TENSORS_MAX {
        return Err(GgufError::TooMany { what: "tensors", found: count, limit: TENSORS_MAX });
    }
    // The smallest entry: a name of one byte, one dimension.
    cursor.claim(count, 8 + 1 + 4 + 8 + 4 + 8)?;
    let mut table = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
    for index in 0..count {
        let name = names.read(cursor, &Text { what: "tensor name", index, longest: NAME_MAX })?;
        table.push(read_entry(cursor, name.into_boxed_str())?);
    }
    refuse_twins(&table)?;
    Ok(table)
}

fn read_entry(cursor: &mut Cursor<'_>, name: Box<str>) -> Result<Tensor, GgufError> {
    let problem = |problem: String| GgufError::Tensor { name: name.to_string(), problem };
    let dims = cursor.u32()?;
    if dims == 0 || dims > DIMS_MAX {
        return Err(problem(format!("has {dims} dimensions; allowed are 1 to {DIMS_MAX}")));
    }
    let mut shape = [1; 4];
    for dimension in shape.iter_mut().take(dims as usize) {
        *dimension = cursor.u64()?;
    }
    let code = cursor.u32()?;
    let kind = TensorType::from_code(code)
        .ok_or_else(|| problem(format!("has type {code}, which this llama.cpp does not have")))?;
    let bytes = size_of(kind, shape, dims).map_err(problem)?;
    // These are added to or multiplied with activations, which works for one type only on the CPU.
    if dims == 1 && kind.name != "F32" && (name.ends_with("norm.weight") || name.ends_with(".bias")) {
        return Err(problem(format!("has type {}; a norm or bias must be F32", kind.name)));
    }
    let offset = cursor.u64()?;
    Ok(Tensor { name, kind, shape, offset, bytes })
}

/// Checks a shape as `gguf.cpp` does and returns the size of the data.
fn size_of(kind: TensorType, shape: [u64; 4], dims: u32) -> Result<u64, String> {
    let limit = i64::MAX.unsigned_abs();
    if shape.contains(&0) {
        return Err(format!("has shape {shape:?}; every dimension must be at least 1"));
    }
    let elements = shape.iter().try_fold(1_u64, |product, dimension| product.checked_mul(*dimension));
    let elements = elements
        .filter(|elements| *elements <= limit)
        .ok_or_else(|| format!("has shape {shape:?}, more than {limit} elements"))?;
    if !shape[0].is_multiple_of(kind.block) {
        return Err(format!("has {} elements a row; {} needs a multiple of {}", shape[0], kind.name, kind.block));
    }
    match kind.compute {
        Compute::Never => return Err(format!("has type {}, which no file may have", kind.name)),
        Compute::Vectors if dims > 1 => return Err(format!("is a matrix of type {}, which has no product", kind.name)),
        Compute::Vectors | Compute::Full => {}
    }
    (elements / kind.block)
        .checked_mul(kind.bytes)
        .filter(|bytes| *bytes <= limit)
        .ok_or_else(|| format!("has shape {shape:?}, more than {limit} bytes"))
}

fn refuse_twins(table: &[Tensor]) -> Result<(), GgufError> {
    let mut names: Vec<&str> = table.iter().map(|tensor| &*tensor.name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(GgufError::Duplicate { what: "tensor name", name: pair[0].to_owned() }),
        None => Ok(()),
    }
}

/// Checks that the data lies as `gguf.cpp` demands, one tensor after the other, inside the file, and makes the offsets
/// absolute.
pub(super) fn place(table: &mut [Tensor], data: u64, alignment: u64, file_size: u64) -> Result<(), GgufError> {
    let mut expected = 0_u64;
    for tensor in table {
        if tensor.offset != expected {
            let found = tensor.offset;
            return Err(tensor.error(format!("has data offset {found}; expected is {expected}")));
        }
        let start = data.saturating_add(tensor.offset);
        let needed = start.saturating_add(tensor.bytes);
        if needed > file_size || needed == u64::MAX {
            let what = format!("the data of tensor '{}'", tensor.name);
            return Err(GgufError::Truncated { what, needed, present: file_size });
        }
        if !start.is_multiple_of(PLACE_MULTIPLE) {
            return Err(tensor.error(format!("begins at byte {start}, which is no multiple of {PLACE_MULTIPLE}")));
        }
        tensor.offset = start;
        let padded = tensor.bytes.checked_next_multiple_of(alignment);
        expected = padded.and_then(|padded| expected.checked_add(padded)).unwrap_or(u64::MAX);
    }
    Ok(())
}
