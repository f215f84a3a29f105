//! Heat, power, processors and disks: finds their sensors once and reads them from then on.
//!
//! Each sensor stands for itself: one that answers with an error, with nonsense or not at all is left out, and the others
//! are read as ever. How many of a kind are read is bounded, so that no machine makes a reading large.

mod chips;
mod cpu;
mod fans;
mod gpu;
mod heat;
mod listing;
mod power;
mod reader;
mod space;
mod throttling;

use std::path::{Path, PathBuf};
use std::time::Instant;

use self::chips::Chip;
use self::cpu::{Clocks, CpuTimes};
use self::fans::FanFiles;
use self::gpu::GpuSensors;
use self::heat::Thermometer;
use self::power::{EnergyBefore, RailMeter};
use self::reader::Reader;
use self::throttling::Brakes;
use super::{HealthReading, Roots};

/// Readings after which everything is looked for anew: drivers may be loaded late. Five minutes, at one reading a second.
const SEARCH_EVERY: u32 = 300;

/// The sensors.
#[derive(Debug)]
pub struct HealthSensors {
    roots: Roots,
    state_dir: PathBuf,
    files: Files,
    gpu: GpuSensors,
    cpu_before: Option<CpuTimes>,
    energy_before: EnergyBefore,
    /// Readings until everything is looked for anew.
    until_search: u32,
}

/// Where the files of all sensors are.
#[derive(Debug)]
struct Files {
    thermometers: Vec<Thermometer>,
    brakes: Brakes,
    rails: Vec<RailMeter>,
    fans: Vec<FanFiles>,
    clocks: Clocks,
}

impl Files {
    fn find(roots: &Roots) -> Self {
        let chips = Chip::all(roots);
        Self {
            thermometers: Thermometer::all(roots, &chips),
            brakes: Brakes::find(roots, &chips),
            rails: RailMeter::all(roots, &chips),
            fans: FanFiles::all(&chips),
            clocks: Clocks::find(roots),
        }
    }
}

impl HealthSensors {
    /// Finds the sensors, and the file system with the state folder. It never fails: what isn't there is unknown in each
    /// reading.
    pub fn discover(roots: Roots, state_dir: &Path) -> Self {
        Self {
            files: Files::find(&roots),
            gpu: GpuSensors::find(&roots),
            roots,
            state_dir: state_dir.to_owned(),
            cpu_before: None,
            energy_before: EnergyBefore::default(),
            until_search: SEARCH_EVERY,
        }
    }

    /// Reads everything. The load of the processor and what counters of energy tell are those since the reading before.
    ///
    /// Takes well below a millisecond of a processor, but longer on the clock where sensors lie behind a slow bus, as those
    /// of a Jetson's rails do.
    pub fn read(&mut self) -> HealthReading {
        self.read_at(Instant::now())
    }

    /// The same at a given time, for tests.
    pub(super) fn read_at(&mut self, now: Instant) -> HealthReading {
        if self.until_search == 0 {
            self.search();
        }
        let mut reader = Reader::default();
        let files = &self.files;
        let mut reading = HealthReading {
            temperatures: files.thermometers.iter().filter_map(|thermometer| thermometer.read(&mut reader)).collect(),
            throttling: files.brakes.read(&mut reader),
            rails: RailMeter::read_all(&files.rails, &mut reader, &mut self.energy_before, now),
            fans: files.fans.iter().filter_map(|fan| fan.read(&mut reader)).collect(),
            cpu: files.clocks.read(&mut reader, &self.roots, &mut self.cpu_before),
            gpu: None,
            swap: space::swap(&self.roots),
            disk: space::disk(&self.state_dir),
        };
        if let Some(told) = self.gpu.read(&mut reader) {
            reading.temperatures.extend(told.temperatures);
            reading.rails.extend(told.rail);
            reading.gpu = Some(told.gpu);
        }
        self.until_search = if reader.has_missed() { 0 } else { self.until_search.saturating_sub(1) };
        reading
    }

    fn search(&mut self) {
        self.files = Files::find(&self.roots);
        self.gpu.search(&self.roots);
        self.until_search = SEARCH_EVERY;
    }
}
