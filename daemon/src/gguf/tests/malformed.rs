//! Files whose form is wrong.

use std::io;

use super::writer::{Entry, Writer, array, boolean, code, string, text, typed, u32, u32s};
use super::{read, refusal};
use crate::gguf::{Gguf, GgufError, ReadAt, ValueType};

/// A model with one more tensor.
fn with(name: &str, dims: &[u64], kind: u32, bytes: u64) -> Writer {
    Writer::model().tensor(name, dims, kind, bytes)
}

/// A model whose last tensor is changed.
fn changed(change: impl FnOnce(&mut Entry)) -> Writer {
    let mut writer = Writer::model();
    change(writer.tensors.last_mut().unwrap());
    writer
}

#[test]
fn every_message_names_the_value_and_the_limit() {
    let huge = [&code(ValueType::U32).to_le_bytes()[..], &(1_u64 << 60).to_le_bytes()].concat();
    let nested = [&code(ValueType::Array).to_le_bytes()[..], &1_u64.to_le_bytes()].concat();
    let cases: Vec<(Writer, &str)> = vec![
        (
            Writer { magic: *b"GG\0F", ..Writer::model() },
            "not a GGUF file: it begins with 'GG\\x00F', expected is 'GGUF'",
        ),
        (Writer { version: 0x0300_0000, ..Writer::model() }, "big-endian (version field 0x03000000)"),
        (Writer { version: 0, ..Writer::model() }, "GGUF version 0; supported are 2 and 3"),
        (Writer { version: 1, ..Writer::model() }, "GGUF version 1; supported are 2 and 3"),
        (Writer { version: 4, ..Writer::model() }, "GGUF version 4; supported are 2 and 3"),
        (Writer { extra_keys: 20_000, ..Writer::model() }, "metadata keys: 20017; allowed are at most 16384"),
        (Writer { extra_tensors: 1 << 40, ..Writer::model() }, "tensors: 1099511627779; allowed are at most 32768"),
        (Writer { extra_tensors: 30_000, ..Writer::model() }, "truncated: the tensor table needs bytes up to"),
        (Writer::model().key("", u32(1)), "key 17 has 0 bytes; allowed are 1 to 1024"),
        (Writer::model().key("k".repeat(1025), u32(1)), "key 17 has 1025 bytes; allowed are 1 to 1024"),
        (Writer::model().key(b"a\0b", u32(1)), "key 17 'a\\x00b' contains a control character"),
        (Writer::model().key(b"a\xff", u32(1)), "key 17 'a\\xff' is not UTF-8"),
        (Writer::model().key("a", 13_u32.to_le_bytes().to_vec()), "key 'a' has value type 13; known are 0 to 12"),
        (Writer::model().key("a", typed(ValueType::Array, &nested)), "key 'a' is an array of arrays"),
        (
            Writer::model().key("a", typed(ValueType::Array, &huge)),
            "truncated: the metadata needs bytes up to 461168601842738",
        ),
        (Writer::model().key("a", boolean(2)), "key 'a' holds 2 where a bool is 0 or 1"),
        (Writer::model().key("a", array(ValueType::Bool, [vec![1], vec![9]])), "key 'a' holds 9 where"),
        (Writer::model().key("a", array(ValueType::Bool, vec![vec![3]; 600])), "key 'a' holds 3 where"),
        (Writer::model().key("general.alignment", u32(0)), "'general.alignment' is 0; allowed is a power of two"),
        (Writer::model().key("general.alignment", u32(48)), "'general.alignment' is 48; allowed is a power of two"),
        (
            Writer::model().key("general.alignment", typed(ValueType::U64, &32_u64.to_le_bytes())),
            "'general.alignment' is u64, expected is u32",
        ),
        (with("", &[32], 0, 128), "tensor name 3 has 0 bytes; allowed are 1 to 63"),
        (with(&"n".repeat(64), &[32], 0, 128), "tensor name 3 has 64 bytes; allowed are 1 to 63"),
        (with("token_embd.weight", &[32], 0, 128), "tensor name 'token_embd.weight' is there twice"),
        (with("t", &[], 0, 4), "tensor 't' has 0 dimensions; allowed are 1 to 4"),
        (with("t", &[32, 1, 1, 1, 1], 0, 128), "tensor 't' has 5 dimensions; allowed are 1 to 4"),
        (with("t", &[32, 0], 0, 0), "tensor 't' has shape [32, 0, 1, 1]; every dimension must be at least 1"),
        (with("t", &[1 << 32, 1 << 31], 0, 0), "more than 9223372036854775807 elements"),
        (with("t", &[u64::MAX], 0, 0), "more than 9223372036854775807 elements"),
        (with("t", &[1 << 62], 0, 0), "more than 9223372036854775807 bytes"),
        (with("t", &[48, 2], 3, 0), "tensor 't' has 48 elements a row; Q4_1 needs a multiple of 32"),
        (with("t", &[32], 4, 0), "tensor 't' has type 4, which this llama.cpp does not have"),
        (with("t", &[32], 43, 0), "tensor 't' has type 43"),
        (with("t", &[256], 15, 292), "tensor 't' has type Q8_K, which no file may have"),
        (with("t", &[32, 2], 24, 64), "tensor 't' is a matrix of type I8, which has no product"),
        (
            with("blk.0.attn_norm.weight", &[64], 1, 128),
            "'blk.0.attn_norm.weight' has type F16; a norm or bias must be F32",
        ),
        (with("blk.0.attn_q.bias", &[64], 26, 256), "'blk.0.attn_q.bias' has type I32; a norm or bias must be F32"),
        (with("blk.0.attn_q.bias", &[64], 0, 256), "accepted"),
        (Writer { cut: 1, ..Writer::model() }, "truncated: the data of tensor 'blk.0.attn_q.weight' needs bytes up to"),
    ];
    for (index, (writer, message)) in cases.iter().enumerate() {
        let refusal = refusal(&writer.bytes());
        assert!(refusal.contains(message), "case {index}: {refusal:?} lacks {message:?}");
    }
}

