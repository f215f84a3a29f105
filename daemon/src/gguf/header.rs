//! The file from its first byte to the start of the tensor data.

use std::collections::BTreeMap;

use super::error::excerpt;
use super::names::{Names, Text};
use super::source::Cursor;
use super::tensor;
use super::tokens::Tokens;
use super::{Array, GgufError, ReadAt, Tensor, Value, ValueType, model, vocabulary};

/// Most metadata entries; real models have about 40.
const KEYS_MAX: u64 = 16_384;

/// Longest key in bytes.
const KEY_MAX: u64 = 1024;

/// Longest text that is kept, in bytes: the largest chat templates have some 20 KiB.
const TEXT_KEPT: u64 = 256 * 1024;

/// Most elements of an array of numbers that are kept: llama.cpp's limit of layers.
const NUMBERS_KEPT: u64 = 512;

/// Most elements of an array of texts that are kept.
const TEXTS_KEPT: u64 = 64;

/// Where the data section is aligned when `general.alignment` is missing.
const ALIGNMENT: u32 = 32;

const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";

/// A checked header.
#[derive(Debug, Clone, PartialEq)]
pub struct Gguf {
    /// Version of the format.
    pub version: u32,
    /// Where the tensor data begins.
    pub data_offset: u64,
    metadata: BTreeMap<String, Value>,
    tensors: Vec<Tensor>,
}

/// What is learned of the vocabulary while it passes by.
#[derive(Default)]
pub(super) struct Skimmed {
    /// The tokens, if there are any.
    pub(super) tokens: Option<Tokens>,
    /// Whether a token has the type BYTE.
    pub(super) byte_typed: bool,
}

impl Gguf {
    /// Reads and checks the header of a file of `file_size` bytes.
    pub fn read(source: &impl ReadAt, file_size: u64) -> Result<Self, GgufError> {
        let mut cursor = Cursor::new(source, file_size);
        let (version, tensor_count, key_count) = read_start(&mut cursor)?;
        let mut names = Names::default();

        cursor.enter("the metadata");
        let (metadata, skimmed) = read_metadata(&mut cursor, key_count, &mut names)?;

        cursor.enter("the tensor table");
        let tensors = tensor::read_table(&mut cursor, tensor_count, &mut names)?;
        let mut gguf = Self { version, data_offset: cursor.position(), metadata, tensors };

        let alignment = gguf.alignment()?;
        gguf.data_offset = gguf.data_offset.next_multiple_of(alignment);
        tensor::place(&mut gguf.tensors, gguf.data_offset, alignment, file_size)?;
        model::check(&gguf)?;
        vocabulary::check(&gguf, &skimmed)?;
        if gguf.tensors.is_empty() { Err(GgufError::NoTensors) } else { Ok(gguf) }
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// An integer of any width that is not negative.
    pub fn u64(&self, key: &str) -> Option<u64> {
        self.value(key)?.as_u64()
    }

    /// A floating point number of either width.
    pub fn f32(&self, key: &str) -> Option<f32> {
        self.value(key)?.as_f32()
    }

    /// A text, unless it was too long to keep.
    pub fn str(&self, key: &str) -> Option<&str> {
        self.value(key)?.as_str()
    }

    /// True or false.
    pub fn bool(&self, key: &str) -> Option<bool> {
        self.value(key)?.as_bool()
    }

    /// An array; of a large one only its element type and length.
    pub fn array(&self, key: &str) -> Option<&Array> {
        self.value(key)?.as_array()
    }

    /// All keys and values, by key.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.metadata.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The tensors, in the order of the file.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensor of a name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| &*tensor.name == name)
    }

    fn alignment(&self) -> Result<u64, GgufError> {
        const KEY: &str = "general.alignment";
        let alignment = self.exact_u32(KEY)?.unwrap_or(ALIGNMENT);
        if alignment.is_power_of_two() {
            Ok(alignment.into())
        } else {
            Err(GgufError::OutOfRange {
                key: KEY.to_owned(),
                found: alignment.to_string(),
                allowed: "a power of two".to_owned(),
            })
        }
    }
}

