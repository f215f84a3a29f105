//! The vocabulary as it passes by: tokens are looked at and forgotten.

use super::GgufError;
use super::source::Cursor;

/// Most tokens. The largest vocabularies known have 262,144.
const TOKENS_MAX: u64 = 1 << 20;

/// llama.cpp's `LLAMA_TOKEN_TYPE_BYTE`.
const BYTE_TYPE: i32 = 6;

/// Longest token whose text matters: `<0x0A>`.
const BYTE_TOKEN: usize = 6;

/// What is known of the tokens.
pub(super) struct Tokens {
    /// Positions of two equal tokens, if there are any.
    pub(super) twins: Option<(u32, u32)>,
    /// Which bytes have a token of their own, as `<0x0A>` or as themselves.
    bytes: [bool; 256],
}

impl Tokens {
    /// Whether this byte has a token of its own.
    pub(super) fn has_byte(&self, byte: u8) -> bool {
        self.bytes[usize::from(byte)]
    }

    /// Reads `count` tokens. Takes 12 bytes of memory for each until it returns.
    pub(super) fn skim(cursor: &mut Cursor<'_>, count: u64) -> Result<Self, GgufError> {
        if count > TOKENS_MAX {
            return Err(GgufError::TooMany { what: "tokens", found: count, limit: TOKENS_MAX });
        }
        cursor.claim(count, 8)?;
        let mut hashes = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
        let mut bytes = [false; 256];
        for index in 0..count {
            let mut token = Token::default();
            let length = cursor.u64()?;
            cursor.each(length, |piece| token.extend(piece))?;
            if let Some(byte) = token.byte() {
                bytes[usize::from(byte)] = true;
            }
            hashes.push(token.finish(index));
        }
        Ok(Self { twins: twins(&hashes), bytes })
    }

    /// Reads `count` token types and tells whether one of them is BYTE.
    pub(super) fn skim_types(cursor: &mut Cursor<'_>, count: u64) -> Result<bool, GgufError> {
        let mut found = false;
        for _ in 0..count {
            found |= i32::from_le_bytes(cursor.array()?) == BYTE_TYPE;
        }
        Ok(found)
    }
}

fn twins(hashes: &[u64]) -> Option<(u32, u32)> {
    let mut order: Vec<u32> = (0..u32::try_from(hashes.len()).unwrap_or(u32::MAX)).collect();
    order.sort_unstable_by_key(|index| (hashes[*index as usize], *index));
    let pair = order.windows(2).find(|pair| hashes[pair[0] as usize] == hashes[pair[1] as usize])?;
    Some((pair[0], pair[1]))
}

/// One token while it is read. llama.cpp takes its text as a C string: what follows a zero byte is not seen.
struct Token {
    /// FNV-1a. Equal tokens always meet; of 262,144 different ones two meet once in 500 million vocabularies.
    hash: u64,
    start: [u8; BYTE_TOKEN],
    length: usize,
    ended: bool,
}

impl Default for Token {
    fn default() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, start: [0; BYTE_TOKEN], length: 0, ended: false }
    }
}

impl Token {
    fn extend(&mut self, piece: &[u8]) {
        for byte in piece {
            self.ended |= *byte == 0;
            if self.ended {
                return;
            }
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            if let Some(place) = self.start.get_mut(self.length) {
                *place = *byte;
            }
            self.length += 1;
        }
    }

    /// The byte that the token stands for, if it stands for one.
    fn byte(&self) -> Option<u8> {
        match (self.length, self.start) {
            (1, [byte, ..]) => Some(byte),
            (BYTE_TOKEN, [b'<', b'0', b'x', high, low, b'>']) => Some(hex(high)? << 4 | hex(low)?),
            _ => None,
        }
    }

    /// Its hash, under the name that llama.cpp gives to an empty token.
    fn finish(mut self, index: u64) -> u64 {
        if self.length == 0 {
            self.ended = false;
            self.extend(format!("[EMPTY_{index}]").as_bytes());
        }
        self.hash
    }
}

/// Value of a hexadecimal digit; llama.cpp knows only capital ones.
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &[u8]) -> Token {
        let mut token = Token::default();
        token.extend(text);
        token
    }

    #[test]
    fn byte_tokens_are_seen_in_both_forms() {
        assert_eq!(token(b"<0x0A>").byte(), Some(b'\n'));
        assert_eq!(token(b"<0xFF>").byte(), Some(0xff));
        assert_eq!(token(b"A").byte(), Some(b'A'));
        for other in [&b"<0x0a>"[..], b"<0x0A> ", b"<0xG0>", b"", b"AB"] {
            assert_eq!(token(other).byte(), None, "{other:?}");
        }
    }

    #[test]
    fn a_zero_byte_ends_a_token_and_an_empty_one_is_named_after_its_place() {
        assert_eq!(token(b"ab\0cd").finish(0), token(b"ab").finish(0));
        assert_eq!(token(b"\0ab").finish(7), token(b"[EMPTY_7]").finish(0));
        assert_ne!(token(b"").finish(7), token(b"").finish(8));
        let mut pieces = token(b"a");
        pieces.extend(b"b");
        assert_eq!(pieces.finish(0), token(b"ab").finish(0));
    }

    #[test]
    fn twins_are_found_in_file_order() {
        assert_eq!(twins(&[5, 3, 9, 3]), Some((1, 3)));
        assert_eq!(twins(&[5, 3, 9]), None);
        assert_eq!(twins(&[]), None);
    }
}