#[test]
fn tensors_lie_one_after_the_other() {
    for (offset, found) in [(0, "0"), (1056, "1056"), (1089, "1089"), (u64::MAX, "18446744073709551615")] {
        let refusal = refusal(&changed(|entry| entry.offset = Some(offset)).bytes());
        assert_eq!(refusal, format!("tensor 'blk.0.attn_q.weight' has data offset {found}; expected is 1088"));
    }
}

#[test]
fn a_vocabulary_alone_is_no_model() {
    let mut writer = Writer::model();
    writer.tensors.clear();
    assert_eq!(refusal(&writer.bytes()), "the file holds no tensors; is it a vocabulary only?");
}

#[test]
fn a_key_may_not_be_there_twice() {
    let mut writer = Writer::model();
    writer.keys.push((b"general.name".to_vec(), string("Again")));
    assert_eq!(refusal(&writer.bytes()), "key 'general.name' is there twice");
}

#[test]
fn weights_must_begin_where_they_can_be_mapped() {
    let mut writer = Writer { alignment: 8, ..Writer::model() }.key("general.alignment", u32(8));
    writer.tensors.drain(1..);
    let padding = (0..32).step_by(8).map(|extra| writer.clone().key("pad", string("x".repeat(extra))));
    let refusals: Vec<String> = padding.map(|writer| refusal(&writer.bytes())).collect();
    assert_eq!(refusals.iter().filter(|refusal| *refusal == "accepted").count(), 1, "{refusals:?}");
    assert_eq!(refusals.iter().filter(|refusal| refusal.contains("no multiple of 32")).count(), 3, "{refusals:?}");
}

#[test]
fn what_is_kept_is_bounded() {
    let writer = (0..20)
        .fold(Writer::model(), |writer, index| writer.key(format!("text.{index}"), string("x".repeat(256 * 1024))));
    assert!(refusal(&writer.bytes()).contains("bytes of metadata to keep: "));
    assert!(refusal(&writer.bytes()).ends_with("; allowed are at most 4194304"));
}

/// A header followed by as many zeros as the caller likes.
struct Endless(Vec<u8>);

impl ReadAt for Endless {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        buf.fill(0);
        Ok(self.0.as_slice().read_at(buf, offset)?.max(buf.len()))
    }
}

#[test]
fn the_header_is_bounded_even_in_a_huge_file() {
    let start = |value: Vec<u8>| {
        let writer = Writer { extra_keys: 5, ..Writer::empty() }.key("a", value);
        Gguf::read(&Endless(writer.bytes()), u64::MAX).unwrap_err().to_string()
    };
    let outline = |kind: ValueType, len: u64| {
        typed(ValueType::Array, &[&code(kind).to_le_bytes()[..], &len.to_le_bytes()].concat())
    };
    let too_large = "the header is larger than 268435456 bytes";
    assert_eq!(start(outline(ValueType::F64, 1 << 40)), too_large);
    assert_eq!(start(outline(ValueType::Str, u64::MAX)), too_large);
    assert_eq!(start(typed(ValueType::Str, &(1_u64 << 40).to_le_bytes())), too_large);
    assert_eq!(start(u32(1)), "key 1 has 0 bytes; allowed are 1 to 1024");
}

#[test]
fn too_many_tokens_are_refused_before_they_are_read() {
    let tokens =
        typed(ValueType::Array, &[&code(ValueType::Str).to_le_bytes()[..], &1_048_577_u64.to_le_bytes()].concat());
    let writer = Writer::empty().key("tokenizer.ggml.tokens", tokens);
    let error = Gguf::read(&Endless(writer.bytes()), u64::MAX).unwrap_err().to_string();
    assert_eq!(error, "tokens: 1048577; allowed are at most 1048576");
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_truncated() {
    let bytes = Writer::model().bytes();
    let shorter = &bytes[..Writer::model().header().len() - 10];
    let error = Gguf::read(&shorter, bytes.len() as u64).unwrap_err();
    assert!(matches!(error, GgufError::Truncated { present, .. } if present == shorter.len() as u64), "{error}");
}

/// A disk that fails.
struct Broken;

impl ReadAt for Broken {
    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Err(io::Error::other("no such sector"))
    }
}

#[test]
fn a_failing_disk_is_reported() {
    let error = Gguf::read(&Broken, 1000).unwrap_err().to_string();
    assert_eq!(error, "reading at byte 0 failed: no such sector");
}

#[test]
fn other_files_are_refused() {
    assert_eq!(refusal(b""), "the file is truncated: the header needs bytes up to 4, the file has 0");
    assert!(refusal(b"\x7fELF\x02\x01\x01\0\0\0\0\0").contains("it begins with '\\x7fELF'"));
    assert!(refusal(&[0; 4096]).contains("it begins with '\\x00\\x00\\x00\\x00'"));
    assert!(read(&text("GGUF")).is_err());
    assert!(read(&u32s([1])).is_err());
}
