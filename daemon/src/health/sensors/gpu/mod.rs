//! The GPU, by whatever tells of it: files of a Jetson's driver, NVIDIA's library, files of the kernel's other drivers.
//!
//! Architecture invariant: a GPU that sleeps is not woken, and one that would sleep if nobody asked is asked rarely.

mod drm;
mod nvidia;
mod sleep;
mod tegra;
mod worker;

use self::drm::Card;
use self::nvidia::Nvidia;
use self::tegra::Tegra;
use super::reader::Reader;
use crate::health::{GpuReading, Rail, Roots, Temperature};

/// What a GPU tells: besides what it does, its own temperatures and what it draws.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Told {
    pub(super) gpu: GpuReading,
    pub(super) temperatures: Vec<Temperature>,
    pub(super) rail: Option<Rail>,
}

/// The sensors of the first GPU that was found.
#[derive(Debug)]
pub(super) struct GpuSensors(Source);

#[derive(Debug)]
enum Source {
    None,
    /// That of a Jetson. Its temperatures are thermal zones, its power is one of the board's rails.
    Tegra(Tegra),
    Nvidia(Nvidia),
    Card(Card),
}

impl GpuSensors {
    /// Finds it.
    pub(super) fn find(roots: &Roots) -> Self {
        let tegra = Tegra::find(roots);
        // NVIDIA's library is on every Jetson, and tells next to nothing where the driver's files tell the load.
        if tegra.as_ref().is_none_or(|tegra| !tegra.tells_load())
            && let Some(nvidia) = Nvidia::find(roots)
        {
            return Self(Source::Nvidia(nvidia));
        }
        let card = || Card::find(roots).map(Source::Card);
        Self(tegra.map(Source::Tegra).or_else(card).unwrap_or(Source::None))
    }

    /// Looks for it anew. NVIDIA's library stays as it is: to load it takes seconds on some machines.
    pub(super) fn search(&mut self, roots: &Roots) {
        match &self.0 {
            Source::Nvidia(nvidia) if !nvidia.is_over() => {}
            _ => *self = Self::find(roots),
        }
    }

    /// Reads it.
    pub(super) fn read(&mut self, reader: &mut Reader) -> Option<Told> {
        match &mut self.0 {
            Source::None => None,
            Source::Tegra(tegra) => Some(Told { gpu: tegra.read(reader), ..Told::default() }),
            Source::Nvidia(nvidia) => nvidia.read(),
            Source::Card(card) => Some(card.read(reader)),
        }
    }
}

/// A share, of a number of parts.
fn share(parts: u64, whole: u16) -> Option<f32> {
    let parts = u16::try_from(parts).ok().filter(|parts| *parts <= whole)?;
    Some(f32::from(parts) / f32::from(whole))
}
