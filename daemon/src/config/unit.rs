//! Sizes, shares and times as an operator writes them.

use std::fmt;
use std::time::Duration;

use crate::plan::{Bytes, Percent};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub(super) u64);

/// A time that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span(pub(super) Duration);

const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

const MILLIS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// So many percent, as defaults and bounds are written here: 100 at most.
pub(super) const fn percent(number: u16) -> Percent {
    Percent::from_tenths(10 * number).expect("a share is at most the whole")
}

impl Size {
    /// What [`Size::parse`] accepts.
    pub(super) const FORMS: &str =
        "write a size such as \"256KiB\", \"64MiB\", \"1GiB\" (also KB, MB, GB, B) or a number of bytes";

    /// A multiple of 1024 bytes.
    pub(super) const fn kib(number: u64) -> Self {
        Self(number << 10)
    }

    /// A multiple of 1024 KiB.
    pub(super) const fn mib(number: u64) -> Self {
        Self(number << 20)
    }

    /// A multiple of 1024 MiB.
    pub(super) const fn gib(number: u64) -> Self {
        Self(number << 30)
    }

    /// Reads a number with its unit. Too large ones saturate, and are then refused by the key's bounds.
    pub(super) fn parse(text: &str) -> Option<Self> {
        parse(text, &SIZES).map(Self)
    }

    /// As a length in memory.
    pub(super) fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl From<Size> for Bytes {
    fn from(size: Size) -> Self {
        Self(size.0)
    }
}

impl Span {
    /// What [`Span::parse`] accepts.
    pub(super) const FORMS: &str = "write a time such as \"500ms\", \"5s\", \"5m\", \"1h\" or \"1d\"";

    /// Milliseconds.
    pub(super) const fn millis(number: u64) -> Self {
        Self(Duration::from_millis(number))
    }

    /// Seconds.
    pub(super) const fn seconds(number: u64) -> Self {
        Self(Duration::from_secs(number))
    }

    /// Minutes.
    pub(super) const fn minutes(number: u64) -> Self {
        Self::seconds(60 * number)
    }

    /// Hours.
    pub(super) const fn hours(number: u64) -> Self {
        Self::minutes(60 * number)
    }

    /// Days.
    pub(super) const fn days(number: u64) -> Self {
        Self::hours(24 * number)
    }

    /// Reads a number with its unit. Too large ones saturate, and are then refused by the key's bounds.
    pub(super) fn parse(text: &str) -> Option<Self> {
        parse(text, &MILLIS).map(Self::millis)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = largest(self.0, &SIZES);
        write!(f, "{number}{unit}")
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX) {
            0 => f.write_str("0s"),
            millis => {
                let (number, unit) = largest(millis, &MILLIS);
                write!(f, "{number}{unit}")
            }
        }
    }
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    if digits.is_empty() {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX).saturating_mul(*factor))
}

/// The largest unit that needs no fraction. The last one is 1.
fn largest<'a>(number: u64, units: &[(&'a str, u64)]) -> (u64, &'a str) {
    let unit = units.iter().find(|(_, factor)| number >= *factor && number.is_multiple_of(*factor));
    unit.map_or((number, ""), |(name, factor)| (number / factor, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["64MiB", "256KiB", "1GiB", "3KB", "7MB", "9GB", "1B", "1023B"] {
            assert_eq!(Size::parse(text).unwrap().to_string(), text);
        }
        for text in ["500ms", "5s", "5m", "1h", "1d", "90s", "1500ms", "0s"] {
            assert_eq!(Span::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn knows_the_units() {
        assert_eq!(Size::parse("2KiB"), Some(Size(2048)));
        assert_eq!(Size::parse("2KB"), Some(Size(2000)));
        assert_eq!(Size::parse("2GiB"), Some(Size::gib(2)));
        assert_eq!(Span::parse("2d"), Some(Span(Duration::from_hours(48))));
    }

    #[test]
    fn refuses_everything_else() {
        for text in ["", "5", "MiB", "5 MiB", "-5MiB", "1.5MiB", "5mib", "5m", "٥MiB"] {
            assert_eq!(Size::parse(text), None, "{text}");
        }
        for text in ["", "5", "s", "5 s", "-5s", "1h30m", "5S", "5MiB"] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }

    #[test]
    fn saturates() {
        assert_eq!(Size::parse("99999999999999999999GiB"), Some(Size(u64::MAX)));
        assert_eq!(Span::parse("18446744073709551615d"), Some(Span::millis(u64::MAX)));
    }
}
