//! Whatever happens to a file, nothing panics, and only what it tells is lost.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::super::*;
use super::tree::{BOARDS, Copy};

/// What can be wrong with a file.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Missing,
    Empty,
    Garbage,
    /// It is there and each reading fails, as with EAGAIN; so does that of a folder, for any user.
    Unreadable,
}

const FAULTS: [Fault; 4] = [Fault::Missing, Fault::Empty, Fault::Garbage, Fault::Unreadable];

impl Fault {
    fn befall(self, file: &Path) {
        fs::remove_file(file).unwrap();
        match self {
            Self::Missing => {}
            Self::Empty => fs::write(file, "").unwrap(),
            Self::Garbage => fs::write(file, b"\xff-1e9\0\n7").unwrap(),
            Self::Unreadable => fs::create_dir(file).unwrap(),
        }
    }

    fn pass(self, file: &Path, content: &[u8]) {
        if matches!(self, Self::Unreadable) {
            fs::remove_dir(file).unwrap();
        }
        fs::write(file, content).unwrap();
    }
}

/// Everything that a reading says, one line each. A sensor is one line; what the file of another may hide comes apart.
fn said(reading: &HealthReading) -> BTreeSet<String> {
    let HealthReading { temperatures, throttling, rails, fans, cpu, gpu, swap, disk: _ } = reading;
    let zones = temperatures.iter().map(|zone| format!("{} {}", zone.zone, zone.celsius));
    let limits = temperatures.iter().flat_map(|zone| {
        let limit = |kind: &str, limit: Option<f32>| limit.map(|limit| format!("{} {kind} {limit}", zone.zone));
        [limit("passive", zone.passive), limit("critical", zone.critical)].into_iter().flatten()
    });
    let Throttling { cooling, under_voltage, capped, over_current, .. } = throttling;
    let gpu = gpu.iter().flat_map(|gpu| {
        let GpuReading { name, load, clock_hz, clock_max_hz, memory } = gpu;
        [
            told("gpu", name.as_ref()),
            told("load", load.as_ref()),
            told("clock", clock_hz.as_ref()),
            told("max", clock_max_hz.as_ref()),
            told("vram", memory.as_ref()),
        ]
    });
    let others = [
        told("voltage", under_voltage.as_ref()),
        told("capped", capped.as_ref()),
        told("current", over_current.as_ref()),
        told("cpu", cpu.clock_hz.as_ref()),
        told("cpu max", cpu.clock_max_hz.as_ref()),
        told("swap", swap.as_ref()),
    ];
    zones
        .chain(limits)
        .chain(cooling.iter().cloned())
        .chain(rails.iter().map(|rail| format!("{} {} {}", rail.name, rail.watts, rail.total)))
        .chain(fans.iter().flat_map(|fan| {
            [told(&fan.name, fan.rpm.as_ref()), told(&fan.name, fan.power.as_ref())].into_iter().flatten()
        }))
        .chain(gpu.flatten())
        .chain(others.into_iter().flatten())
        .collect()
}

fn told(what: &str, value: Option<&impl std::fmt::Debug>) -> Option<String> {
    value.map(|value| format!("{what} {value:?}"))
}

/// How many lines may go with a file: one, but for those that name a sensor with limits, a chip, or several things at once.
fn at_stake(file: &Path) -> usize {
    match file.file_name().and_then(|name| name.to_str()).unwrap() {
        // A zone and its two limits; the label of a thermometer likewise.
        "type" => 3,
        name if name.ends_with("_label") || name.ends_with("_input") || name == "temp" => 3,
        "get_throttled" => 2,
        // An Intel GPU tells nothing else: without it there is none.
        "gt_act_freq_mhz" => 3,
        // Everything of its chip: three rails; two fans with two values each; thermometers.
        "name" => 6,
        _ => 1,
    }
}

/// Whether these sensors may read it; those of memory have tests of their own.
fn is_read(file: &Path) -> bool {
    let path = file.to_string_lossy();
    ["/sys/class/", "/sys/devices/", "/proc/stat", "/proc/meminfo"].iter().any(|part| path.contains(part))
}

/// A name that is lost is replaced by the chip's own, and what another sensor had hidden shows.
fn replaces(line: &str) -> bool {
    ["k10temp", "amdgpu", "coretemp", "package id", "core ", "x86_pkg_temp"].iter().any(|name| line.starts_with(name))
}

