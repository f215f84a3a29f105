//! Temperatures: the kernel's thermal zones, and on PCs the chips in processors.

use std::path::{Path, PathBuf};

use super::super::file::{signed, text};
use super::super::{Roots, Temperature};
use super::chips::Chip;
use super::listing::{existing, name, numbered, tell_apart};
use super::reader::Reader;

/// Most thermometers that are read.
const THERMOMETERS_MAX: usize = 32;

/// Drivers of the thermometers in processors: Intel's, AMD's two, VIA's. What they show is in no thermal zone, or without
/// its limits.
const PROCESSORS: [&str; 4] = ["coretemp", "k10temp", "zenpower", "via_cputemp"];

/// What Intel's thermal zone and its chip both show.
const PACKAGE_ZONE: &str = "x86_pkg_temp";

/// The least that is taken for a limit, degrees Celsius: what people touch may be kept this cool.
const LIMIT_MIN: f32 = 40.0;

/// A thermometer.
#[derive(Debug, Clone)]
pub(super) struct Thermometer {
    zone: String,
    input: PathBuf,
    passive: Option<f32>,
    critical: Option<f32>,
}

impl Thermometer {
    /// Finds all of them, and what limits they have.
    pub(super) fn all(roots: &Roots, chips: &[Chip]) -> Vec<Self> {
        let zones = numbered(&roots.sys.join("class/thermal"), "thermal_zone", "");
        let twice = chips.iter().any(|chip| chip.name == "coretemp");
        let zones = zones.into_iter().filter_map(|(_, folder)| Self::of_zone(&folder));
        let zones = zones.filter(|zone| !(twice && zone.zone == PACKAGE_ZONE));
        let processors = chips.iter().filter(|chip| PROCESSORS.contains(&chip.name.as_str()));
        let mut found: Vec<Self> =
            zones.chain(processors.flat_map(Self::of_processor)).take(THERMOMETERS_MAX).collect();
        tell_apart(found.iter_mut().map(Self::zone_mut));
        found
    }

    fn of_zone(folder: &Path) -> Option<Self> {
        let zone = name(&folder.join("type"))?.to_lowercase();
        let input = existing(folder.join("temp"))?;
        let limit = |kind: &str| {
            let trips = numbered(folder, "trip_point_", "_type");
            let trips = trips.iter().filter(|(_, path)| text(path).is_some_and(|text| text.trim() == kind));
            let limits = trips.filter_map(|(number, _)| limit(&folder.join(format!("trip_point_{number}_temp"))));
            limits.reduce(f32::min)
        };
        Some(Self { zone, input, passive: limit("passive"), critical: limit("critical") })
    }

    /// The thermometers of a processor. Of Intel's the one for all its cores is enough: to read the others wakes each core.
    /// AMD's `Tctl` is made for its fan and lies above the temperature on some models; those have `Tdie` besides.
    fn of_processor(chip: &Chip) -> Vec<Self> {
        let inputs = numbered(&chip.folder, "temp", "_input");
        let mut found: Vec<Self> =
            inputs.into_iter().map(|(number, input)| Self::of_input(chip, number, input)).collect();
        if found.iter().any(Self::is_package) {
            found.retain(Self::is_package);
        }
        if found.iter().any(|thermometer| thermometer.zone == "tdie") {
            found.retain(|thermometer| thermometer.zone != "tctl");
        }
        found
    }

    /// One input of a chip.
    pub(super) fn of_input(chip: &Chip, number: u32, input: PathBuf) -> Self {
        let value = format!("temp{number}");
        Self {
            zone: chip.label(&value).to_lowercase(),
            input,
            passive: limit(&chip.file(&format!("{value}_max"))),
            critical: limit(&chip.file(&format!("{value}_crit"))),
        }
    }

    /// Its name, to tell it from others.
    pub(super) fn zone_mut(&mut self) -> &mut String {
        &mut self.zone
    }

    fn is_package(&self) -> bool {
        self.zone.starts_with("package id")
    }

    /// Reads it.
    pub(super) fn read(&self, reader: &mut Reader) -> Option<Temperature> {
        let celsius = celsius(reader.signed(&self.input)?)?;
        Some(Temperature { zone: self.zone.clone(), celsius, passive: self.passive, critical: self.critical })
    }
}

/// Degrees, of thousandths. Drivers tell of sensors that are off or broken with numbers that no computer survives.
pub(super) fn celsius(millis: i64) -> Option<f32> {
    (-100_000..=200_000).contains(&millis).then_some(millis as f32 / 1000.0)
}

/// A limit. Firmware writes zero or less where there is none, and some makes up zones with limits at which no computer
/// would ever run.
fn limit(path: &Path) -> Option<f32> {
    celsius(signed(&text(path)?)?).filter(|celsius| *celsius >= LIMIT_MIN)
}
