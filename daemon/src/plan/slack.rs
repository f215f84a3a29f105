//! How much of the reserve is still there, as one number.

use std::fmt;

use serde::Serialize;

use super::{MemoryLimit, Reserve};

/// What is available, measured in reserves, in thousandths: 1000 is a reserve that is just untouched, 500 one that is
/// half used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Slack(u32);

impl Slack {
    /// So many thousandths of the reserve.
    pub const fn from_permille(permille: u32) -> Self {
        Self(permille)
    }

    /// In thousandths of the reserve.
    pub const fn permille(self) -> u32 {
        self.0
    }

    /// That of the tightest limit; none if there is none. A reserve of nothing counts as one byte, so that such a limit is
    /// tight only when it is used up.
    pub fn of(limits: &[MemoryLimit], reserve: Reserve) -> Option<Self> {
        let slack = |limit: &MemoryLimit| {
            let reserve = u128::from(reserve.of(limit.total).0.max(1));
            u32::try_from(u128::from(limit.available.0) * 1000 / reserve).unwrap_or(u32::MAX)
        };
        limits.iter().map(slack).min().map(Self)
    }
}

impl fmt::Display for Slack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:03}", self.0 / 1000, self.0 % 1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Bytes, Percent};

    fn limit(total: u64, available: u64) -> MemoryLimit {
        MemoryLimit { name: "host".to_owned(), total: Bytes(total), available: Bytes(available) }
    }

    #[test]
    fn the_tightest_limit_counts() {
        let tenth = Reserve::Percent(Percent::from_tenths(100).unwrap());
        let slack = |limits: &[MemoryLimit]| Slack::of(limits, tenth).map(Slack::permille);
        assert_eq!(slack(&[]), None);
        assert_eq!(slack(&[limit(1000, 100)]), Some(1000));
        assert_eq!(slack(&[limit(1000, 900), limit(100, 7)]), Some(700));
        assert_eq!(slack(&[limit(u64::MAX, u64::MAX)]), Some(9999));
    }

    #[test]
    fn no_reserve_is_tight_only_at_the_end() {
        let none = Reserve::Bytes(Bytes(0));
        assert_eq!(Slack::of(&[limit(1000, 0)], none), Some(Slack(0)));
        assert_eq!(Slack::of(&[limit(1000, 1)], none), Some(Slack(1000)));
        assert_eq!(Slack::of(&[limit(u64::MAX, u64::MAX)], none), Some(Slack(u32::MAX)));
        // A limit of nothing has no slack, and nothing is divided by zero.
        assert_eq!(Slack::of(&[limit(0, 0)], Reserve::Bytes(Bytes(1))), Some(Slack(0)));
    }

    #[test]
    fn reads_well() {
        assert_eq!(Slack(1250).to_string(), "1.250");
        assert_eq!(Slack(7).to_string(), "0.007");
    }
}
