//! Files that must be accepted, and what is read from them.

use std::io::{Seek, SeekFrom, Write};

use super::read;
use super::writer::{Writer, array, string, strings, typed, u32s};
use crate::gguf::{Gguf, Value, ValueType};

#[test]
fn a_small_model_is_read() {
    let writer = Writer::model();
    let gguf = read(&writer.bytes()).unwrap();
    assert_eq!(gguf.version, 3);
    assert_eq!(gguf.data_offset, (writer.header().len() as u64).next_multiple_of(32));
    assert_eq!(gguf.str("general.name"), Some("Tiny"));
    assert_eq!(gguf.metadata().count(), writer.keys.len());
    let names: Vec<&str> = gguf.tensors().iter().map(|tensor| &*tensor.name).collect();
    assert_eq!(names, ["token_embd.weight", "output_norm.weight", "blk.0.attn_q.weight"]);
    let last = &gguf.tensors()[2];
    assert_eq!((last.kind.name(), last.shape, last.bytes, last.elements()), ("Q4_1", [64, 64, 1, 1], 2560, 4096));
    assert_eq!(last.offset + last.bytes, writer.bytes().len() as u64);
}

#[test]
fn version_2_and_bytes_after_the_data_are_accepted() {
    let mut bytes = Writer { version: 2, ..Writer::model() }.bytes();
    bytes.extend([0; 100]);
    assert_eq!(read(&bytes).unwrap().version, 2);
}

#[test]
fn another_alignment_moves_the_data() {
    let writer = Writer { alignment: 128, ..Writer::model() }.key("general.alignment", super::writer::u32(128));
    let gguf = read(&writer.bytes()).unwrap();
    assert!(gguf.tensors().iter().all(|tensor| tensor.offset.is_multiple_of(128)));
}

#[test]
fn integers_of_every_width_are_one_number() {
    let cases: [(ValueType, &[u8], Option<u64>); 10] = [
        (ValueType::U8, &[200], Some(200)),
        (ValueType::I8, &[100], Some(100)),
        (ValueType::I8, &[0xff], None),
        (ValueType::U16, &[0, 2], Some(512)),
        (ValueType::I16, &[0xff, 0xff], None),
        (ValueType::I32, &[5, 0, 0, 0], Some(5)),
        (ValueType::U64, &[0xff; 8], Some(u64::MAX)),
        (ValueType::I64, &[0xff; 8], None),
        (ValueType::F32, &[0, 0, 0x80, 0x3f], None),
        (ValueType::Bool, &[1], None),
    ];
    for (kind, bytes, number) in cases {
        let gguf = read(&Writer::model().key("some.key", typed(kind, bytes)).bytes()).unwrap();
        assert_eq!(gguf.u64("some.key"), number, "{kind:?}");
        assert_eq!(gguf.value("some.key").unwrap().value_type(), kind);
    }
}

#[test]
fn the_other_types_have_accessors_of_their_own() {
    let gguf = read(
        &Writer::model()
            .key("a.single", super::writer::f32(1.5))
            .key("a.double", typed(ValueType::F64, &2.5_f64.to_le_bytes()))
            .key("a.switch", super::writer::boolean(1))
            .key("a.text", string(b"caf\xc3\xa9 \xff"))
            .bytes(),
    )
    .unwrap();
    assert_eq!((gguf.f32("a.single"), gguf.f32("a.double"), gguf.f32("a.text")), (Some(1.5), Some(2.5), None));
    assert_eq!((gguf.bool("a.switch"), gguf.bool("a.single")), (Some(true), None));
    assert_eq!(gguf.str("a.text"), Some("café \u{fffd}"), "bytes that are not UTF-8 are replaced");
    assert_eq!((gguf.u64("nothing"), gguf.str("nothing")), (None, None));
}

#[test]
fn small_arrays_are_kept_and_large_ones_are_not() {
    let gguf = read(
        &Writer::model()
            .key("a.numbers", u32s(0..512))
            .key("a.many", u32s(0..513))
            .key("a.texts", strings(["x"; 64]))
            .key("a.long", strings(["x"; 65]))
            .key("a.switches", array(ValueType::Bool, vec![vec![1]; 513]))
            .bytes(),
    )
    .unwrap();
    let kept = |key| gguf.array(key).unwrap().items.as_deref().map(<[Value]>::len);
    assert_eq!((kept("a.numbers"), kept("a.texts")), (Some(512), Some(64)));
    assert_eq!((kept("a.many"), kept("a.long"), kept("a.switches")), (None, None, None));
    assert_eq!(kept("tokenizer.ggml.tokens"), None, "tokens are never kept");
    let outline = gguf.array("a.long").unwrap();
    assert_eq!((outline.element, outline.len), (ValueType::Str, 65));
}

#[test]
fn a_text_too_long_to_keep_is_passed_over() {
    let long = "x".repeat(256 * 1024 + 1);
    let gguf =
        read(&Writer::model().key("a.long", string(&long)).key("a.next", super::writer::u32(7)).bytes()).unwrap();
    assert_eq!(gguf.value("a.long"), Some(&Value::LongStr(long.len() as u64)));
    assert_eq!((gguf.str("a.long"), gguf.u64("a.next")), (None, Some(7)));
}

#[test]
fn a_file_is_read_without_moving_its_offset() {
    let bytes = Writer::model().bytes();
    let mut file = tempfile();
    file.write_all(&bytes).unwrap();
    file.seek(SeekFrom::Start(7)).unwrap();
    assert_eq!(Gguf::read(&file, bytes.len() as u64).unwrap(), read(&bytes).unwrap());
    assert_eq!(file.stream_position().unwrap(), 7);
}

/// A file without a name.
fn tempfile() -> std::fs::File {
    let path = std::env::temp_dir().join(format!("promptd-gguf-{}", std::process::id()));
    let file = std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}
