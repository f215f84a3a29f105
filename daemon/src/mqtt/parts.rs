//! Answers in parts: what the broker does not take as one message goes out as several.
//!
//! Each part begins with the same head and brings the next piece of the message; the pieces one after the other are the
//! message to the byte.

use std::fmt;

use bytes::Bytes;

use super::Publication;
use super::filter::is_topic;
use super::reply::PartBody;

/// Most parts of one answer: with more, the heads would be most of what is sent.
pub const PARTS_MAX: u32 = 4096;

/// By so many bytes the length in front of a packet may grow with what is in the packet.
const LENGTH_GROWTH: usize = 3;

/// What all parts of one answer begin with: a JSON object with everything but the piece.
#[derive(Clone, PartialEq, Eq)]
pub struct PartHead(Bytes);

impl PartHead {
    /// From the bytes of such an object, which has at least one field.
    pub fn new(object: impl Into<Bytes>) -> Self {
        Self(object.into())
    }

    /// The object.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The object with the fields of one part.
    fn with(&self, body: &PartBody<'_>) -> Vec<u8> {
        // Nothing in it can fail.
        let body = serde_json::to_vec(body).unwrap_or_default();
        let head = self.0.strip_suffix(b"}").unwrap_or(&self.0);
        [head, b",", body.strip_prefix(b"{").unwrap_or(&body)].concat()
    }
}

/// Sizes only: it holds what a client wants to get back.
impl fmt::Debug for PartHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartHead({} bytes)", self.0.len())
    }
}

/// A message that is sent in parts, one after the other.
pub(super) struct Parts {
    /// Where in the message each of them ends.
    ends: Vec<usize>,
    /// Which of them is the next.
    next: usize,
}

impl Parts {
    /// Cuts a message on characters, so that no part makes a packet of more bytes than this. None if it may not be cut, or
    /// would make too many parts.
    pub fn cut(whole: &Publication, packet_max: usize) -> Option<Self> {
        let head = whole.parts.as_ref().filter(|_| is_topic(&whole.topic))?;
        let text = std::str::from_utf8(&whole.payload).ok()?;
        let frame = part(whole, head, &PartBody { seq: PARTS_MAX, of: PARTS_MAX, text: "" }).packet_size();
        let room = packet_max.checked_sub(frame + LENGTH_GROWTH)?;
        let mut ends = Vec::new();
        let mut used = 0;
        for (at, letter) in text.char_indices() {
            let size = escaped(letter);
            if used + size > room {
                if size > room || ends.len() + 1 == PARTS_MAX as usize {
                    return None;
                }
                ends.push(at);
                used = 0;
            }
            used += size;
        }
        ends.push(text.len());
        Some(Self { ends, next: 0 })
    }

    /// The part that is to be sent.
    pub fn current(&self, whole: &Publication) -> Publication {
        let Some(head) = &whole.parts else { return whole.clone() };
        let number = |index: usize| u32::try_from(index).unwrap_or(PARTS_MAX);
        let start = self.next.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or_default();
        let end = self.ends.get(self.next).copied().unwrap_or(start);
        let text = String::from_utf8_lossy(&whole.payload[start..end]);
        part(whole, head, &PartBody { seq: number(self.next), of: number(self.ends.len()), text: &text })
    }

    /// The number of the part that is to be sent.
    pub fn number(&self) -> u16 {
        u16::try_from(self.next).unwrap_or(u16::MAX)
    }

    /// Whether others follow the current one.
    pub fn goes_on(&self) -> bool {
        self.next + 1 < self.ends.len()
    }

    /// The broker has taken the current one. Whether another follows it.
    pub fn advance(&mut self) -> bool {
        self.next += 1;
        self.next < self.ends.len()
    }
}

fn part(whole: &Publication, head: &PartHead, body: &PartBody<'_>) -> Publication {
    let Publication { topic, content_type, correlation, .. } = whole.clone();
    Publication { topic, payload: head.with(body).into(), content_type, correlation, parts: None }
}

/// Bytes of a character in a JSON string as `serde_json` writes it.
fn escaped(letter: char) -> usize {
    match letter {
        '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const HEAD: &str = r#"{"event":"part","id":"7","x_a":{"b":1}}"#;

    fn whole(text: &str) -> Publication {
        Publication {
            topic: "a/b".to_owned(),
            payload: text.to_owned().into(),
            content_type: Some("application/json".into()),
            correlation: Some(vec![0; 20]),
            parts: Some(PartHead::new(HEAD)),
        }
    }

    /// All parts in their order.
    fn sent(whole: &Publication, packet_max: usize) -> Option<Vec<Publication>> {
        let mut parts = Parts::cut(whole, packet_max)?;
        let mut sent = vec![parts.current(whole)];
        while parts.advance() {
            sent.push(parts.current(whole));
        }
        Some(sent)
    }

    fn fields(publication: &Publication) -> Value {
        serde_json::from_slice(&publication.payload).unwrap()
    }

    #[test]
    fn a_part_has_the_head_and_its_piece() {
        let parts = sent(&whole(&"0123456789".repeat(30)), 250).unwrap();
        let of = parts.len();
        assert!(of > 1);
        let first = format!(r#"{{"event":"part","id":"7","x_a":{{"b":1}},"seq":0,"of":{of},"text":"0123"#);
        assert!(parts[0].payload.starts_with(first.as_bytes()), "{:?}", parts[0].payload);
        assert_eq!((parts[1].topic.as_str(), parts[1].correlation.as_ref()), ("a/b", Some(&vec![0; 20])));
    }

    #[test]
    fn what_can_t_be_cut_is_not() {
        assert!(Parts::cut(&Publication { parts: None, ..whole("1") }, 1000).is_none());
        assert!(Parts::cut(&Publication { topic: "a/#".to_owned(), ..whole("1") }, 1000).is_none());
        let one_byte = (1..1000).find(|max| Parts::cut(&whole("1"), *max).is_some()).unwrap();
        assert!(Parts::cut(&whole("é"), one_byte).is_none(), "half a character is none");
        let most = "1".repeat(PARTS_MAX as usize);
        assert_eq!(sent(&whole(&most), one_byte).unwrap().len(), most.len());
        assert!(Parts::cut(&whole(&format!("{most}1")), one_byte).is_none());
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_message(text in "(\\PC|[\"\\\\\n\u{1}\u{8}é🦀]){1,400}", packet_max in 140_usize..400) {
            let whole = whole(&text);
            let parts = sent(&whole, packet_max).unwrap();
            let mut joined = String::new();
            for (index, part) in parts.iter().enumerate() {
                prop_assert!(part.packet_size() <= packet_max);
                let fields = fields(part);
                prop_assert_eq!(&fields["seq"], index);
                prop_assert_eq!(&fields["of"], parts.len());
                prop_assert_eq!(&fields["x_a"]["b"], 1);
                joined.push_str(fields["text"].as_str().unwrap());
            }
            prop_assert_eq!(joined, text);
        }
    }
}
