//! `[disk]`: how much of the file system promptd may use.

use crate::plan::{Bytes, Reserve};

use super::section::Section;
use super::unit::{Size, percent};

/// How much of the file system with the state folder promptd may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// What stays free on it.
    pub reserve: Reserve,
    /// Most bytes of all derived models together.
    pub derived_max: Bytes,
}

impl Disk {
    pub(super) fn read(section: &mut Section<'_, '_, '_>) -> Self {
        // Not nothing, for a number that has lost its unit.
        let (shares, sizes) = (percent(1)..=percent(90), Size::mib(1)..=Size::gib(1024));
        Self {
            reserve: section.reserve("reserve", percent(5), shares, sizes),
            derived_max: section.size("derived_max", Size::gib(16), Size::mib(1)..=Size::gib(1024)).into(),
        }
    }
}
