//! Heat, power, processors and disks of every board below `tests/fixtures/health`.

use std::path::Path;
use std::time::{Duration, Instant};

use super::super::*;
use super::tree::{Copy, roots};

fn read(tree: &str) -> HealthReading {
    HealthSensors::discover(roots(tree), Path::new("/")).read()
}

/// Zones as name, temperature and its two limits; -1 is none.
fn zones(reading: &HealthReading) -> Vec<(&str, f32, f32, f32)> {
    let limit = |limit: Option<f32>| limit.unwrap_or(-1.0);
    let zone = |zone: &Temperature| (zone.celsius, limit(zone.passive), limit(zone.critical));
    reading.temperatures.iter().map(|one| (one.zone.as_str(), zone(one))).map(|(n, (a, b, c))| (n, a, b, c)).collect()
}

/// Rails as name, milliwatts, and whether they are the total.
fn rails(reading: &HealthReading) -> Vec<(&str, i64, bool)> {
    #[expect(clippy::cast_possible_truncation, reason = "watts of a board")]
    let milli = |watts: f32| (watts * 1000.0).round() as i64;
    reading.rails.iter().map(|rail| (rail.name.as_str(), milli(rail.watts), rail.total)).collect()
}

fn fans(reading: &HealthReading) -> Vec<(&str, Option<u32>, Option<f32>)> {
    reading.fans.iter().map(|fan| (fan.name.as_str(), fan.rpm, fan.power)).collect()
}

fn gpu(name: &str, load: Option<f32>, clock: u64, clock_max: u64) -> GpuReading {
    let megahertz = |clock: u64| Some(clock * 10_000);
    let (clock_hz, clock_max_hz) = (megahertz(clock), megahertz(clock_max));
    GpuReading { name: Some(name.to_owned()), load, clock_hz, clock_max_hz, memory: None }
}

#[test]
fn orin_nano_with_jetpack_5() {
    let reading = read("orin-nano-jetpack5");
    let zone = |name, celsius| (name, celsius, 99.0, 104.5);
    let expected = [
        zone("cpu-therm", 48.812),
        zone("gpu-therm", 47.5),
        zone("cv0-therm", 46.031),
        zone("soc0-therm", 47.093),
        zone("tj-therm", 48.812),
    ];
    assert_eq!(zones(&reading), expected);
    // The sum of the shunts is no rail.
    let expected = [("VDD_IN", 6088, true), ("VDD_CPU_GPU_CV", 1691, false), ("VDD_SOC", 1409, false)];
    assert_eq!(rails(&reading), expected);
    assert_eq!(reading.watts().map(f32::round), Some(6.0));
    assert_eq!(reading.throttling, Throttling { has_cooling: true, over_current: Some(0), ..Throttling::default() });
    assert_eq!(reading.throttled(), Some(false), "its cooling devices are idle");
    assert_eq!(fans(&reading), [("pwmfan", None, Some(0.4)), ("pwm_tach", Some(1480), None)]);
    assert_eq!(reading.gpu, Some(gpu("ga10b", Some(0.437), 62_475, 62_475)));
    let cpu = CpuReading { load: None, clock_hz: Some(1_510_400_000), clock_max_hz: Some(1_510_400_000) };
    assert_eq!(reading.cpu, cpu);
    assert_eq!(reading.swap, Some(Room { total: 3_725_704 << 10, free: 3_725_704 << 10 }));
    assert!(reading.disk.is_some_and(|disk| disk.total > 0));
}

#[test]
fn orin_nano_with_jetpack_6_is_hot_and_throttled() {
    let reading = read("orin-nano-jetpack6");
    let hottest = reading.hottest().unwrap();
    assert_eq!((hottest.zone.as_str(), hottest.celsius, hottest.passive), ("tj-thermal", 99.125, Some(99.0)));
    assert_eq!(reading.throttling.cooling, ["thermal-cpufreq-0", "gpu-throttle-alert"]);
    assert_eq!(reading.throttling.over_current, Some(17));
    assert_eq!(reading.throttled(), Some(true));
    assert_eq!(reading.gpu, Some(gpu("gpu", Some(0.998), 102_000, 102_000)));
}

#[test]
fn orin_nx_is_idle() {
    let reading = read("orin-nx-jetpack6");
    assert_eq!(reading.gpu, Some(gpu("gpu", Some(0.0), 30_600, 91_800)));
    assert_eq!(reading.cpu.clock_max_hz, Some(1_984_000_000));
    assert_eq!(reading.throttling.cooling, Vec::<String>::new());
}

