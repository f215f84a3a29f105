//! Writes GGUF files, right or wrong.

use crate::gguf::ValueType;

/// A file in the making.
#[derive(Clone)]
pub(super) struct Writer {
    pub(super) magic: [u8; 4],
    pub(super) version: u32,
    /// Added to the real counts.
    pub(super) extra_tensors: u64,
    pub(super) extra_keys: u64,
    pub(super) alignment: u64,
    pub(super) keys: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) tensors: Vec<Entry>,
    /// Bytes of data that are not written.
    pub(super) cut: u64,
}

/// A tensor in the making.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) dims: Vec<u64>,
    pub(super) code: u32,
    pub(super) bytes: u64,
    /// Instead of the right one.
    pub(super) offset: Option<u64>,
}

/// Number of a value type in the file.
pub(super) fn code(kind: ValueType) -> u32 {
    (0..13).find(|code| ValueType::from_code(*code) == Some(kind)).unwrap()
}

/// A text with its length.
pub(super) fn text(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat()
}

/// A value with its type.
pub(super) fn typed(kind: ValueType, bytes: &[u8]) -> Vec<u8> {
    [&code(kind).to_le_bytes()[..], bytes].concat()
}

pub(super) fn u32(value: u32) -> Vec<u8> {
    typed(ValueType::U32, &value.to_le_bytes())
}

pub(super) fn f32(value: f32) -> Vec<u8> {
    typed(ValueType::F32, &value.to_le_bytes())
}

pub(super) fn boolean(value: u8) -> Vec<u8> {
    typed(ValueType::Bool, &[value])
}

pub(super) fn string(value: impl AsRef<[u8]>) -> Vec<u8> {
    typed(ValueType::Str, &text(value))
}

/// An array of any elements.
pub(super) fn array(kind: ValueType, elements: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let elements: Vec<Vec<u8>> = elements.into_iter().collect();
    let len = elements.len() as u64;
    typed(ValueType::Array, &[&code(kind).to_le_bytes()[..], &len.to_le_bytes(), &elements.concat()].concat())
}

pub(super) fn strings<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> Vec<u8> {
    array(ValueType::Str, values.into_iter().map(text))
}

pub(super) fn u32s(values: impl IntoIterator<Item = u32>) -> Vec<u8> {
    array(ValueType::U32, values.into_iter().map(|value| value.to_le_bytes().to_vec()))
}

impl Writer {
    /// Without keys and tensors.
    pub(super) fn empty() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            extra_tensors: 0,
            extra_keys: 0,
            alignment: 32,
            keys: Vec::new(),
            tensors: Vec::new(),
            cut: 0,
        }
    }

    /// A tiny model that passes: two layers, two heads, twelve tokens.
    pub(super) fn model() -> Self {
        let tokens = (0..12).map(|index| format!("token {index}"));
        Self::empty()
            .key("general.architecture", string("llama"))
            .key("general.name", string("Tiny"))
            .key("general.file_type", u32(3))
            .key("llama.context_length", u32(2048))
            .key("llama.embedding_length", u32(64))
            .key("llama.block_count", u32(2))
            .key("llama.feed_forward_length", u32(96))
            .key("llama.attention.head_count", u32(2))
            .key("llama.attention.head_count_kv", u32(1))
            .key("llama.attention.layer_norm_rms_epsilon", f32(1e-5))
            .key("llama.rope.dimension_count", u32(32))
            .key("tokenizer.ggml.model", string("gpt2"))
            .key("tokenizer.ggml.pre", string("smollm"))
            .key("tokenizer.ggml.tokens", strings(tokens))
            .key("tokenizer.ggml.token_type", array(ValueType::I32, vec![1_i32.to_le_bytes().to_vec(); 12]))
            .key("tokenizer.ggml.merges", strings(["t o", "k e"]))
            .key("tokenizer.ggml.add_bos_token", boolean(0))
            .tensor("token_embd.weight", &[64, 12], 8, 64 / 32 * 34 * 12)
            .tensor("output_norm.weight", &[64], 0, 64 * 4)
            .tensor("blk.0.attn_q.weight", &[64, 64], 3, 64 / 32 * 20 * 64)
    }

    /// The same of another architecture, with these numbers.
    pub(super) fn of(architecture: &str, numbers: &[(&str, Vec<u8>)]) -> Self {
        let base = [("context_length", u32(512)), ("embedding_length", u32(64)), ("block_count", u32(4))];
        let mut writer = Self::model().key("general.architecture", string(architecture));
        writer.keys.retain(|(key, _)| !key.starts_with(b"llama."));
        for (suffix, value) in base.iter().chain(numbers) {
            writer = writer.key(format!("{architecture}.{suffix}"), value.clone());
        }
        writer
    }

    /// Sets a key, in its old place if it is there.
    pub(super) fn key(mut self, key: impl AsRef<[u8]>, value: Vec<u8>) -> Self {
        let key = key.as_ref();
        match self.keys.iter_mut().find(|(known, _)| known == key) {
            Some(entry) => entry.1 = value,
            None => self.keys.push((key.to_vec(), value)),
        }
        self
    }

    /// Takes a key away.
    pub(super) fn without(mut self, key: &str) -> Self {
        self.keys.retain(|(known, _)| known != key.as_bytes());
        self
    }

    /// Adds a tensor.
    pub(super) fn tensor(mut self, name: impl AsRef<[u8]>, dims: &[u64], code: u32, bytes: u64) -> Self {
        self.tensors.push(Entry { name: name.as_ref().to_vec(), dims: dims.to_vec(), code, bytes, offset: None });
        self
    }

    /// Where the tensor data begins.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).wrapping_add(self.extra_tensors).to_le_bytes());
        out.extend((self.keys.len() as u64).wrapping_add(self.extra_keys).to_le_bytes());
        for (key, value) in &self.keys {
            out.extend(text(key));
            out.extend(value);
        }
        let mut offset = 0_u64;
        for entry in &self.tensors {
            out.extend(text(&entry.name));
            out.extend(u32::try_from(entry.dims.len()).unwrap().to_le_bytes());
            entry.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(entry.code.to_le_bytes());
            out.extend(entry.offset.unwrap_or(offset).to_le_bytes());
            offset = offset.saturating_add(entry.bytes.next_multiple_of(self.alignment));
        }
        out
    }

    /// The whole file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = self.header();
        if let Some((last, before)) = self.tensors.split_last() {
            let padded = before.iter().map(|entry| entry.bytes.next_multiple_of(self.alignment)).sum::<u64>();
            let size = (out.len() as u64).next_multiple_of(self.alignment) + padded + last.bytes - self.cut;
            out.resize(usize::try_from(size).unwrap(), 0xa5);
        }
        out
    }
}
