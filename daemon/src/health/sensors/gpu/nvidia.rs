//! NVIDIA's GPUs in PCs and servers, and in Jetsons from Thor on, through NVIDIA's management library.
//!
//! The library is loaded when there is a device for it, and never linked: most machines have neither. It talks to the driver
//! in ways that can take seconds or hang, so that a thread of its own does it.

use std::fs;
use std::sync::mpsc::{Receiver, SyncSender};

use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor, TemperatureThreshold};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::sleep::{May, Sleeper};
use super::worker::Worker;
use super::{Told, share};
use crate::health::{GpuReading, Rail, Room, Roots, Temperature};

/// The device through which the library talks to the driver.
const DEVICE: &str = "dev/nvidiactl";

/// What its rail and its temperature are called.
const NAME: &str = "gpu";

/// Load is told in percent.
const FULL: u16 = 100;

/// The library at work.
#[derive(Debug)]
pub(super) struct Nvidia {
    worker: Worker<Told>,
    sleeper: Option<Sleeper>,
}

impl Nvidia {
    /// Starts it where there is a device.
    pub(super) fn find(roots: &Roots) -> Option<Self> {
        if !roots.root.join(DEVICE).exists() {
            return None;
        }
        let devices = fs::read_dir(roots.sys.join("bus/pci/drivers/nvidia")).into_iter().flatten().flatten();
        // The folder holds more than devices, which are called by their place: `0000:01:00.0`.
        let places = devices.filter(|entry| entry.file_name().to_string_lossy().contains(':'));
        let first = places.min_by_key(fs::DirEntry::file_name);
        let sleeper = first.map(|entry| Sleeper::of(&entry.path()));
        Some(Self { worker: Worker::start("nvml", |asked, answer| work(&asked, &answer))?, sleeper })
    }

    /// What it told last, and asks it anew unless that would disturb its sleep.
    pub(super) fn read(&mut self) -> Option<Told> {
        let may = self.sleeper.as_mut().map_or(May::Ask, Sleeper::look);
        let told = self.worker.latest().filter(|_| may != May::Sleep);
        if may == May::Ask {
            self.worker.ask();
        }
        told
    }

    /// Whether the library has given up.
    pub(super) fn is_over(&self) -> bool {
        self.worker.is_over()
    }
}

/// Loads the library and answers with it, until the GPU is lost.
fn work(asked: &Receiver<()>, answer: &SyncSender<Told>) {
    // Loaded when it is first needed: a GPU that sleeps is not woken for it.
    let mut library = None;
    for () in asked {
        let told = match &library {
            None => Nvml::init().and_then(|nvml| tell(library.insert(nvml))),
            Some(nvml) => tell(nvml),
        };
        let is_taken = match told {
            Ok(told) => answer.send(told).is_ok(),
            Err(e) => {
                tracing::debug!("NVIDIA's library tells nothing: {e}");
                false
            }
        };
        if !is_taken {
            break;
        }
    }
}

/// What the first GPU tells. What it does not support is left out.
fn tell(nvml: &Nvml) -> Result<Told, NvmlError> {
    let device = nvml.device_by_index(0)?;
    let megahertz = |clock: Result<u32, NvmlError>| Some(u64::from(clock.ok()?) * 1_000_000);
    let gpu = GpuReading {
        name: device.name().ok(),
        load: device.utilization_rates().ok().and_then(|rates| share(rates.gpu.into(), FULL)),
        clock_hz: megahertz(device.clock_info(Clock::Graphics)),
        clock_max_hz: megahertz(device.max_clock_info(Clock::Graphics)),
        memory: device.memory_info().ok().map(|memory| Room { total: memory.total, free: memory.free }),
    };
    let watts = device.power_usage().ok().map(|milliwatts| milliwatts as f32 / 1e3);
    let rail = watts.map(|watts| Rail { name: NAME.to_owned(), watts, total: false });
    Ok(Told { gpu, temperatures: temperature(&device).into_iter().collect(), rail })
}

fn temperature(device: &Device<'_>) -> Option<Temperature> {
    let threshold = |threshold| celsius(device.temperature_threshold(threshold).ok()?);
    Some(Temperature {
        zone: NAME.to_owned(),
        celsius: celsius(device.temperature(TemperatureSensor::Gpu).ok()?)?,
        passive: threshold(TemperatureThreshold::Slowdown),
        critical: threshold(TemperatureThreshold::Shutdown),
    })
}

fn celsius(degrees: u32) -> Option<f32> {
    u8::try_from(degrees).ok().map(f32::from)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn nothing_is_loaded_without_a_device() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Nvidia::find(&Roots::under(folder.path())).is_none());
    }

    /// A node is there, and perhaps the library, but what the node is no driver made.
    #[test]
    fn a_device_without_a_driver_is_no_trouble() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("dev")).unwrap();
        fs::write(folder.path().join(DEVICE), "").unwrap();
        let mut nvidia = Nvidia::find(&Roots::under(folder.path())).unwrap();
        let end = Instant::now() + Duration::from_mins(1);
        // With a real GPU it answers, and without one it is over.
        while nvidia.read().is_none() && !nvidia.is_over() {
            assert!(Instant::now() < end);
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_gpu_that_sleeps_is_not_asked() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::under(folder.path());
        let power = roots.sys.join("bus/pci/drivers/nvidia/0000:01:00.0/power");
        fs::create_dir_all(&power).unwrap();
        fs::create_dir(folder.path().join("dev")).unwrap();
        fs::write(folder.path().join(DEVICE), "").unwrap();
        fs::write(power.join("runtime_status"), "suspended\n").unwrap();
        let mut nvidia = Nvidia::find(&roots).unwrap();
        assert!((0..100).all(|_| nvidia.read().is_none()));
        assert!(!nvidia.is_over(), "the library was not even looked for");
    }
}
