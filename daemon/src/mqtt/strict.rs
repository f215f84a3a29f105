//! Strict JSON: what two parsers could read differently, or what could exhaust one, is refused.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::{Map, Number, Value};

use crate::job::{ErrorCode, JobError, shown};

/// What a document may have at most. Its size is the caller's concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonLimits {
    /// Levels of objects and arrays, the outer object included.
    pub depth: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self { depth: 32 }
    }
}

/// Reads one JSON object: UTF-8, no duplicate keys at any level, no NUL, no lone surrogates, finite numbers, nothing
/// after it. Messages name the key or the limit and never quote values.
pub fn parse_object(bytes: &[u8], limits: JsonLimits) -> Result<Map<String, Value>, JobError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| invalid(format!("the payload is not UTF-8: byte {} is wrong", error.valid_up_to())))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let node = Node { left: limits.depth, limits };
    let value = node.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    match value {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(invalid("the payload is JSON but no object")),
        // Ours: says all there is to say. Others are serde_json's, which name a place and never a text.
        Err(error) if error.classify() == Category::Data => Err(invalid(error.to_string())),
        Err(error) => Err(invalid(format!("the payload is not valid JSON: {error}"))),
    }
}

fn invalid(message: impl Into<String>) -> JobError {
    JobError::new(ErrorCode::InvalidRequest, message)
}

/// Reads one value with `left` levels still allowed.
#[derive(Clone, Copy)]
struct Node {
    left: usize,
    limits: JsonLimits,
}

impl Node {
    fn below<E: Error>(self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => Err(E::custom(format_args!("nested deeper than {} levels", self.limits.depth))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        if value.contains('\0') {
            return Err(E::custom("a text contains NUL (\\u0000)"));
        }
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut map = Map::new();
        while let Some(Key(key)) = entries.next_key()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {} occurs twice", shown(&key))));
            }
            map.insert(key, entries.next_value_seed(below)?);
        }
        Ok(Value::Object(map))
    }
}

struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = String::deserialize(deserializer)?;
        if key.contains('\0') {
            return Err(D::Error::custom("a key contains NUL (\\u0000)"));
        }
        Ok(Self(key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(bytes: &[u8]) -> Result<Value, String> {
        parse_object(bytes, JsonLimits::default()).map(Value::Object).map_err(|error| {
            assert_eq!(error.code, ErrorCode::InvalidRequest);
            error.message
        })
    }

    #[test]
    fn reads_every_kind_of_value() {
        let text = r#" {"a":null,"b":[true,false],"c":-1,"d":18446744073709551615,"e":1.5e3,"f":"x\u00e4\ud83d\ude00","g":{"a":[]}} "#;
        let expected =
            json!({"a": null, "b": [true, false], "c": -1, "d": u64::MAX, "e": 1500.0, "f": "xä😀", "g": {"a": []}});
        assert_eq!(parse(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn refuses_what_is_ambiguous_or_broken() {
        for (text, message) in [
            (r#"{"a":1,"a":2}"#, r#"the key "a" occurs twice at line 1 column 10"#),
            (r#"{"x":[{"b":1,"\u0062":2}]}"#, r#"the key "b" occurs twice at line 1 column 21"#),
            (r#"{"a":"\u0000"}"#, r"a text contains NUL (\u0000) at line 1 column 13"),
            (r#"{"a\u0000":1}"#, r"a key contains NUL (\u0000) at line 1 column 10"),
            (r#"{"a":1} x"#, "the payload is not valid JSON: trailing characters at line 1 column 9"),
            (r#"{"a":1}{"a":1}"#, "the payload is not valid JSON: trailing characters at line 1 column 8"),
            (r#"{"a":1e999}"#, "the payload is not valid JSON: number out of range at line 1 column 10"),
            (r#"{"a":1"#, "the payload is not valid JSON: EOF while parsing an object at line 1 column 6"),
            ("[1]", "the payload is JSON but no object"),
            ("7", "the payload is JSON but no object"),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(message.to_owned()), "{text}");
        }
        for text in [
            r#"{"a":"\ud83d"}"#,
            r#"{"a":"\ude00"}"#,
            r#"{"a":"\ud83dx"}"#,
            r#"{"a":NaN}"#,
            r#"{"a":Infinity}"#,
            r#"{"a":01}"#,
            r#"{"a":1,}"#,
            "{a:1}",
            "{'a':1}",
            "{\"a\":\"\n\"}",
            "\u{feff}{}",
            "",
            "{",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(parse(b"{\"a\":\"\xff\"}"), Err("the payload is not UTF-8: byte 6 is wrong".to_owned()));
        assert!(parse(b"{\"a\":\"\xed\xa0\x80\"}").is_err(), "a surrogate in UTF-8");
    }

    #[test]
    fn counts_levels() {
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert!(parse(nested(32).as_bytes()).is_ok());
        let error = parse(nested(33).as_bytes()).unwrap_err();
        assert!(error.starts_with("nested deeper than 32 levels"), "{error}");
        let arrays = format!("{{\"a\":{}", "[".repeat(100_000));
        assert!(parse(arrays.as_bytes()).unwrap_err().starts_with("nested deeper than 32 levels"));
    }

    #[test]
    fn messages_cut_and_escape_keys_and_never_quote_values() {
        let long = "k\n".repeat(500);
        let text = format!("{}", json!({ "outer": 1 })).replace("outer", &long.escape_default().to_string());
        let twice = format!("{},{}", &text[..text.len() - 1], &text[1..]);
        let error = parse(twice.as_bytes()).unwrap_err();
        assert!(error.len() < 150 && error.contains("k\\nk\\n") && error.contains('…'), "{error}");
        for broken in
            [r#"{"prompt":"the secret" "x":1}"#, r#"{"prompt":"the secret\q"}"#, r#"{"prompt":"the secret\u0000"}"#]
        {
            let error = parse(broken.as_bytes()).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn never_panics_on_almost_json(text in r#"[\{\}\[\]":,0-9a\\u \-\.eE]{0,40}"#) {
            let _ = parse(text.as_bytes());
        }

        #[test]
        fn agrees_with_serde_json_on_what_it_accepts(text in r#"\{"[ab]":(0|[1-9][0-9]{0,24}|"[a-z]{0,3}"|\[(1,){0,3}1\]|-?[0-9]\.[0-9]{1,3}),"[cd]":(null|true|\{\})\}"#) {
            let strict = parse(text.as_bytes()).unwrap();
            prop_assert_eq!(strict, serde_json::from_str::<Value>(&text).unwrap());
        }
    }
}
