//! `telemetry`: numbers for time series. Flat, each with its unit in its name; what is not known is left out.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Number, Value};

use super::documents::json;
use super::metrics::JobTotals;
use super::snapshot::Snapshot;

/// The message. It tells the time only if the clock can be believed.
pub fn telemetry_message(now: &Snapshot, totals: &JobTotals, clock: SystemTime) -> Vec<u8> {
    json(&telemetry_numbers(now, totals, clock))
}

/// The same before it is written.
pub fn telemetry_numbers(now: &Snapshot, totals: &JobTotals, clock: SystemTime) -> Map<String, Value> {
    let mut numbers = Numbers(Map::new());
    if now.clock_synced == Some(true) {
        numbers.count("time_s", clock.duration_since(UNIX_EPOCH).ok().map(|time| time.as_secs()));
    }
    add_node(&mut numbers, now, totals);
    add_machine(&mut numbers, now);
    numbers.0
}

fn add_node(numbers: &mut Numbers, now: &Snapshot, totals: &JobTotals) {
    numbers.count("uptime_s", now.uptime.as_secs());
    numbers.truth("ready", now.is_ready());
    numbers.truth("journal_writable", now.journal.writable);
    numbers.count("models_ready", now.models_ready() as u64);
    numbers.count("jobs_waiting", now.jobs.waiting as u64);
    numbers.count("jobs_running", now.jobs.running as u64);
    for (name, count) in [
        ("requests_received", totals.received),
        ("requests_accepted", totals.accepted),
        ("requests_refused", totals.refused),
        ("jobs_completed", totals.completed),
        ("jobs_failed", totals.failed),
        ("prompt_tokens", totals.prompt_tokens),
        ("cached_tokens", totals.cached_tokens),
        ("generated_tokens", totals.generated_tokens),
        ("journal_outcomes", now.journal.usage.outcomes as u64),
        ("journal_used_bytes", now.journal.usage.used.0),
        ("outbox_messages", now.link.outbox as u64),
        ("reconnects", now.link.counters.reconnects),
        ("engines_resident_bytes", now.engines_resident()),
    ] {
        numbers.count(name, count);
    }
    numbers.count("daemon_resident_bytes", now.resident);
    numbers.measure("tokens_per_s", now.tokens_per_second);
    numbers.measure("energy_joules", now.energy.total);
    numbers.measure("job_energy_joules", now.energy.jobs);
}

fn add_machine(numbers: &mut Numbers, now: &Snapshot) {
    let health = &now.health;
    let tightest = now.tightest();
    numbers.count("memory_available_bytes", tightest.map(|limit| limit.available.0));
    numbers.count("memory_total_bytes", tightest.map(|limit| limit.total.0));
    numbers.measure("memory_slack_ratio", now.slack.map(|slack| f64::from(slack.permille()) / 1000.0));
    numbers.measure("memory_pressure_ratio", now.psi.map(|psi| f64::from(psi.some_avg10) / 100.0));
    for governor in &now.governors {
        numbers.count(&format!("governor_{}_level", governor.name), u64::from(governor.level));
    }
    numbers.measure("duty_ratio", now.duty);
    numbers.measure("temperature_max_celsius", health.hottest().map(|zone| f64::from(zone.celsius)));
    numbers.truth("throttled", health.throttled());
    numbers.truth("under_voltage", health.throttling.under_voltage);
    numbers.measure("power_watts", health.watts().map(f64::from));
    numbers.measure("cpu_load_ratio", health.cpu.load.map(f64::from));
    numbers.count("cpu_clock_hz", health.cpu.clock_hz);
    let gpu = health.gpu.as_ref();
    numbers.measure("gpu_load_ratio", gpu.and_then(|gpu| gpu.load).map(f64::from));
    numbers.count("gpu_clock_hz", gpu.and_then(|gpu| gpu.clock_hz));
    numbers.count("gpu_memory_free_bytes", gpu.and_then(|gpu| gpu.memory).map(|room| room.free));
    numbers.count("disk_free_bytes", health.disk.map(|room| room.free));
    numbers.count("swap_free_bytes", health.swap.map(|room| room.free));
}

/// Names and what is known for them.
struct Numbers(Map<String, Value>);

impl Numbers {
    fn count(&mut self, name: &str, count: impl Into<Option<u64>>) {
        if let Some(count) = count.into() {
            self.0.insert(name.to_owned(), count.into());
        }
    }

    fn truth(&mut self, name: &str, is_so: impl Into<Option<bool>>) {
        self.count(name, is_so.into().map(u64::from));
    }

    /// To thousandths: more only costs bytes.
    fn measure(&mut self, name: &str, number: impl Into<Option<f64>>) {
        let number = number.into().map(|number| (number * 1000.0).round() / 1000.0);
        if let Some(number) = number.and_then(Number::from_f64) {
            self.0.insert(name.to_owned(), number.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::example;

    fn message(now: &Snapshot) -> Map<String, Value> {
        let clock = UNIX_EPOCH + Duration::from_hours(500_000);
        serde_json::from_slice(&telemetry_message(now, &JobTotals::default(), clock)).unwrap()
    }

    #[test]
    fn every_value_is_a_number_and_every_measure_has_its_unit() {
        let message = message(&example::snapshot());
        let units =
            ["_s", "_bytes", "_ratio", "_celsius", "_watts", "_hz", "_joules", "_level", "_tokens", "_messages"];
        let counts = ["jobs_", "requests_", "models_", "reconnects", "journal_outcomes"];
        let truths = ["ready", "throttled", "under_voltage", "journal_writable"];
        for (name, value) in &message {
            assert!(value.is_number(), "{name}: {value}");
            let named = units.iter().any(|unit| name.ends_with(unit))
                || counts.iter().any(|count| name.starts_with(count))
                || truths.contains(&name.as_str());
            assert!(named, "{name} has no unit");
        }
        assert_eq!(
            (&message["throttled"], &message["under_voltage"], &message["ready"]),
            (&0.into(), &0.into(), &1.into())
        );
        assert_eq!(message["temperature_max_celsius"], 61.5);
    }

    #[test]
    fn the_time_is_told_only_by_a_clock_that_is_right() {
        let mut now = example::snapshot();
        assert_eq!(message(&now)["time_s"], 1_800_000_000_u64);
        for doubtful in [None, Some(false)] {
            now.clock_synced = doubtful;
            assert!(!message(&now).contains_key("time_s"));
        }
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let message = message(&example::bare());
        for name in ["temperature_max_celsius", "throttled", "power_watts", "memory_available_bytes", "energy_joules"] {
            assert!(!message.contains_key(name), "{name}");
        }
    }
}
