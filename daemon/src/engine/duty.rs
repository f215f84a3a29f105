//! How much of the time an engine computes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The share of the time in which a child computes, in percent. 0 is a pause: jobs stay where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duty(u8);

impl Duty {
    /// All of the time.
    pub const FULL: Self = Self(100);

    /// Nothing is computed.
    pub const PAUSE: Self = Self(0);

    /// So much of the time; more than all of it is all of it.
    pub fn of_percent(percent: u8) -> Self {
        Self(percent.min(100))
    }

    /// In percent.
    pub fn percent(self) -> u8 {
        self.0
    }

    /// How long to rest after so much work; none if it is for good.
    pub fn rest_after(self, worked: Duration) -> Option<Duration> {
        let (duty, rest) = (u32::from(self.0), u32::from(100_u8.saturating_sub(self.0)));
        worked.saturating_mul(rest).checked_div(duty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_and_work_are_as_the_duty_says() {
        const WORKED: Duration = Duration::from_millis(30);
        for (percent, rest) in [(100, 0), (101, 0), (75, 10), (50, 30), (10, 270)] {
            assert_eq!(Duty::of_percent(percent).rest_after(WORKED), Some(Duration::from_millis(rest)), "{percent} %");
        }
        assert_eq!(
            (Duty::PAUSE.rest_after(WORKED), Duty::FULL.rest_after(Duration::MAX)),
            (None, Some(Duration::ZERO))
        );
        assert!(Duty::of_percent(1).rest_after(Duration::MAX).is_some());
    }
}
