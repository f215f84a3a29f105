//! Keys as llama.cpp reads them: with one exact type.

use super::{Gguf, GgufError, Value, ValueType};

impl Gguf {
    /// A u32; another type is an error.
    pub(super) fn exact_u32(&self, key: &str) -> Result<Option<u32>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::U32(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong(key, other, "u32")),
        }
    }

    /// An f32 that is a number; another type is an error.
    pub(super) fn exact_f32(&self, key: &str) -> Result<Option<f32>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::F32(value)) if value.is_nan() => Err(out_of_range(key, value, "a number")),
            Some(Value::F32(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong(key, other, "f32")),
        }
    }

    /// True or false; another type is an error.
    pub(super) fn exact_bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong(key, other, "bool")),
        }
    }

    /// A text of sane length; another type is an error.
    pub(super) fn exact_str(&self, key: &str) -> Result<Option<&str>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Str(text)) => Ok(Some(text)),
            Some(Value::LongStr(length)) => Err(out_of_range(key, format!("{length} bytes long"), "a short text")),
            Some(other) => Err(wrong(key, other, "str")),
        }
    }

    /// One number for each of `layers` layers: from an array of that length, or one number for all.
    pub(super) fn per_layer(&self, key: &str, layers: u32) -> Result<Option<Vec<u32>>, GgufError> {
        let Some(array) = self.array(key) else {
            return Ok(self.exact_u32(key)?.map(|value| vec![value; layers as usize]));
        };
        if array.len != u64::from(layers) {
            return Err(out_of_range(key, format!("{} elements long", array.len), format!("{layers} elements")));
        }
        let items = array.items.as_deref().unwrap_or_default();
        let number = |item: &Value| match *item {
            Value::U32(value) => Ok(value),
            Value::Bool(value) => Ok(value.into()),
            Value::I32(value) => u32::try_from(value).map_err(|_| out_of_range(key, value, "not negative")),
            _ => Err(wrong(key, &Value::Array(array.clone()), "u32, or an array of u32 or i32")),
        };
        items.iter().map(number).collect::<Result<_, _>>().map(Some)
    }

    /// The length of an array whose elements have one of the types; anything else is an error.
    pub(super) fn array_of(
        &self,
        key: &str,
        elements: &[ValueType],
        expected: &'static str,
    ) -> Result<Option<u64>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Array(array)) if elements.contains(&array.element) => Ok(Some(array.len)),
            Some(other) => Err(wrong(key, other, expected)),
        }
    }
}

fn wrong(key: &str, value: &Value, expected: &'static str) -> GgufError {
    GgufError::WrongType { key: key.to_owned(), found: value.describe(), expected }
}

/// An error that names the value and the limit.
#[expect(clippy::needless_pass_by_value, reason = "callers hand over numbers, literals and fresh texts alike")]
pub(super) fn out_of_range(key: &str, found: impl ToString, allowed: impl ToString) -> GgufError {
    GgufError::OutOfRange { key: key.to_owned(), found: found.to_string(), allowed: allowed.to_string() }
}

/// An error for a key that every model needs.
pub(super) fn missing(key: &str) -> GgufError {
    GgufError::Missing { key: key.to_owned() }
}
