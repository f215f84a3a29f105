//! The parts of `health`, as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::snapshot::Snapshot;
use crate::health::{CpuReading, Fan, GpuReading, Rail, Room, Temperature};
use crate::plan::{Bytes, MemoryLimit};

/// Longest name of a sensor in bytes.
const NAME_MAX: usize = 48;

/// The machine. What is not known, or empty for that reason, is left out.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Health")]
pub(super) struct MachineState<'a> {
    /// Seconds since the daemon has started.
    uptime_s: u64,
    /// Its memory.
    memory: Memory<'a>,
    /// Its hottest zones, the hottest first.
    temperatures: Vec<Heat<'a>>,
    /// What slows it down.
    throttling: Slowed<'a>,
    /// What it draws.
    power: Power<'a>,
    /// Its fans.
    fans: Vec<Turning<'a>>,
    /// Its processor.
    cpu: Processor,
    /// Its GPU.
    gpu: Option<Gpu<'a>>,
    /// The file system with the daemon's state.
    disk: Option<Free>,
    /// How far the governors of memory and heat have to go, in a word each.
    governors: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize, JsonSchema)]
struct Memory<'a> {
    /// What limits memory: the host, and cgroups on the way to the daemon.
    limits: Vec<Limit<'a>>,
    /// What is left at the tightest limit, as a share of `memory.reserve`; below 1 the governor acts.
    reserve_left: Option<f64>,
    /// Share of the last 10 s in which something waited for memory, 0 to 1.
    pressure: Option<f64>,
    /// The swap space.
    swap: Option<Free>,
}

#[derive(Serialize, JsonSchema)]
struct Limit<'a> {
    /// What it is, in plain words.
    name: &'a str,
    /// All of it.
    total_bytes: Bytes,
    /// What of it is left for new work.
    available_bytes: Bytes,
}

#[derive(Serialize, JsonSchema)]
struct Heat<'a> {
    /// The zone's type or the sensor's label.
    zone: &'a str,
    /// How hot it is.
    celsius: f64,
    /// Where the hardware begins to slow itself down.
    passive: Option<f64>,
    /// Where it switches off.
    critical: Option<f64>,
}

#[derive(Serialize, JsonSchema)]
struct Slowed<'a> {
    /// Whether anything holds the hardware back now.
    throttled: Option<bool>,
    /// Cooling devices that are active now, other than fans.
    cooling: Vec<&'a str>,
    /// Too little voltage now.
    under_voltage: Option<bool>,
    /// The firmware caps or throttles clocks now.
    capped: Option<bool>,
    /// Over-current events since boot.
    over_current_events: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Power<'a> {
    /// What the whole board draws.
    watts: Option<f64>,
    /// What goes through each rail.
    rails: Vec<Drawn<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct Drawn<'a> {
    /// Its label.
    rail: &'a str,
    /// What goes through it.
    watts: f64,
}

#[derive(Serialize, JsonSchema)]
struct Turning<'a> {
    /// Its label or its driver's name.
    fan: &'a str,
    /// Revolutions a minute.
    rpm: Option<u32>,
    /// Share of its full power, 0 to 1.
    power: Option<f64>,
}

#[derive(Serialize, JsonSchema)]
struct Processor {
    /// Share of all cores' time that was not idle, 0 to 1.
    load: Option<f64>,
    /// Clock of the fastest core now.
    clock_hz: Option<u64>,
    /// Its highest clock.
    clock_max_hz: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Gpu<'a> {
    /// Its name.
    name: Option<&'a str>,
    /// Share of the time that it computes, 0 to 1.
    load: Option<f64>,
    /// Its clock now.
    clock_hz: Option<u64>,
    /// Its highest clock.
    clock_max_hz: Option<u64>,
    /// Memory of its own.
    memory: Option<Free>,
}

#[derive(Serialize, JsonSchema)]
struct Free {
    /// All of it.
    total_bytes: u64,
    /// What is free of it.
    free_bytes: u64,
}

impl<'a> MachineState<'a> {
    /// With at most so many sensors of a kind.
    pub(super) fn of(now: &'a Snapshot, listed: usize) -> Self {
        let health = &now.health;
        let mut hottest: Vec<_> = health.temperatures.iter().collect();
        hottest.sort_by(|a, b| b.celsius.total_cmp(&a.celsius));
        let throttling = &health.throttling;
        Self {
            uptime_s: now.uptime.as_secs(),
            memory: Memory {
                limits: now.limits.iter().take(listed).map(limit).collect(),
                reserve_left: now.slack.map(|slack| hundredths(slack.permille() as f32 / 1000.0)),
                pressure: now.psi.map(|psi| hundredths(psi.some_avg10 / 100.0)),
                swap: health.swap.map(free),
            },
            temperatures: hottest.into_iter().take(listed).map(heat).collect(),
            throttling: Slowed {
                throttled: health.throttled(),
                cooling: throttling.cooling.iter().take(listed).map(|device| short(device)).collect(),
                under_voltage: throttling.under_voltage,
                capped: throttling.capped,
                over_current_events: throttling.over_current,
            },
            power: Power {
                watts: health.watts().map(tenths),
                rails: health.rails.iter().take(listed).map(drawn).collect(),
            },
            fans: health.fans.iter().take(listed).map(turning).collect(),
            cpu: processor(&health.cpu),
            gpu: health.gpu.as_ref().map(gpu),
            disk: health.disk.map(free),
            governors: now.governors.iter().map(|governor| (governor.name, governor.word)).collect(),
        }
    }
}

fn limit(limit: &MemoryLimit) -> Limit<'_> {
    Limit { name: short(&limit.name), total_bytes: limit.total, available_bytes: limit.available }
}

fn heat(zone: &Temperature) -> Heat<'_> {
    let Temperature { zone, celsius, passive, critical } = zone;
    Heat { zone: short(zone), celsius: tenths(*celsius), passive: passive.map(tenths), critical: critical.map(tenths) }
}

fn drawn(rail: &Rail) -> Drawn<'_> {
    Drawn { rail: short(&rail.name), watts: tenths(rail.watts) }
}

fn turning(fan: &Fan) -> Turning<'_> {
    Turning { fan: short(&fan.name), rpm: fan.rpm, power: fan.power.map(hundredths) }
}

fn processor(cpu: &CpuReading) -> Processor {
    Processor { load: cpu.load.map(hundredths), clock_hz: cpu.clock_hz, clock_max_hz: cpu.clock_max_hz }
}

fn gpu(gpu: &GpuReading) -> Gpu<'_> {
    Gpu {
        name: gpu.name.as_deref().map(short),
        load: gpu.load.map(hundredths),
        clock_hz: gpu.clock_hz,
        clock_max_hz: gpu.clock_max_hz,
        memory: gpu.memory.map(free),
    }
}

fn free(room: Room) -> Free {
    Free { total_bytes: room.total, free_bytes: room.free }
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(NAME_MAX)]
}

fn tenths(number: f32) -> f64 {
    (f64::from(number) * 10.0).round() / 10.0
}

fn hundredths(number: f32) -> f64 {
    (f64::from(number) * 100.0).round() / 100.0
}