#[test]
fn a_file_that_fails_takes_only_its_own_value_along() {
    for board in BOARDS {
        let tree = Copy::of(board);
        let sound = said(&tree.sensors().read());
        assert!(sound.len() >= 5, "{board}: {sound:?}");
        for file in tree.files().into_iter().filter(|file| is_read(file)) {
            let content = fs::read(&file).unwrap();
            for fault in FAULTS {
                // Found with the fault, and met by it later.
                let mut early = tree.sensors();
                fault.befall(&file);
                let mut late = tree.sensors();
                for (sensors, when) in [(&mut early, "before"), (&mut late, "after")] {
                    let left = said(&sensors.read());
                    let lost: Vec<_> = sound.difference(&left).collect();
                    let gained: Vec<_> = left.difference(&sound).filter(|line| !replaces(line)).collect();
                    let place = format!("{board}: {} is {fault:?}, found {when}", file.display());
                    assert!(lost.len() <= at_stake(&file), "{place}: {lost:?} is lost");
                    // Values that are made of several files change; nothing else comes up.
                    assert!(gained.len() <= lost.len(), "{place}: {gained:?}");
                }
                fault.pass(&file, &content);
            }
        }
        assert_eq!(said(&tree.sensors().read()), sound, "{board} is as it was");
    }
}

#[test]
fn a_zone_that_answers_with_an_error_is_skipped() {
    let tree = Copy::of("orin-nano-jetpack6");
    let mut sensors = tree.sensors();
    assert_eq!(sensors.read().temperatures.len(), 5);
    let file = tree.path("sys/class/thermal/thermal_zone1/temp");
    Fault::Unreadable.befall(&file);
    let zones = |reading: HealthReading| reading.temperatures.into_iter().map(|zone| zone.zone).collect::<Vec<_>>();
    assert_eq!(zones(sensors.read()), ["cpu-thermal", "cv0-thermal", "soc0-thermal", "tj-thermal"]);
    Fault::Unreadable.pass(&file, b"50000\n");
    assert_eq!(sensors.read().temperatures.len(), 5, "and read again when it answers");
}

#[test]
fn numbers_that_no_computer_survives_are_unknown() {
    let tree = Copy::of("raspberry-pi-5");
    for (file, text) in [
        ("sys/class/thermal/thermal_zone0/temp", "-274000"),
        ("sys/class/thermal/thermal_zone0/temp", "2147483647"),
        ("sys/class/hwmon/hwmon2/pwm1", "256"),
        ("sys/class/hwmon/hwmon2/fan1_input", "99999999999"),
        ("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", "18446744073709551615"),
        ("proc/meminfo", "SwapTotal: 1 kB\nSwapFree: 2 kB\n"),
    ] {
        let before = said(&tree.sensors().read());
        let content = fs::read_to_string(tree.path(file)).unwrap();
        tree.write(file, text);
        let after = said(&tree.sensors().read());
        assert!(after.is_subset(&before) && after.len() < before.len(), "{file}: {text}: {after:?}");
        tree.write(file, &content);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_content_is_survived(
        board in prop::sample::select(BOARDS.to_vec()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), content()), 1..12),
    ) {
        let tree = Copy::of(board);
        let (mut sensors, files) = (tree.sensors(), tree.files());
        for (index, content) in changes {
            fs::write(index.get(&files), content).unwrap();
        }
        for reading in [sensors.read(), sensors.read(), tree.sensors().read()] {
            prop_assert!(reading.temperatures.iter().all(|zone| (-100.0..=200.0).contains(&zone.celsius)));
            prop_assert!(reading.rails.iter().all(|rail| rail.watts.is_finite()));
            let shares = reading.fans.iter().filter_map(|fan| fan.power).chain(reading.cpu.load);
            let shares = shares.chain(reading.gpu.as_ref().and_then(|gpu| gpu.load));
            prop_assert!(shares.into_iter().all(|share| (0.0..=1.0).contains(&share)));
            prop_assert!(reading.swap.is_none_or(|swap| swap.free <= swap.total));
            let names: Vec<&String> = reading.temperatures.iter().map(|zone| &zone.zone).collect();
            prop_assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "names are told apart");
        }
        let _ = profile::facts(&Roots::under(&tree.path("")), 4);
    }
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<Vec<u8>>(),
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        "[a-z0-9 :,\\-\n\t]{0,40}".prop_map(String::into_bytes),
    ]
}
