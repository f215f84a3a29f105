//! Typed access to the fields of a request object, with messages that name field, type and limit.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::job::{ErrorCode, JobError, shown};

/// Fields not yet read. Reading one takes it out.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub fn new(map: Map<String, Value>) -> Self {
        Self(map)
    }

    /// What was not read.
    pub fn rest(self) -> Map<String, Value> {
        self.0
    }

    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    pub fn text(&mut self, name: &str) -> Result<Option<String>, JobError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(name, &other, "a string")),
        }
    }

    /// A flag; absent is false.
    pub fn flag(&mut self, name: &str) -> Result<bool, JobError> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(wrong_type(name, &other, "true or false")),
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, JobError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*value));
        }
        let words: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        Err(invalid(format!("field \"{name}\" is none of {}", words.join(", "))))
    }

    /// A whole number; `12.0` is one, as in JSON Schema.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "exact in the range that is checked")]
    pub fn whole(&mut self, name: &str, allowed: &Limits<u64>) -> Result<Option<u64>, JobError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Value::Number(number) = &value else { return Err(wrong_type(name, &value, "a whole number")) };
        let whole = match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => Some(whole),
            (None, Some(float)) if float.fract() == 0.0 && (0.0..9e15).contains(&float) => Some(float as u64),
            (None, Some(float)) if float.fract() != 0.0 => return Err(wrong_type(name, &value, "a whole number")),
            _ => None,
        };
        match whole {
            Some(whole) if allowed.range.contains(&whole) => Ok(Some(whole)),
            _ => Err(out_of_range(name, number, allowed)),
        }
    }

    /// [`Fields::whole`] for what is kept in 32 bits.
    pub fn whole_u32(
        &mut self,
        name: &str,
        range: RangeInclusive<u32>,
        from: Option<&'static str>,
    ) -> Result<Option<u32>, JobError> {
        let range = u64::from(*range.start())..=u64::from(*range.end());
        let whole = self.whole(name, &Limits { range, from })?;
        Ok(whole.map(|whole| u32::try_from(whole).unwrap_or(u32::MAX)))
    }

    /// Any number.
    #[expect(clippy::cast_possible_truncation, reason = "llama.cpp computes with 32 bits")]
    pub fn number(&mut self, name: &str, allowed: &Limits<f64>) -> Result<Option<f32>, JobError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Value::Number(number) = &value else { return Err(wrong_type(name, &value, "a number")) };
        match number.as_f64() {
            Some(float) if allowed.range.contains(&float) => Ok(Some(float as f32)),
            _ => Err(out_of_range(name, number, allowed)),
        }
    }
}

/// What a number may be, and the configuration key that says so.
pub(super) struct Limits<T> {
    pub range: RangeInclusive<T>,
    pub from: Option<&'static str>,
}

impl<T> From<RangeInclusive<T>> for Limits<T> {
    fn from(range: RangeInclusive<T>) -> Self {
        Self { range, from: None }
    }
}

fn out_of_range<T: std::fmt::Display>(name: &str, number: &serde_json::Number, allowed: &Limits<T>) -> JobError {
    let from = allowed.from.map(|key| format!(" ({key})")).unwrap_or_default();
    let (low, high) = (allowed.range.start(), allowed.range.end());
    invalid(format!("field \"{name}\" is {number}; allowed are {low} to {high}{from}"))
}

pub(super) fn wrong_type(name: &str, got: &Value, wanted: &str) -> JobError {
    let got = match got {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    invalid(format!("field \"{name}\": got {got}, wanted {wanted}"))
}

pub(super) fn unknown(name: &str) -> JobError {
    invalid(format!("unknown field {}", shown(name)))
}

pub(super) fn invalid(message: impl Into<String>) -> JobError {
    JobError::new(ErrorCode::InvalidRequest, message)
}