/// Magic and version; returns the version and the numbers of tensors and keys.
fn read_start(cursor: &mut Cursor<'_>) -> Result<(u32, u64, u64), GgufError> {
    let magic: [u8; 4] = cursor.array()?;
    if magic != *b"GGUF" {
        return Err(GgufError::NotGguf { found: excerpt(&magic) });
    }
    let version = cursor.u32()?;
    // A small number in the other byte order; llama.cpp looks at the same bits.
    if version != 0 && version.trailing_zeros() >= 16 {
        return Err(GgufError::BigEndian { version });
    }
    if !(2..=3).contains(&version) {
        return Err(GgufError::Version { version });
    }
    let tensors = cursor.u64()?;
    let keys = cursor.u64()?;
    Ok((version, tensors, keys))
}

fn read_metadata(
    cursor: &mut Cursor<'_>,
    count: u64,
    names: &mut Names,
) -> Result<(BTreeMap<String, Value>, Skimmed), GgufError> {
    if count > KEYS_MAX {
        return Err(GgufError::TooMany { what: "metadata keys", found: count, limit: KEYS_MAX });
    }
    let mut metadata = BTreeMap::new();
    let mut skimmed = Skimmed::default();
    for index in 0..count {
        let key = names.read(cursor, &Text { what: "key", index, longest: KEY_MAX })?;
        if metadata.contains_key(&key) {
            return Err(GgufError::Duplicate { what: "key", name: key });
        }
        names.keep(size_of::<Value>() as u64)?;
        let value = match read_type(cursor, &key)? {
            ValueType::Array => Value::Array(read_array(cursor, &key, names, &mut skimmed)?),
            single => read_value(cursor, single, &key, names)?,
        };
        metadata.insert(key, value);
    }
    Ok((metadata, skimmed))
}

fn read_type(cursor: &mut Cursor<'_>, key: &str) -> Result<ValueType, GgufError> {
    let code = cursor.u32()?;
    ValueType::from_code(code).ok_or_else(|| GgufError::ValueType { key: key.to_owned(), code })
}

fn read_value(cursor: &mut Cursor<'_>, kind: ValueType, key: &str, names: &mut Names) -> Result<Value, GgufError> {
    Ok(match kind {
        ValueType::U8 => Value::U8(u8::from_le_bytes(cursor.array()?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(cursor.array()?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(cursor.array()?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(cursor.array()?)),
        ValueType::U32 => Value::U32(cursor.u32()?),
        ValueType::I32 => Value::I32(i32::from_le_bytes(cursor.array()?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(cursor.array()?)),
        ValueType::U64 => Value::U64(cursor.u64()?),
        ValueType::I64 => Value::I64(i64::from_le_bytes(cursor.array()?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(cursor.array()?)),
        ValueType::Bool => match cursor.array()? {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            [value] => return Err(GgufError::Bool { key: key.to_owned(), value }),
        },
        ValueType::Str => {
            let length = cursor.u64()?;
            if length > TEXT_KEPT {
                cursor.skip(length)?;
                Value::LongStr(length)
            } else {
                names.keep(length)?;
                Value::Str(String::from_utf8_lossy(&cursor.bytes(length)?).into())
            }
        }
        ValueType::Array => return Err(GgufError::NestedArray { key: key.to_owned() }),
    })
}

fn read_array(
    cursor: &mut Cursor<'_>,
    key: &str,
    names: &mut Names,
    skimmed: &mut Skimmed,
) -> Result<Array, GgufError> {
    let element = read_type(cursor, key)?;
    let len = cursor.u64()?;
    if element == ValueType::Array {
        return Err(GgufError::NestedArray { key: key.to_owned() });
    }
    cursor.claim(len, element.min_size())?;
    let limit = if element == ValueType::Str { TEXTS_KEPT } else { NUMBERS_KEPT };
    let mut items = None;
    match element {
        ValueType::Str if key == TOKENS => skimmed.tokens = Some(Tokens::skim(cursor, len)?),
        ValueType::I32 if key == TOKEN_TYPES => skimmed.byte_typed = Tokens::skim_types(cursor, len)?,
        _ if len <= limit => {
            names.keep(len * size_of::<Value>() as u64)?;
            items = Some((0..len).map(|_| read_value(cursor, element, key, names)).collect::<Result<_, _>>()?);
        }
        ValueType::Str => {
            for _ in 0..len {
                let length = cursor.u64()?;
                cursor.skip(length)?;
            }
        }
        ValueType::Bool => {
            let mut odd = None;
            cursor.each(len, |piece| odd = odd.or_else(|| piece.iter().copied().find(|byte| *byte > 1)))?;
            if let Some(value) = odd {
                return Err(GgufError::Bool { key: key.to_owned(), value });
            }
        }
        number => cursor.skip(len * number.min_size())?,
    }
    Ok(Array { element, len, items })
}
