//! Whether the hardware holds itself back.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::{Roots, Throttling};
use super::chips::Chip;
use super::listing::{existing, name, numbered, tell_apart};
use super::reader::Reader;

/// Most cooling devices that are asked.
const DEVICES_MAX: usize = 64;

/// Cooling devices that tell nothing of computing: fans of all sorts, the brightness of displays, radios, batteries, and a
/// setting of Intel's that firmware may leave on for ever.
const OTHERS: [&str; 7] = ["fan", "lcd", "backlight", "wifi", "charger", "battery", "tcc offset"];

/// `get_throttled` of the Raspberry Pi's firmware: too little voltage now.
const UNDER_VOLTAGE: u64 = 1 << 0;
/// The clock is capped, or the processor throttled, or the soft limit of temperature reached, now. Bits from 16 on say the
/// same of the time since boot.
const CAPPED: u64 = 1 << 1 | 1 << 2 | 1 << 3;

/// Files that tell of it.
#[derive(Debug, Default)]
pub(super) struct Brakes {
    /// Names and states of cooling devices.
    cooling: Vec<(String, PathBuf)>,
    /// Counters of over-current events (Jetson).
    over_current: Vec<PathBuf>,
    /// `get_throttled` (Raspberry Pi).
    firmware: Option<PathBuf>,
    /// The alarm for too little voltage (Raspberry Pi); the firmware is asked for it every two seconds.
    alarm: Option<PathBuf>,
}

impl Brakes {
    /// Finds them.
    pub(super) fn find(roots: &Roots, chips: &[Chip]) -> Self {
        let devices = numbered(&roots.sys.join("class/thermal"), "cooling_device", "");
        let devices = devices.into_iter().filter_map(|(_, folder)| Some((name(&folder.join("type"))?, folder)));
        let computing = devices.filter(|(name, _)| {
            let name = name.to_lowercase();
            !OTHERS.iter().any(|other| name.contains(other))
        });
        let states = computing.filter_map(|(name, folder)| Some((name, existing(folder.join("cur_state"))?)));
        let mut cooling: Vec<_> = states.take(DEVICES_MAX).collect();
        tell_apart(cooling.iter_mut().map(|(name, _)| name));
        let counters = chips.iter().flat_map(|chip| numbered(&chip.folder, "oc", "_event_cnt"));
        let alarm = chips.iter().find(|chip| chip.name == "rpi_volt").map(|chip| chip.file("in0_lcrit_alarm"));
        Self {
            cooling,
            over_current: counters.map(|(_, path)| path).collect(),
            firmware: firmware(roots),
            alarm: alarm.and_then(existing),
        }
    }

    /// Reads them.
    pub(super) fn read(&self, reader: &mut Reader) -> Throttling {
        let active = self.cooling.iter().filter(|(_, state)| reader.signed(state).is_some_and(|state| state > 0));
        let cooling = active.map(|(name, _)| name.clone()).collect();
        // A sum that lacks one of its counters would seem to fall.
        let counters: Option<Vec<u64>> = self.over_current.iter().map(|path| reader.number(path)).collect();
        let bits = self.firmware.as_ref().and_then(|path| hexadecimal(&reader.text(path)?));
        let alarm = self.alarm.as_ref().and_then(|path| Some(reader.number(path)? != 0));
        let low = bits.map(|bits| bits & UNDER_VOLTAGE != 0);
        Throttling {
            cooling,
            has_cooling: !self.cooling.is_empty(),
            under_voltage: [low, alarm].into_iter().flatten().reduce(|a, b| a || b),
            capped: bits.map(|bits| bits & CAPPED != 0),
            over_current: counters
                .filter(|counters| !counters.is_empty())
                .map(|counters| counters.iter().fold(0, |sum: u64, count| sum.saturating_add(*count))),
        }
    }
}

/// Where the Raspberry Pi's firmware answers: below `soc` up to the Raspberry Pi 4, below `soc@107c000000` on the 5.
fn firmware(roots: &Roots) -> Option<PathBuf> {
    let socs = entries(&roots.sys.join("devices/platform"), |name| name.starts_with("soc"));
    let mut firmwares = socs.iter().flat_map(|soc| entries(soc, |name| name.ends_with(":firmware")));
    firmwares.find_map(|firmware| existing(firmware.join("get_throttled")))
}

fn entries(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(&wanted)).map(|entry| entry.path()).collect()
}

/// A hexadecimal number, which the firmware's driver writes without `0x`.
fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text.trim_ascii();
    // `from_str_radix` would take a sign.
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_firmware_writes_hexadecimal_numbers() {
        assert_eq!(hexadecimal("50005\n"), Some(0x50005));
        for wrong in ["", "0x1", "-1", "+1", "g", "1 2"] {
            assert_eq!(hexadecimal(wrong), None, "{wrong:?}");
        }
    }
}
