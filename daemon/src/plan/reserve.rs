//! What stays free for the rest of the machine.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Bytes;

/// A share of something, in tenths of a percent, from 0 % to 100 %, such as `10%` or `2.5%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Percent(u16);

/// All of it, in tenths of a percent.
const WHOLE: u16 = 1000;

impl Percent {
    /// So many tenths of a percent; none above 1000.
    pub const fn from_tenths(tenths: u16) -> Option<Self> {
        if tenths <= WHOLE { Some(Self(tenths)) } else { None }
    }

    /// Reads `10%` or `2.5%`; the error says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tenths = text.strip_suffix('%').and_then(|number| {
            let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
            let digits =
                |text: &str, most| (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            if !digits(whole, 3) || !digits(tenth, 1) {
                return None;
            }
            Self::from_tenths(whole.parse::<u16>().ok()? * 10 + tenth.parse::<u16>().ok()?)
        });
        tenths.ok_or_else(|| "write a share from 0% to 100%, such as 10% or 2.5%".to_owned())
    }

    /// In tenths of a percent.
    pub const fn tenths(self) -> u16 {
        self.0
    }

    /// In percent.
    pub fn as_f32(self) -> f32 {
        f32::from(self.0) / 10.0
    }

    /// This share of `total`, rounded up.
    pub fn of(self, total: Bytes) -> Bytes {
        let share = (u128::from(total.0) * u128::from(self.0)).div_ceil(u128::from(WHOLE));
        // A share is at most the whole.
        Bytes(u64::try_from(share).unwrap_or(total.0))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 10, self.0 % 10) {
            (whole, 0) => f.pad(&format!("{whole}%")),
            (whole, tenth) => f.pad(&format!("{whole}.{tenth}%")),
        }
    }
}

impl From<Percent> for String {
    fn from(percent: Percent) -> Self {
        percent.to_string()
    }
}

impl TryFrom<String> for Percent {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

/// How much of each limit stays free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reserve {
    /// The same of every limit.
    Bytes(Bytes),
    /// A share of each limit.
    Percent(Percent),
}

impl Reserve {
    /// The reserve of a limit of `total`: at most all of it.
    pub fn of(self, total: Bytes) -> Bytes {
        match self {
            Self::Bytes(bytes) => bytes.min(total),
            Self::Percent(percent) => percent.of(total),
        }
    }
}

impl fmt::Display for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::Percent(percent) => percent.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_share_reads_what_it_shows_and_nothing_else() {
        for tenths in 0..=1000 {
            let percent = Percent::from_tenths(tenths).unwrap();
            assert_eq!(Percent::parse(&percent.to_string()), Ok(percent));
        }
        assert_eq!(Percent::parse("2.0%").unwrap().to_string(), "2%");
        assert_eq!(serde_json::to_string(&Percent(25)).unwrap(), "\"2.5%\"");
        assert_eq!(serde_json::from_str::<Percent>("\"10%\"").unwrap(), Percent(100));
        for wrong in
            ["", "%", "10", "100.1%", "101%", "-1%", "+1%", "1.%", ".5%", "1.25%", " 1%", "1 %", "9999%", "1.+%"]
        {
            assert!(Percent::parse(wrong).unwrap_err().contains("100%"), "{wrong}");
        }
        assert_eq!(Percent::from_tenths(1001), None);
    }

    #[test]
    fn a_reserve_is_part_of_the_limit() {
        let tenth = Reserve::Percent(Percent(100));
        assert_eq!(tenth.of(Bytes(1000)), Bytes(100));
        assert_eq!(tenth.of(Bytes(1001)), Bytes(101));
        assert_eq!(tenth.to_string(), "10%");
        let fixed = Reserve::Bytes(Bytes(512 << 20));
        assert_eq!(fixed.of(Bytes(4 << 30)), Bytes(512 << 20));
        assert_eq!(fixed.of(Bytes(1 << 20)), Bytes(1 << 20));
        assert_eq!(fixed.to_string(), "512.0 MiB");
    }

    proptest! {
        #[test]
        fn a_larger_share_is_never_less(total in any::<u64>(), tenths in 0_u16..1000) {
            let share = |tenths| Percent(tenths).of(Bytes(total));
            prop_assert!(share(tenths) <= share(tenths + 1));
            prop_assert_eq!(share(1000), Bytes(total));
            prop_assert_eq!(share(0), Bytes(0));
        }
    }
}
