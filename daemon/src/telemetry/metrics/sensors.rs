//! What the machine's sensors say.

use super::node::{float, one_label};
use super::{Writer, measured, one, plain};
use crate::health::{CpuReading, GpuReading, HealthReading, Throttling};
use crate::telemetry::Snapshot;

/// Most series of one metric: no board has so many sensors of a kind.
const SENSORS_MAX: usize = 32;

pub(super) fn write_memory(to: &mut Writer<'_>, now: &Snapshot) -> std::fmt::Result {
    let limits = || now.limits.iter().take(SENSORS_MAX);
    let of = |value: &dyn Fn(&crate::plan::MemoryLimit) -> u64| {
        limits().map(|limit| (one_label("limit", &limit.name), float(value(limit)))).collect::<Vec<_>>()
    };
    let help = "Memory, of the machine and of each cgroup with a limit";
    to.gauges(measured("memory_total", "bytes", help), of(&|limit| limit.total.0))?;
    let help = "What of it is left for new work, mapped weights counted as taken";
    to.gauges(measured("memory_available", "bytes", help), of(&|limit| limit.available.0))?;
    let help = "What is left at the tightest limit as a share of memory.reserve: from 1 on it is untouched";
    to.gauge(measured("memory_slack", "ratio", help), now.slack.map(|slack| f64::from(slack.permille()) / 1000.0))?;
    let pressure = now.psi.iter().flat_map(|psi| [("some", psi.some_avg10), ("full", psi.full_avg10)]);
    let pressure = pressure.map(|(kind, percent)| (one_label("kind", kind), real(percent / 100.0)));
    to.gauges(measured("memory_pressure", "ratio", "Share of the last 10 s that programs waited for memory"), pressure)
}

pub(super) fn write_health(to: &mut Writer<'_>, health: &HealthReading) -> std::fmt::Result {
    write_heat(to, health)?;
    let rails = health.rails.iter().take(SENSORS_MAX).map(|rail| (one_label("rail", &rail.name), real(rail.watts)));
    to.gauges(measured("power", "watts", "Power of each rail"), rails)?;
    to.gauge(measured("board_power", "watts", "Power of the whole board"), health.watts().map(real))?;
    let fans = || health.fans.iter().take(SENSORS_MAX);
    let speeds = fans().filter_map(|fan| Some((one_label("fan", &fan.name), f64::from(fan.rpm?))));
    to.gauges(measured("fan_speed", "rpm", "Revolutions of fans in a minute"), speeds)?;
    let powers = fans().filter_map(|fan| Some((one_label("fan", &fan.name), real(fan.power?))));
    to.gauges(measured("fan_power", "ratio", "Share of full power that fans have"), powers)?;
    write_processor(to, &health.cpu)?;
    if let Some(gpu) = &health.gpu {
        write_gpu(to, gpu)?;
    }
    for (name, room, what) in
        [("disk", health.disk, "the file system with the state folder"), ("swap", health.swap, "the swap space")]
    {
        let total = format!("Size of {what}");
        to.gauge(measured(&format!("{name}_total"), "bytes", &total), room.map(|room| float(room.total)))?;
        let free = format!("What is free of {what}");
        to.gauge(measured(&format!("{name}_free"), "bytes", &free), room.map(|room| float(room.free)))?;
    }
    Ok(())
}

fn write_heat(to: &mut Writer<'_>, health: &HealthReading) -> std::fmt::Result {
    let zones = || health.temperatures.iter().take(SENSORS_MAX);
    let now = zones().map(|zone| (one_label("zone", &zone.zone), real(zone.celsius)));
    to.gauges(measured("temperature", "celsius", "Temperatures"), now)?;
    let passive = zones().filter_map(|zone| Some((one_label("zone", &zone.zone), real(zone.passive?))));
    to.gauges(measured("temperature_passive", "celsius", "Where the hardware begins to slow itself down"), passive)?;
    let critical = zones().filter_map(|zone| Some((one_label("zone", &zone.zone), real(zone.critical?))));
    to.gauges(measured("temperature_critical", "celsius", "Where the hardware switches off"), critical)?;
    let Throttling { cooling, under_voltage, capped, over_current, .. } = &health.throttling;
    to.gauge(plain("throttled", "1 if anything holds the hardware back"), health.throttled().map(one))?;
    let cooling = cooling.iter().take(SENSORS_MAX).map(|device| (one_label("device", device), 1.0));
    to.gauges(plain("cooling_active", "1 for each cooling device that is active, fans left out"), cooling)?;
    to.gauge(plain("under_voltage", "1 if the supply gives too little voltage"), under_voltage.map(one))?;
    to.gauge(plain("clock_capped", "1 if the firmware caps or throttles clocks"), capped.map(one))?;
    to.counter(plain("over_current_events", "Over-current events since boot"), over_current.map(float))
}

fn write_processor(to: &mut Writer<'_>, cpu: &CpuReading) -> std::fmt::Result {
    to.gauge(measured("cpu_load", "ratio", "Share of the time of all cores that was not idle"), cpu.load.map(real))?;
    to.gauge(measured("cpu_clock", "hertz", "Clock of the fastest core"), cpu.clock_hz.map(float))?;
    to.gauge(measured("cpu_clock_max", "hertz", "Its highest clock"), cpu.clock_max_hz.map(float))
}

fn write_gpu(to: &mut Writer<'_>, gpu: &GpuReading) -> std::fmt::Result {
    to.gauge(measured("gpu_load", "ratio", "Share of the time that the GPU computes"), gpu.load.map(real))?;
    to.gauge(measured("gpu_clock", "hertz", "Clock of the GPU"), gpu.clock_hz.map(float))?;
    to.gauge(measured("gpu_clock_max", "hertz", "Its highest clock"), gpu.clock_max_hz.map(float))?;
    to.gauge(
        measured("gpu_memory_total", "bytes", "Memory of the GPU's own"),
        gpu.memory.map(|room| float(room.total)),
    )?;
    to.gauge(measured("gpu_memory_free", "bytes", "What is free of it"), gpu.memory.map(|room| float(room.free)))
}

/// To thousandths: what a wider number shows beyond them is no reading.
fn real(number: f32) -> f64 {
    (f64::from(number) * 1000.0).round() / 1000.0
}
