//! Files that were right, with something wrong in them.

use fastrand::Rng;

/// Values at which things go wrong.
const BYTES: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'\\'];

/// Changes a few places of `bytes` below `end`: bits, bytes, numbers, parts that are gone or there twice. With `keep_size` nothing is moved.
pub fn mutate(random: &mut Rng, bytes: &mut Vec<u8>, end: usize, keep_size: bool) {
    for _ in 0..random.usize(1..=3) {
        let end = end.min(bytes.len());
        if end < 9 {
            return;
        }
        let at = random.usize(..end - 8);
        match random.u8(..if keep_size { 4 } else { 7 }) {
            0 => bytes[at] ^= 1 << random.u8(..8),
            1 => bytes[at] = BYTES[random.usize(..BYTES.len())],
            2 => {
                let number = [0, 1, u64::MAX, 1 << 31, 1 << 32, 1 << 63][random.usize(..6)];
                bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
            }
            3 => bytes[at] = random.u8(..),
            4 => drop(bytes.drain(at..at + random.usize(1..=8))),
            5 => {
                let part = bytes[at..at + random.usize(1..=8)].repeat(random.usize(1..=20));
                bytes.splice(at..at, part);
            }
            _ => bytes.truncate(at),
        }
    }
}
