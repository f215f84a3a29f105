//! What the sensors cost: processor time of a reading, of this machine and of every board in `tests/fixtures/health`.
//!
//! At one reading a second, ten milliseconds are one percent of a core. Files of a tree cost about what those of the kernel
//! cost; what a real sensor takes besides, such as a transfer on a bus, only its own machine can tell.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for developers that prints its figures")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use promptd::health::{HealthReading, HealthSensors, Roots};

/// Readings that are measured together.
const READINGS: u32 = 500;

/// The second of processor time that the figure is a share of.
const SECOND: Duration = Duration::from_secs(1);

fn main() {
    println!(
        "{:<22} {:>7} {:>12} {:>12} {:>16}",
        "machine", "values", "CPU/reading", "time/reading", "at one a second"
    );
    measure("this machine", Roots::default());
    let trees = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/health");
    let mut folders: Vec<_> = fs::read_dir(trees).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    for folder in folders.iter().filter(|folder| folder.join("sys/class").is_dir()) {
        measure(&folder.file_name().unwrap().to_string_lossy(), Roots::under(folder));
    }
}

fn measure(name: &str, roots: Roots) {
    let mut sensors = HealthSensors::discover(roots, Path::new("/"));
    let values = count(&sensors.read());
    let (start, used) = (Instant::now(), processor_time());
    for _ in 0..READINGS {
        sensors.read();
    }
    let (time, used) = (start.elapsed() / READINGS, processor_time().saturating_sub(used) / READINGS);
    let share = used.as_secs_f64() / SECOND.as_secs_f64();
    println!("{name:<22} {values:>7} {used:>12.1?} {time:>12.1?} {:>9.3} % of a core", share * 100.0);
}

/// Processor time of this process (Documentation/scheduler/sched-stats.rst).
fn processor_time() -> Duration {
    let text = fs::read_to_string("/proc/self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn count(reading: &HealthReading) -> usize {
    let HealthReading { temperatures, throttling, rails, fans, cpu, gpu, swap, disk } = reading;
    let gpu =
        gpu.as_ref().map_or(0, |gpu| [gpu.load.is_some(), gpu.clock_hz.is_some()].iter().filter(|is| **is).count());
    let others = [cpu.clock_hz.is_some(), swap.is_some(), disk.is_some(), throttling.capped.is_some()];
    temperatures.len() + rails.len() + fans.len() + gpu + others.iter().filter(|is| **is).count()
}
