//! Power of rails: monitors on the board, chips that measure watts, and counters of energy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::file::{number, text};
use super::super::{Rail, Roots};
use super::chips::Chip;
use super::listing::{existing, name, numbered, tell_apart};
use super::reader::Reader;

/// Most rails that are read.
const RAILS_MAX: usize = 16;

/// Monitors of voltage and current on three rails (Documentation/hwmon/ina3221.rst): all Jetsons have them.
const MONITOR: &str = "ina3221";

/// What such a monitor calls a rail that is not connected.
const NOT_CONNECTED: &str = "NC";

/// Rails and meters through which everything goes that the board draws: of Jetson modules, of the older Jetson Nano, of Intel
/// platforms, of servers that measure at their power supplies.
const TOTALS: [&str; 4] = ["VDD_IN", "POM_5V_IN", "psys", "power_meter"];

/// More than any machine draws, in watts.
const WATTS_MAX: f32 = 100_000.0;

/// A rail and how it is measured.
#[derive(Debug, Clone)]
pub(super) struct RailMeter {
    name: String,
    meter: Meter,
}

#[derive(Debug, Clone)]
enum Meter {
    /// Millivolts and milliamperes.
    Product { millivolts: PathBuf, milliamperes: PathBuf },
    /// Microwatts.
    Power(PathBuf),
    /// Microjoules, counted up to a number and then from zero again.
    Energy { microjoules: PathBuf, wraps_at: Option<u64> },
}

/// What counters of energy said last, and when, by their files.
#[derive(Debug, Default)]
pub(super) struct EnergyBefore(BTreeMap<PathBuf, (u64, Instant)>);

impl RailMeter {
    /// Finds them all, those for the whole board first.
    pub(super) fn all(roots: &Roots, chips: &[Chip]) -> Vec<Self> {
        let monitors = chips.iter().filter(|chip| chip.name == MONITOR).flat_map(Self::of_monitor);
        let meters = chips.iter().flat_map(Self::of_chip);
        // Only whole zones: those below them, `intel-rapl:0:0`, are parts.
        let zones = numbered(&roots.sys.join("class/powercap"), "intel-rapl:", "");
        let counters = zones.into_iter().filter_map(|(_, folder)| Self::of_counter(&folder));
        let mut found: Vec<Self> = monitors.chain(meters).chain(counters).collect();
        found.sort_by_key(|rail| !rail.is_total());
        found.truncate(RAILS_MAX);
        tell_apart(found.iter_mut().map(|rail| &mut rail.name));
        found
    }

    /// The labelled channels. One without is the sum of the others' shunts.
    fn of_monitor(chip: &Chip) -> Vec<Self> {
        let channel = |(number, label): (u32, PathBuf)| {
            let name = name(&label).filter(|name| name != NOT_CONNECTED)?;
            let millivolts = existing(chip.file(&format!("in{number}_input")))?;
            let milliamperes = existing(chip.file(&format!("curr{number}_input")))?;
            Some(Self { name, meter: Meter::Product { millivolts, milliamperes } })
        };
        numbered(&chip.folder, "in", "_label").into_iter().filter_map(channel).collect()
    }

    fn of_chip(chip: &Chip) -> Vec<Self> {
        let inputs = ["_input", "_average"].map(|suffix| numbered(&chip.folder, "power", suffix));
        // Whoever has both measures one thing.
        let [now, average] = inputs;
        let inputs = if now.is_empty() { average } else { now };
        let rail = |(number, path)| Self { name: chip.label(&format!("power{number}")), meter: Meter::Power(path) };
        inputs.into_iter().map(rail).collect()
    }

    /// Documentation/power/powercap/powercap.rst. Most kernels let only root read it.
    fn of_counter(folder: &Path) -> Option<Self> {
        let wraps_at = number(&text(&folder.join("max_energy_range_uj")).unwrap_or_default());
        let meter = Meter::Energy { microjoules: existing(folder.join("energy_uj"))?, wraps_at };
        Some(Self { name: name(&folder.join("name"))?, meter })
    }

    fn is_total(&self) -> bool {
        TOTALS.contains(&self.name.as_str())
    }

    /// Reads all. A counter tells only from the second reading on.
    pub(super) fn read_all(rails: &[Self], reader: &mut Reader, before: &mut EnergyBefore, now: Instant) -> Vec<Rail> {
        let last = std::mem::take(&mut before.0);
        let mut read = |rail: &Self| {
            let watts = match &rail.meter {
                Meter::Product { millivolts, milliamperes } => {
                    reader.signed(millivolts)? as f32 * reader.signed(milliamperes)? as f32 / 1e6
                }
                Meter::Power(microwatts) => reader.signed(microwatts)? as f32 / 1e6,
                Meter::Energy { microjoules, wraps_at } => {
                    let count = reader.number(microjoules)?;
                    before.0.insert(microjoules.clone(), (count, now));
                    let (earlier, at) = last.get(microjoules)?;
                    watts(*earlier, count, *wraps_at, now.saturating_duration_since(*at))?
                }
            };
            let plausible = (-WATTS_MAX..=WATTS_MAX).contains(&watts);
            plausible.then(|| Rail { name: rail.name.clone(), watts, total: rail.is_total() })
        };
        rails.iter().filter_map(&mut read).collect()
    }
}

/// Mean power between two counts in microjoules.
fn watts(before: u64, after: u64, wraps_at: Option<u64>, time: Duration) -> Option<f32> {
    let energy = match after.checked_sub(before) {
        Some(energy) => energy,
        // Whether it went round more than once can't be told; at one reading a second it takes kilowatts for that.
        None => wraps_at?.checked_sub(before)?.checked_add(after)?,
    };
    (!time.is_zero()).then(|| energy as f32 / 1e6 / time.as_secs_f32())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn energy_over_time_is_power() {
        assert_eq!(watts(1_000_000, 16_000_000, None, SECOND), Some(15.0));
        assert_eq!(watts(1_000_000, 16_000_000, None, 2 * SECOND), Some(7.5));
        assert_eq!(watts(5, 5, None, SECOND), Some(0.0), "nothing was drawn, as far as the counter tells");
        assert_eq!(watts(5, 6, None, Duration::ZERO), None);
    }

    #[test]
    fn a_counter_that_went_round_goes_on() {
        assert_eq!(watts(9_000_000, 1_000_000, Some(10_000_000), SECOND), Some(2.0));
        assert_eq!(watts(9_000_000, 1_000_000, None, SECOND), None, "it can't be told");
        assert_eq!(watts(9_000_000, 1_000_000, Some(8_000_000), SECOND), None, "above its own range");
        assert_eq!(watts(0, u64::MAX, Some(u64::MAX), SECOND), Some(u64::MAX as f32 / 1e6));
    }
}
