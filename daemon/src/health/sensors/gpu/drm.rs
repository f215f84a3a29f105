//! GPUs of the kernel's own drivers: AMD's tells load, clock, memory, temperature and power, Intel's its clock.

use std::path::{Path, PathBuf};

use super::super::chips::Chip;
use super::super::heat::Thermometer;
use super::super::listing::{existing, name, numbered, tell_apart};
use super::super::reader::Reader;
use super::sleep::{May, Sleeper};
use super::{Told, share};
use crate::health::file::{number, text};
use crate::health::{GpuReading, Rail, Room, Roots, Temperature};

/// Load is told in percent.
const FULL: u16 = 100;

/// Most thermometers of a card that are read; AMD's have three.
const THERMOMETERS_MAX: usize = 8;

const MEGAHERTZ: u64 = 1_000_000;

/// What the rail of a GPU is called.
const RAIL: &str = "gpu";

/// Folders and names of Intel's clocks, now and at most, in MHz: of i915, of its older versions, and of xe.
const INTEL_CLOCKS: [(&str, &str, &str); 3] = [
    ("gt/gt0", "rps_act_freq_mhz", "rps_RP0_freq_mhz"),
    ("", "gt_act_freq_mhz", "gt_RP0_freq_mhz"),
    ("device/tile0/gt0/freq0", "act_freq", "rp0_freq"),
];

/// A card.
#[derive(Debug)]
pub(super) struct Card {
    sleeper: Sleeper,
    driver: Option<String>,
    load: Option<PathBuf>,
    clock: Option<Clock>,
    clock_max_hz: Option<u64>,
    memory: Option<Memory>,
    thermometers: Vec<Thermometer>,
    power: Option<PathBuf>,
    last: Told,
}

#[derive(Debug)]
struct Clock {
    path: PathBuf,
    /// Hz for each one that is told.
    unit: u64,
    /// Tells the highest one, in MHz: alone, or in a list of steps such as `1: 1600Mhz *`.
    most: PathBuf,
}

#[derive(Debug)]
struct Memory {
    total: PathBuf,
    used: PathBuf,
}

impl Card {
    /// The first one that tells its load or its clock.
    pub(super) fn find(roots: &Roots) -> Option<Self> {
        let cards = numbered(&roots.sys.join("class/drm"), "card", "");
        cards.into_iter().find_map(|(_, folder)| Self::of(&folder))
    }

    fn of(folder: &Path) -> Option<Self> {
        let device = folder.join("device");
        let chip = numbered(&device.join("hwmon"), "hwmon", "").into_iter().next();
        let chip = chip.and_then(|(_, folder)| Some(Chip { name: name(&folder.join("name"))?, folder }));
        let clock = Clock::intel(folder).or_else(|| Clock::amd(&device, chip.as_ref()?));
        let load = existing(device.join("gpu_busy_percent"));
        if load.is_none() && clock.is_none() {
            return None;
        }
        let memory = |name: &str| existing(device.join(name));
        let memory = memory("mem_info_vram_total").zip(memory("mem_info_vram_used"));
        let inputs = chip.iter().flat_map(|chip| {
            let inputs = numbered(&chip.folder, "temp", "_input");
            inputs.into_iter().map(|(number, input)| Thermometer::of_input(chip, number, input))
        });
        let mut thermometers: Vec<Thermometer> = inputs.take(THERMOMETERS_MAX).collect();
        tell_apart(thermometers.iter_mut().map(Thermometer::zone_mut));
        let power = |name: &str| chip.as_ref().and_then(|chip| existing(chip.file(name)));
        Some(Self {
            sleeper: Sleeper::of(&device),
            driver: driver(&device),
            load,
            clock,
            clock_max_hz: None,
            memory: memory.map(|(total, used)| Memory { total, used }),
            thermometers,
            power: power("power1_input").or_else(|| power("power1_average")),
            last: Told::default(),
        })
    }

    /// Reads it, unless that would disturb its sleep.
    pub(super) fn read(&mut self, reader: &mut Reader) -> Told {
        match self.sleeper.look() {
            May::Ask => self.last = self.ask(reader),
            May::Repeat => {}
            May::Sleep => {
                let gpu = GpuReading { name: self.driver.clone(), ..GpuReading::default() };
                self.last = Told { gpu, ..Told::default() };
            }
        }
        self.last.clone()
    }

    fn ask(&mut self, reader: &mut Reader) -> Told {
        let clock = self.clock.as_ref().and_then(|clock| reader.number(&clock.path)?.checked_mul(clock.unit));
        // It does not change; and it is asked for only now, because that would have woken the card when it was found.
        self.clock_max_hz = self.clock_max_hz.or_else(|| self.clock.as_ref()?.highest());
        let gpu = GpuReading {
            name: self.driver.clone(),
            load: self.load.as_ref().and_then(|path| share(reader.number(path)?, FULL)),
            clock_hz: clock.filter(|hertz| *hertz > 0),
            clock_max_hz: self.clock_max_hz,
            memory: self.memory.as_ref().and_then(|memory| memory.read(reader)),
        };
        let watts = self.power.as_ref().and_then(|path| Some(reader.number(path)? as f32 / 1e6));
        let temperatures: Vec<Temperature> = self.thermometers.iter().filter_map(|one| one.read(reader)).collect();
        Told { gpu, temperatures, rail: watts.map(|watts| Rail { name: RAIL.to_owned(), watts, total: false }) }
    }
}

impl Memory {
    fn read(&self, reader: &mut Reader) -> Option<Room> {
        let (total, used) = (reader.number(&self.total)?, reader.number(&self.used)?);
        Some(Room { total, free: total.checked_sub(used)? })
    }
}

impl Clock {
    fn intel(card: &Path) -> Option<Self> {
        INTEL_CLOCKS.iter().find_map(|(folder, now, most)| {
            let folder = card.join(folder);
            Some(Self { path: existing(folder.join(now))?, unit: MEGAHERTZ, most: folder.join(most) })
        })
    }

    /// Documentation/gpu/amdgpu/thermal.rst: the chip's first frequency is that of the shaders, in Hz.
    fn amd(device: &Path, chip: &Chip) -> Option<Self> {
        Some(Self { path: existing(chip.file("freq1_input"))?, unit: 1, most: device.join("pp_dpm_sclk") })
    }

    fn highest(&self) -> Option<u64> {
        let told = text(&self.most)?;
        let step = |line: &str| number(line.split_ascii_whitespace().nth(1)?.strip_suffix("Mhz")?);
        let megahertz = number(&told).or_else(|| told.lines().filter_map(step).max())?;
        megahertz.checked_mul(MEGAHERTZ).filter(|hertz| *hertz > 0)
    }
}

/// `amdgpu` of `DRIVER=amdgpu`.
fn driver(device: &Path) -> Option<String> {
    text(&device.join("uevent"))?.lines().find_map(|line| Some(line.strip_prefix("DRIVER=")?.to_owned()))
}
