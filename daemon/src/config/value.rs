//! Turns one value into what a key wants, or says what is wrong with it.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::plan::{Percent, Reserve};

use super::tree::Value;
use super::unit::{Size, Span};

/// Linux's own limit, `PATH_MAX` of limits.h.
pub(super) const PATH_MAX: usize = 4096;

/// A whole number within bounds.
pub(super) fn number<T>(value: &Value, range: &RangeInclusive<T>) -> Result<T, String>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    let Value::Integer(number, _) = value else { return Err(format!("write a whole number; {}", allowed(range))) };
    let number = number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| allowed(range))?;
    within(number, range)
}

/// A string, of whatever content.
pub(super) fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err("must be a string".to_owned()),
    }
}

/// A string on one line that says something.
pub(super) fn line(value: &Value, bytes_max: usize) -> Result<&str, String> {
    let text = text(value)?;
    if text.is_empty() || text.len() > bytes_max {
        return Err(format!("has {} bytes; allowed are 1 to {bytes_max}", text.len()));
    }
    match text.chars().find(|character| character.is_control()) {
        Some(character) => Err(format!("contains the control character {character:?}")),
        None => Ok(text),
    }
}

/// A path. A relative one starts from the folder of the file that it stands in.
pub(super) fn path(value: &Value, folder: Option<&Path>) -> Result<PathBuf, String> {
    line(value, PATH_MAX).map(|text| folder.unwrap_or(Path::new("")).join(text))
}

/// A number with or without a fraction, within bounds.
#[expect(clippy::cast_possible_truncation, reason = "llama.cpp computes with 32 bits")]
pub(super) fn decimal(value: &Value, range: &RangeInclusive<f64>) -> Result<f32, String> {
    let number = match value {
        Value::Integer(_, text) | Value::Other(text) => text.replace('_', "").parse().ok(),
        _ => None,
    };
    let number: f64 = number.ok_or_else(|| format!("write a number; {}", allowed(range)))?;
    within(number, range).map(|number| number as f32)
}

/// A string that says something, of one line or several.
pub(super) fn some_text(value: &Value, bytes_max: usize) -> Result<String, String> {
    match text(value)? {
        text if (1..=bytes_max).contains(&text.len()) => Ok(text.to_owned()),
        text => Err(format!("has {} bytes; allowed are 1 to {bytes_max}", text.len())),
    }
}

/// A boolean.
pub(super) fn flag(value: &Value) -> Result<bool, String> {
    match value {
        Value::Flag(flag) => Ok(*flag),
        _ => Err("must be true or false".to_owned()),
    }
}

/// A size within bounds.
pub(super) fn size(value: &Value, range: &RangeInclusive<Size>) -> Result<Size, String> {
    let size = match value {
        Value::Text(text) => Size::parse(text).ok_or(Size::FORMS)?,
        Value::Integer(number, _) => {
            Size(number.and_then(|number| u64::try_from(number).ok()).ok_or_else(|| allowed(range))?)
        }
        _ => return Err(Size::FORMS.to_owned()),
    };
    within(size, range)
}

/// A share within bounds.
pub(super) fn percent(value: &Value, range: &RangeInclusive<Percent>) -> Result<Percent, String> {
    let percent = if let Value::Text(text) = value { Percent::parse(text).ok() } else { None };
    let forms = || format!("write a share such as \"10%\" or \"2.5%\"; {}", allowed(range));
    within(percent.ok_or_else(forms)?, range)
}

/// A share or a size, each within bounds of its own.
pub(super) fn reserve(
    value: &Value,
    shares: &RangeInclusive<Percent>,
    sizes: &RangeInclusive<Size>,
) -> Result<Reserve, String> {
    const FORMS: &str = "write a share such as \"10%\" or \"2.5%\", or a size such as \"512MiB\" or \"4GiB\"";
    match value {
        Value::Text(text) if text.ends_with('%') => percent(value, shares).map(Reserve::Percent),
        Value::Text(text) if Size::parse(text).is_none() => Err(FORMS.to_owned()),
        Value::Text(_) | Value::Integer(..) => size(value, sizes).map(|size| Reserve::Bytes(size.into())),
        _ => Err(FORMS.to_owned()),
    }
}

/// A time within bounds.
pub(super) fn span(value: &Value, range: &RangeInclusive<Span>) -> Result<Span, String> {
    let span = if let Value::Text(text) = value { Span::parse(text) } else { None };
    within(span.ok_or(Span::FORMS)?, range)
}

/// A time of whole seconds within bounds.
pub(super) fn seconds(value: &Value, range: &RangeInclusive<Span>) -> Result<Span, String> {
    match span(value, range)? {
        Span(time) if time.subsec_nanos() != 0 => Err("must be a whole number of seconds".to_owned()),
        whole => Ok(whole),
    }
}

/// A time within bounds, or the word for none.
pub(super) fn span_or_never(value: &Value, range: &RangeInclusive<Span>) -> Result<Option<Span>, String> {
    match value {
        Value::Text(text) if text == "never" => Ok(None),
        _ => span(value, range).map(Some).map_err(|reason| reason + ", or \"never\""),
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, String> {
    let chosen = if let Value::Text(text) = value { words.iter().find(|(word, _)| word == text) } else { None };
    chosen.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let list: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        format!("allowed are {}", list.join(", "))
    })
}

fn within<T: PartialOrd + Display>(value: T, range: &RangeInclusive<T>) -> Result<T, String> {
    if range.contains(&value) { Ok(value) } else { Err(allowed(range)) }
}

fn allowed<T: Display>(range: &RangeInclusive<T>) -> String {
    format!("allowed are {} to {}", range.start(), range.end())
}
