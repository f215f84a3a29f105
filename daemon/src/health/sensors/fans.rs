//! Fans.

use std::path::PathBuf;

use super::super::Fan;
use super::chips::Chip;
use super::listing::{existing, numbered, tell_apart};
use super::reader::Reader;

/// Most fans that are read.
const FANS_MAX: usize = 16;

/// Full power, in steps of `pwmN` (Documentation/hwmon/sysfs-interface.rst).
const FULL: f32 = 255.0;

/// Where a fan tells its speed and its power.
#[derive(Debug, Clone)]
pub(super) struct FanFiles {
    name: String,
    rpm: Option<PathBuf>,
    power: Option<PathBuf>,
}

impl FanFiles {
    /// Finds them all.
    pub(super) fn all(chips: &[Chip]) -> Vec<Self> {
        let mut found: Vec<Self> = chips.iter().flat_map(Self::of_chip).take(FANS_MAX).collect();
        tell_apart(found.iter_mut().map(|fan| &mut fan.name));
        found
    }

    fn of_chip(chip: &Chip) -> Vec<Self> {
        let (speeds, powers) = (numbered(&chip.folder, "fan", "_input"), numbered(&chip.folder, "pwm", ""));
        let mut numbers: Vec<u32> = speeds.iter().chain(&powers).map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let of = |files: &[(u32, PathBuf)], number| files.iter().find(|(other, _)| *other == number).cloned();
        let fan = |number: u32| Self {
            name: chip.label(&format!("fan{number}")),
            rpm: of(&speeds, number).map(|(_, path)| path),
            power: of(&powers, number).map(|(_, path)| path),
        };
        // The tachometer of a Jetson's fan is a chip of its own.
        let tachometer =
            existing(chip.file("rpm")).map(|path| Self { name: chip.name.clone(), rpm: Some(path), power: None });
        numbers.into_iter().map(fan).chain(tachometer).collect()
    }

    /// Reads it; none if it says nothing.
    pub(super) fn read(&self, reader: &mut Reader) -> Option<Fan> {
        let rpm = self.rpm.as_ref().and_then(|path| u32::try_from(reader.number(path)?).ok());
        let power = self.power.as_ref().and_then(|path| share(reader.number(path)?));
        (rpm.is_some() || power.is_some()).then(|| Fan { name: self.name.clone(), rpm, power })
    }
}

fn share(steps: u64) -> Option<f32> {
    let share = steps as f32 / FULL;
    (0.0..=1.0).contains(&share).then_some(share)
}
