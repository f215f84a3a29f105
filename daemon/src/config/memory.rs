//! `[memory]`: how much of the machine's memory the models may use.

use std::time::Duration;

use crate::plan::{Bytes, Percent, Profile, Reserve};

use super::section::Section;
use super::unit::{Size, Span, percent};
use super::value;

/// How much memory the models may use, and when promptd gives way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// What stays available to others: of the machine's memory, and of each limit that a cgroup sets.
    pub reserve: Reserve,
    /// Most memory for all models together. None leaves it to what is available.
    pub budget: Option<Bytes>,
    /// Share of time for which some task waits for memory (Linux's PSI, `some avg10`), from which on promptd gives way.
    pub pressure_psi: Percent,
    /// How long memory must have sufficed for a better strategy before promptd goes back to it.
    pub recover_after: Duration,
}

impl Memory {
    pub(super) fn read(section: &mut Section<'_, '_, '_>, profile: &Profile) -> Self {
        // A reserve is never nothing: what is available is compared with it, and a number that has lost its unit, such
        // as 10, would be ten bytes.
        let (shares, sizes) = (percent(1)..=percent(90), Size::mib(1)..=Size::gib(1024));
        let budget = Size::mib(16)..=Size::gib(1024);
        Self {
            reserve: section.reserve("reserve", profile.reserve, shares, sizes),
            budget: section.optional("budget", |value| value::size(value, &budget)).map(Size::into),
            pressure_psi: section.percent("pressure_psi", percent(20), percent(1)..=percent(90)),
            recover_after: section.span("recover_after", Span::minutes(1), Span::seconds(1)..=Span::days(1)),
        }
    }
}
