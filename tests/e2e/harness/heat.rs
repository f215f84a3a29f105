//! A machine that is as hot as a test says: the kernel's files as they are, but with a thermal zone of our own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

use super::Setup;

/// What the zone is called.
pub const ZONE: &str = "cpu-thermal";

/// The tree with the zone.
pub struct Heat {
    folder: TempDir,
}

impl Heat {
    /// A zone at this temperature, with its passive and critical trip points; degrees Celsius.
    pub fn new(celsius: f32, passive: f32, critical: f32) -> Self {
        let heat = Self::without_trips(celsius);
        for (number, kind, celsius) in [(0, "passive", passive), (1, "critical", critical)] {
            fs::write(heat.zone().join(format!("trip_point_{number}_type")), kind).unwrap();
            fs::write(heat.zone().join(format!("trip_point_{number}_temp")), millis(celsius)).unwrap();
        }
        heat
    }

    /// A zone that names no limits.
    pub fn without_trips(celsius: f32) -> Self {
        let heat = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(heat.zone()).unwrap();
        for real in ["proc", "sys/fs"] {
            symlink(format!("/{real}"), heat.folder.path().join(real)).unwrap();
        }
        fs::write(heat.zone().join("type"), ZONE).unwrap();
        heat.set(celsius);
        heat
    }

    /// Makes it as hot as this.
    pub fn set(&self, celsius: f32) {
        // A reader sees the old number or the new one.
        let fresh = self.zone().join("fresh");
        fs::write(&fresh, millis(celsius)).unwrap();
        fs::rename(fresh, self.zone().join("temp")).unwrap();
    }

    /// How hot it is.
    pub fn celsius(&self) -> f64 {
        fs::read_to_string(self.zone().join("temp")).unwrap().trim().parse::<f64>().unwrap() / 1000.0
    }

    /// The whole board draws this, watts, by a monitor as Jetsons have one.
    pub fn draws(&self, watts: f32) {
        let monitor = self.folder.path().join("sys/class/hwmon/hwmon0");
        fs::create_dir_all(&monitor).unwrap();
        // At 5 V.
        let milliamperes = format!("{:.0}\n", watts * 200.0);
        for (file, text) in
            [("name", "ina3221"), ("in1_label", "VDD_IN"), ("in1_input", "5000"), ("curr1_input", &milliamperes)]
        {
            fs::write(monitor.join(file), text).unwrap();
        }
    }

    /// A time server has set the clock.
    pub fn sets_the_clock(&self) {
        let folder = self.folder.path().join("run/systemd/timesync");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("synchronized"), "").unwrap();
    }

    /// A node on this machine.
    pub fn setup(&self, setup: Setup) -> Setup {
        let root = ("PROMPTD_SENSORS_ROOT", self.folder.path().display().to_string());
        Setup { environment: vec![root], ..setup }
    }

    fn zone(&self) -> PathBuf {
        self.folder.path().join("sys/class/thermal/thermal_zone0")
    }
}

fn millis(celsius: f32) -> String {
    format!("{:.0}\n", celsius * 1000.0)
}
