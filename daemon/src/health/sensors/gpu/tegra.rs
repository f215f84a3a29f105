//! The GPU of a Jetson, through the files of its driver.

use std::fs;
use std::path::PathBuf;

use super::super::listing::{existing, name};
use super::super::reader::Reader;
use super::share;
use crate::health::file::{number, text};
use crate::health::{GpuReading, Roots};

/// What device trees call it, by the chip in some and plainly in newer ones: TX2, Xavier, Orin, Thor.
const NAMES: [&str; 5] = ["gp10b", "gv11b", "ga10b", "gb10b", "gpu"];

/// Load is told in thousandths.
const FULL: u16 = 1000;

/// Its files.
#[derive(Debug)]
pub(super) struct Tegra {
    name: String,
    load: Option<PathBuf>,
    clock: Option<PathBuf>,
    clock_max_hz: Option<u64>,
}

impl Tegra {
    /// Finds it among the devices whose clock the kernel scales.
    pub(super) fn find(roots: &Roots) -> Option<Self> {
        let devices = fs::read_dir(roots.sys.join("class/devfreq")).into_iter().flatten().flatten();
        devices.map(|entry| entry.path()).find_map(|folder| {
            let name = name(&folder.join("device/of_node/name")).filter(|name| NAMES.contains(&name.as_str()))?;
            let load = existing(folder.join("device/load"));
            let clock_max_hz = text(&folder.join("max_freq")).and_then(|text| number(&text)).filter(|hertz| *hertz > 0);
            Some(Self { name, load, clock: existing(folder.join("cur_freq")), clock_max_hz })
        })
    }

    /// Whether it tells its load. Up to Orin it does; from Thor on NVIDIA's library tells it.
    pub(super) fn tells_load(&self) -> bool {
        self.load.is_some()
    }

    /// Reads it. To ask does not wake it: asleep, its driver answers with no load.
    pub(super) fn read(&self, reader: &mut Reader) -> GpuReading {
        GpuReading {
            name: Some(self.name.clone()),
            load: self.load.as_ref().and_then(|path| share(reader.number(path)?, FULL)),
            clock_hz: self.clock.as_ref().and_then(|path| reader.number(path)).filter(|hertz| *hertz > 0),
            clock_max_hz: self.clock_max_hz,
            // It has none of its own.
            memory: None,
        }
    }
}
