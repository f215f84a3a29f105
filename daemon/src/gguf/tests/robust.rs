//! Nothing that is done to a file makes the reader panic, hang or take memory.

use proptest::prelude::*;
use proptest::sample::Index;

use super::read;
use super::writer::Writer;

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = Writer::model().bytes();
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "accepted {length} of {} bytes", bytes.len());
    }
    assert!(read(&bytes).is_ok());
}

#[test]
fn any_byte_may_have_any_of_these_values() {
    let bytes = Writer::model().bytes();
    let header = Writer::model().header().len();
    for place in 0..header {
        for value in [0x00, 0x01, 0x04, 0x08, 0x09, 0x0d, 0x20, 0x7f, 0x80, 0xff, bytes[place] ^ 1, !bytes[place]] {
            let mut bytes = bytes.clone();
            bytes[place] = value;
            if let Ok(gguf) = read(&bytes) {
                // What is accepted must be usable.
                assert!(gguf.facts().is_ok(), "byte {place} set to {value}");
            }
        }
    }
}

proptest! {
    #[test]
    fn several_bytes_may_change_at_once(changes in prop::collection::vec(any::<(Index, u8)>(), 1..16)) {
        let mut bytes = Writer::model().bytes();
        let header = Writer::model().header().len();
        for (place, value) in changes {
            bytes[place.index(header)] = value;
        }
        if let Ok(gguf) = read(&bytes) {
            prop_assert!(gguf.facts().is_ok());
        }
    }

    #[test]
    fn numbers_may_be_anything(place in any::<Index>(), number in prop_oneof![
        any::<u64>(), Just(u64::MAX), Just(i64::MAX.unsigned_abs()), Just(1 << 32), Just(1 << 60), 0_u64..4096,
    ]) {
        let mut bytes = Writer::model().bytes();
        let place = place.index(Writer::model().header().len() - 8);
        bytes[place..place + 8].copy_from_slice(&number.to_le_bytes());
        if let Ok(gguf) = read(&bytes) {
            prop_assert!(gguf.facts().is_ok());
        }
    }

    #[test]
    fn parts_may_be_missing_or_repeated(from in any::<Index>(), to in any::<Index>(), times in 0_usize..3) {
        let bytes = Writer::model().bytes();
        let (one, other) = (from.index(bytes.len()), to.index(bytes.len()));
        let (from, to) = (one.min(other), one.max(other));
        let spliced = [&bytes[..from], &bytes[from..to].repeat(times), &bytes[to..]].concat();
        if let Ok(gguf) = read(&spliced) {
            prop_assert!(gguf.facts().is_ok());
        }
    }

    #[test]
    fn noise_is_refused(mut noise in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(read(&noise).is_err());
        let start = *b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0";
        noise.splice(0..0, start);
        prop_assert!(read(&noise).is_err());
    }
}