#[test]
fn agx_orin_has_no_rail_for_all() {
    let reading = read("agx-orin-jetpack6");
    let names: Vec<&str> = reading.rails.iter().map(|rail| rail.name.as_str()).collect();
    assert_eq!(names, ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"]);
    assert_eq!(reading.watts(), None);
}

#[test]
fn raspberry_pi_4_lacks_voltage_and_is_throttled() {
    let reading = read("raspberry-pi-4");
    // Once: its chip shows the same as the zone.
    assert_eq!(zones(&reading), [("cpu-thermal", 81.8, -1.0, 110.0)]);
    assert_eq!((reading.throttling.under_voltage, reading.throttling.capped), (Some(true), Some(true)));
    assert_eq!((reading.rails.len(), reading.fans.len(), &reading.gpu), (0, 0, &None));
    assert_eq!(reading.cpu.clock_hz, Some(1_500_000_000));
}

#[test]
fn raspberry_pi_5_cools_itself() {
    let reading = read("raspberry-pi-5");
    assert_eq!(zones(&reading), [("cpu-thermal", 56.2, -1.0, 110.0)]);
    let none = Throttling { under_voltage: Some(false), capped: Some(false), ..Throttling::default() };
    assert_eq!(reading.throttling, none, "a fan that turns is no throttling");
    assert_eq!(reading.throttled(), Some(false));
    assert_eq!(fans(&reading), [("pwmfan", Some(2874), Some(75.0 / 255.0))]);
}

#[test]
fn intel_pc() {
    let reading = read("x86-intel");
    // One thermometer for the package; its zone, its cores and the disk's are left out.
    assert_eq!(zones(&reading), [("acpitz", 27.8, -1.0, 119.0), ("package id 0", 54.0, 100.0, 100.0)]);
    assert_eq!(reading.throttling, Throttling { has_cooling: true, ..Throttling::default() });
    assert_eq!(fans(&reading), [("nct6798", Some(1205), Some(128.0 / 255.0)), ("nct6798 2", Some(0), Some(0.0))]);
    assert_eq!(reading.gpu, Some(gpu("i915", None, 30_000, 130_000)));
    let cpu = CpuReading { load: None, clock_hz: Some(2_100_000_000), clock_max_hz: Some(4_400_000_000) };
    assert_eq!(reading.cpu, cpu);
    assert_eq!(rails(&reading), [], "counters tell from the second reading on");
}

#[test]
fn counters_of_energy_and_time_are_compared_with_the_reading_before() {
    let tree = Copy::of("x86-intel");
    let (mut sensors, start) = (tree.sensors(), Instant::now());
    let first = sensors.read_at(start);
    assert_eq!((first.rails.len(), first.cpu.load), (0, None));
    tree.write("sys/class/powercap/intel-rapl:0/energy_uj", "31445926535\n");
    // This one goes round.
    tree.write("sys/class/powercap/intel-rapl:1/energy_uj", "8000000\n");
    tree.write("proc/stat", "cpu  84510 120 19400 905720 900 0 35 0 0 0\n");
    let second = sensors.read_at(start + Duration::from_secs(2));
    let around = (262_143_328_850 - 62_831_853_071 + 8_000_000) / 2000;
    assert_eq!(rails(&second)[1], ("package-0", 15_000, false));
    let (name, watts, total) = rails(&second)[0];
    assert_eq!((name, total), ("psys", true));
    assert!((watts - around).abs() < 100, "{watts} is not {around}");
    assert_eq!(second.cpu.load, Some(0.4));
    // Nothing has happened since.
    let third = sensors.read_at(start + Duration::from_secs(3));
    assert_eq!(third.cpu.load, None);
    assert_eq!(rails(&third), [("psys", 0, true), ("package-0", 0, false)]);
}

#[test]
fn amd_pc_with_its_own_graphics() {
    let reading = read("x86-amd");
    let expected = [
        ("acpitz", 16.8, -1.0, -1.0),
        ("tctl", 71.25, -1.0, -1.0),
        ("tccd1", 68.125, -1.0, -1.0),
        ("edge", 63.0, -1.0, -1.0),
    ];
    assert_eq!(zones(&reading), expected);
    assert_eq!(rails(&reading), [("BAT0", 0, false), ("gpu", 14_087, false)]);
    let memory = Some(Room { total: 512 << 20, free: 320 << 20 });
    assert_eq!(reading.gpu, Some(GpuReading { memory, ..gpu("amdgpu", Some(0.64), 125_000, 175_000) }));
    assert_eq!(reading.cpu.clock_hz, Some(3_400_000_000), "of the fastest");
    assert_eq!(reading.swap, None);
}

#[test]
fn a_gpu_that_sleeps_tells_nothing_but_its_name() {
    let tree = Copy::of("x86-amd");
    let mut sensors = tree.sensors();
    assert_eq!(sensors.read().gpu.and_then(|gpu| gpu.load), Some(0.64));
    tree.write("sys/class/drm/card0/device/gpu_busy_percent", "7\n");
    assert_eq!(sensors.read().gpu.and_then(|gpu| gpu.load), Some(0.64), "it is not asked again at once");
    tree.write("sys/class/drm/card0/device/power/runtime_status", "suspended\n");
    let asleep = sensors.read();
    let name = Some("amdgpu".to_owned());
    assert_eq!(asleep.gpu, Some(GpuReading { name, ..GpuReading::default() }));
    assert!(!asleep.temperatures.iter().any(|zone| zone.zone == "edge") && asleep.watts().is_none());
    tree.write("sys/class/drm/card0/device/power/control", "on\n");
    tree.write("sys/class/drm/card0/device/power/runtime_status", "active\n");
    assert_eq!(sensors.read().gpu.and_then(|gpu| gpu.load), Some(0.07));
}

#[test]
fn amd_processors_with_a_real_temperature_hide_the_one_for_fans() {
    let tree = Copy::of("x86-amd");
    tree.write("sys/class/hwmon/hwmon0/temp2_label", "Tdie\n");
    tree.write("sys/class/hwmon/hwmon0/temp2_input", "61250\n");
    let reading = tree.sensors().read();
    assert_eq!(zones(&reading)[1..3], [("tdie", 61.25, -1.0, -1.0), ("tccd1", 68.125, -1.0, -1.0)]);
}

#[test]
fn what_has_vanished_is_looked_for_anew() {
    let tree = Copy::of("x86-intel");
    let mut sensors = tree.sensors();
    let before = sensors.read();
    // Its driver was loaded again and has another number now.
    let chips = tree.path("sys/class/hwmon");
    std::fs::rename(chips.join("hwmon2"), chips.join("hwmon9")).unwrap();
    assert!(!sensors.read().temperatures.iter().any(|zone| zone.zone == "package id 0"));
    assert_eq!(sensors.read().temperatures, before.temperatures);
}

#[test]
fn what_comes_late_is_found_in_time() {
    let tree = Copy::of("raspberry-pi-4");
    let chip = tree.path("sys/class/hwmon/hwmon1");
    let away = tree.path("away");
    std::fs::rename(&chip, &away).unwrap();
    tree.write("sys/devices/platform/soc/soc:firmware/get_throttled", "0\n");
    let mut sensors = tree.sensors();
    assert_eq!(sensors.read().throttling.under_voltage, Some(false));
    std::fs::rename(&away, &chip).unwrap();
    let found = (0..1000).position(|_| sensors.read().throttling.under_voltage == Some(true));
    assert!(found.is_some_and(|readings| readings <= 300), "{found:?}");
}

#[test]
fn a_machine_full_of_sensors_makes_no_large_reading() {
    let tree = Copy::of("x86-amd");
    for number in 0..500 {
        let zone = format!("sys/class/thermal/thermal_zone{number}");
        let device = format!("sys/class/thermal/cooling_device{number}");
        let chip = format!("sys/class/hwmon/hwmon{}", number + 10);
        for (folder, files) in [
            (zone, vec![("type", "zone"), ("temp", "40000")]),
            (device, vec![("type", "device"), ("cur_state", "1")]),
            (chip, vec![("name", "chip"), ("fan1_input", "1000"), ("power1_input", "1000000")]),
        ] {
            std::fs::create_dir_all(tree.path(&folder)).unwrap();
            for (file, text) in files {
                tree.write(format!("{folder}/{file}"), text);
            }
        }
    }
    let reading = tree.sensors().read();
    let counts = (reading.temperatures.len(), reading.fans.len(), reading.throttling.cooling.len());
    // The GPU's own come on top.
    assert_eq!((counts, reading.rails.len()), ((32 + 1, 16, 64), 16 + 1));
    assert_eq!(reading.temperatures[31].zone, "zone 32");
}

#[test]
fn a_machine_that_tells_nothing_is_unknown() {
    let empty = tempfile::tempdir().unwrap();
    let missing = empty.path().join("state");
    let mut sensors = HealthSensors::discover(Roots::under(empty.path()), &missing);
    assert_eq!(sensors.read(), HealthReading::default());
    assert_eq!(sensors.read(), HealthReading::default());
}

#[test]
fn this_machine_tells_something() {
    let mut sensors = HealthSensors::discover(Roots::default(), Path::new("/"));
    let reading = sensors.read();
    assert!(reading.disk.is_some(), "{reading:?}");
    // The kernel's clock of processors ticks a hundred times a second.
    let end = Instant::now() + Duration::from_secs(20);
    while !sensors.read().cpu.load.is_some_and(|load| (0.0..=1.0).contains(&load)) {
        assert!(Instant::now() < end);
    }
}
