//! Where an answer goes: read before anything else, so that even a broken request gets its error.

use std::fmt;

use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::fields::{Fields, invalid};
use crate::job::{JobError, ReplyFormat, RequestId};

/// Longest `ref` in bytes.
pub(super) const REF_MAX: usize = 256;
/// Most fields that start with `x_`.
pub(super) const ECHO_FIELDS_MAX: usize = 16;
/// Most bytes of them as JSON.
pub(super) const ECHO_BYTES_MAX: usize = 2048;

/// The fields of a request that say whose it is and where its answer goes. What is not usable is absent; the checks
/// that complain about it come later.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Address {
    pub id: Option<RequestId>,
    pub reply_to: Option<String>,
    pub reference: Option<String>,
    pub format: ReplyFormat,
    pub parts: bool,
    pub echo: Map<String, Value>,
}

impl Address {
    /// From a valid request object.
    pub fn of(map: &Map<String, Value>) -> Self {
        let text = |name: &str| map.get(name).and_then(Value::as_str).map(str::to_owned);
        let echo = Some(echo_of(map)).filter(echo_fits).unwrap_or_default();
        let found =
            Salvage { id: text("id"), reply_to: text("reply_to"), reference: text("ref"), reply: text("reply") };
        Self { parts: map.get("parts") == Some(&Value::Bool(true)), ..found.usable(echo) }
    }

    /// From a payload that is no valid request object: as much as can be read of it, without keeping the rest.
    pub fn salvage(payload: &[u8]) -> Self {
        let mut deserializer = serde_json::Deserializer::from_slice(payload);
        let mut found = Salvage::default();
        // An error only ends the search: what came before it counts.
        let _ = deserializer.deserialize_map(&mut found);
        found.usable(Map::new())
    }
}

/// Whether a field is echoed and otherwise ignored.
pub(super) fn is_echo(name: &str) -> bool {
    name.starts_with("x_")
}

/// The fields that are echoed.
pub(super) fn echo_of(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter().filter(|(name, _)| is_echo(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Whether the echoed fields stay within their limits: they are kept with the job and sent with each message.
pub(super) fn echo_fits(echo: &Map<String, Value>) -> bool {
    echo.len() <= ECHO_FIELDS_MAX && serde_json::to_vec(echo).is_ok_and(|json| json.len() <= ECHO_BYTES_MAX)
}

#[derive(Default)]
struct Salvage {
    id: Option<String>,
    reply_to: Option<String>,
    reference: Option<String>,
    reply: Option<String>,
}

impl Salvage {
    fn usable(self, echo: Map<String, Value>) -> Address {
        let format = if self.reply.as_deref() == Some("text") { ReplyFormat::Text } else { ReplyFormat::Json };
        Address {
            id: self.id.and_then(|id| RequestId::new(id).ok()),
            reply_to: self.reply_to,
            reference: self.reference.filter(|text| text.len() <= REF_MAX && !text.contains('\0')),
            format,
            // Errors are never too large.
            parts: false,
            echo,
        }
    }
}

impl<'de> Visitor<'de> for &mut Salvage {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(key) = entries.next_key::<String>()? {
            let slot = match key.as_str() {
                "id" => &mut self.id,
                "reply_to" => &mut self.reply_to,
                "ref" => &mut self.reference,
                "reply" => &mut self.reply,
                _ => {
                    entries.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *slot = entries.next_value::<Value>()?.as_str().map(str::to_owned);
        }
        Ok(())
    }
}

/// The fields that are echoed stay within their limits.
pub(super) fn check_echo(map: &Map<String, Value>) -> Result<(), JobError> {
    if echo_fits(&echo_of(map)) {
        return Ok(());
    }
    Err(invalid(format!(
        "fields starting with x_: allowed are {ECHO_FIELDS_MAX}, of {ECHO_BYTES_MAX} bytes of JSON together"
    )))
}

/// The values are in use already, if they could be used: here they are only complained about.
pub(super) fn check_address(fields: &mut Fields) -> Result<(), JobError> {
    if let Some(id) = fields.text("id")? {
        RequestId::new(id).map_err(|error| invalid(error.to_string()))?;
    }
    fields.text("reply_to")?;
    match fields.text("ref")? {
        Some(text) if text.len() > REF_MAX => {
            Err(invalid(format!("field \"ref\" has {} bytes; allowed are 0 to {REF_MAX}", text.len())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_what_is_usable_from_a_valid_object() {
        let Value::Object(map) =
            json!({"id": "7", "ref": "r", "reply": "text", "reply_to": "a/b", "x_a": 1, "prompt": "p"})
        else {
            unreachable!()
        };
        let address = Address::of(&map);
        assert_eq!(address.id, RequestId::new("7").ok());
        assert_eq!((address.reply_to.as_deref(), address.reference.as_deref()), (Some("a/b"), Some("r")));
        assert_eq!(address.format, ReplyFormat::Text);
        assert_eq!(Value::Object(address.echo), json!({"x_a": 1}));
        let Value::Object(map) = json!({"id": 7, "ref": "r".repeat(257), "reply": "xml", "x_a": "y".repeat(3000)})
        else {
            unreachable!()
        };
        assert_eq!(Address::of(&map), Address::default());
    }

    #[test]
    fn salvages_from_broken_payloads() {
        let id = RequestId::new("7").ok();
        for text in [
            r#"{"id":"7","ref":"r","prompt":"unfinished"#,
            r#"{"prompt":[[{"id":"8"}]],"id":"7","ref":"r"} trailing"#,
            r#"{"x":1,"x":2,"id":"7","ref":"r"}"#,
            r#"{"prompt":"\u0000","reply":{"a":1},"id":"7","ref":"r"}"#,
        ] {
            let address = Address::salvage(text.as_bytes());
            assert_eq!((address.id, address.reference.as_deref()), (id.clone(), Some("r")), "{text}");
        }
        for text in ["", "plain", "[1]", r#"{"id":7}"#, r#"{"id":"a/b"}"#, "{\"ref\":\"\\u0000\"}"] {
            assert_eq!(Address::salvage(text.as_bytes()), Address::default(), "{text}");
        }
        let deep = format!("{{\"a\":{}{},\"id\":\"7\"}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Address::salvage(deep.as_bytes()).id, id);
    }
}
