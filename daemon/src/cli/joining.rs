//! Puts the parts of an answer together that was too large for the broker.

use anyhow::Context;
use promptd::mqtt::PARTS_MAX;
use serde_json::Value;

/// The parts of one answer so far. They come in their order, and after a lost connection again from the first.
#[derive(Debug, Default)]
pub struct Joining {
    next: u64,
    /// How many there are, as the first says.
    of: u64,
    text: String,
}

impl Joining {
    /// Takes a part, and gives the whole message with the last one.
    pub fn take(&mut self, part: &Value) -> anyhow::Result<Option<Value>> {
        let number = |field: &str| part[field].as_u64().context("a part without its number");
        let (seq, of) = (number("seq")?, number("of")?);
        anyhow::ensure!(seq < of && of <= PARTS_MAX.into(), "part {seq} of {of}: allowed are {PARTS_MAX}");
        if seq == 0 {
            *self = Self { of, ..Self::default() };
        }
        // Otherwise it was cut for another connection.
        if of != self.of {
            return Ok(None);
        }
        // What is not the next one has come before, or its forerunner was lost: then all of them come again.
        if seq == self.next {
            self.next += 1;
            self.text.push_str(part["text"].as_str().context("a part without its text")?);
        }
        if self.next < of || seq + 1 < of {
            return Ok(None);
        }
        serde_json::from_str(&self.text).map(Some).context("the parts make no JSON document")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn part(seq: u64, of: u64, text: &str) -> Value {
        json!({ "event": "part", "seq": seq, "of": of, "text": text })
    }

    #[test]
    fn parts_make_the_message() {
        let mut joining = Joining::default();
        assert_eq!(joining.take(&part(0, 3, "{\"a\":\"")).unwrap(), None);
        assert_eq!(joining.take(&part(1, 3, "ä\"")).unwrap(), None);
        assert_eq!(joining.take(&part(1, 3, "ä\"")).unwrap(), None, "one that comes twice");
        assert_eq!(joining.take(&part(2, 3, "}")).unwrap(), Some(json!({ "a": "ä" })));
        assert_eq!(joining.take(&part(0, 1, "{}")).unwrap(), Some(json!({})));
    }

    #[test]
    fn they_begin_anew_with_the_first() {
        let mut joining = Joining::default();
        joining.take(&part(0, 3, "[1,")).unwrap();
        assert_eq!(joining.take(&part(2, 3, "3]")).unwrap(), None, "one is missing");
        joining.take(&part(0, 2, "[4,")).unwrap();
        assert_eq!(joining.take(&part(1, 2, "5]")).unwrap(), Some(json!([4, 5])));
    }

    #[test]
    fn what_was_cut_otherwise_is_left_out() {
        let mut joining = Joining::default();
        assert_eq!(joining.take(&part(2, 3, "9]")).unwrap(), None, "the first has not come");
        joining.take(&part(0, 3, "[1,")).unwrap();
        assert_eq!(joining.take(&part(1, 2, "9]")).unwrap(), None);
        joining.take(&part(1, 3, "2,")).unwrap();
        assert_eq!(joining.take(&part(2, 3, "3]")).unwrap(), Some(json!([1, 2, 3])));
    }

    #[test]
    fn what_is_no_part_is_told() {
        for wrong in [json!({}), part(1, 1, ""), part(0, u64::from(PARTS_MAX) + 1, ""), part(0, 1, "{")] {
            Joining::default().take(&wrong).unwrap_err();
        }
    }
}
