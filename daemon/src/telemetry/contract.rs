//! The schemas of what the fleet sees.

use serde_json::{Map, Value, json};

use super::documents::{ModelDocument, StatusDocument};
use super::event::{Event, JobState, ModelEvent, NodeEvent};
use super::info::Info;
use super::machine::MachineState;
use crate::job::{schema_of, sparse_schema_of};

/// The version of the interface, as `info` tells it. Within 1 only optional fields are added; each time the second number grows.
pub const API_VERSION: &str = "1.0";

/// Every number of `telemetry`. Which are there depends on what the machine tells.
pub const TELEMETRY_NUMBERS: [(&str, &str); 42] = [
    ("time_s", "Seconds since 1970; only of a clock that can be believed."),
    ("uptime_s", "Seconds since the daemon has started."),
    ("ready", "1 if requests are answered."),
    ("journal_writable", "1 if what is accepted reaches the disk, or is not meant to."),
    ("models_ready", "Models that answer at once."),
    ("jobs_waiting", "Jobs that wait."),
    ("jobs_running", "Jobs in engines."),
    ("requests_received", "Requests since the daemon has started."),
    ("requests_accepted", "Of these, those that became jobs."),
    ("requests_refused", "Of these, those that got an error at once."),
    ("jobs_completed", "Jobs that were answered since the daemon has started."),
    ("jobs_failed", "Jobs that ended with an error since then."),
    ("prompt_tokens", "Tokens of answered prompts since then."),
    ("cached_tokens", "Of these, those that were not computed again."),
    ("generated_tokens", "Tokens of answers since then."),
    ("journal_outcomes", "Outcomes that the journal keeps."),
    ("journal_used_bytes", "Size of the journal."),
    ("outbox_messages", "Messages that the broker has not taken yet, and places reserved for one."),
    ("reconnects", "Connections after the first one since the daemon has started."),
    ("engines_resident_bytes", "Memory of all engines."),
    ("daemon_resident_bytes", "Memory of the daemon itself."),
    ("tokens_per_s", "Tokens of answers in a second, of late."),
    ("energy_joules", "What the board has drawn since the daemon has started."),
    ("job_energy_joules", "Of this, what it has drawn while jobs ran."),
    ("memory_available_bytes", "Memory left for new work at the tightest limit."),
    ("memory_total_bytes", "All of that limit."),
    ("memory_slack_ratio", "What is left there as a share of `memory.reserve`; below 1 the governor acts."),
    ("memory_pressure_ratio", "Share of the last 10 s in which something waited for memory."),
    ("governor_memory_level", "How far the governor of memory has to go; 0 if all is well."),
    ("governor_thermal_level", "The same of heat."),
    ("duty_ratio", "Share of the time in which engines may compute."),
    ("temperature_max_celsius", "The hottest zone."),
    ("throttled", "1 if anything holds the hardware back now."),
    ("under_voltage", "1 if there is too little voltage now."),
    ("power_watts", "What the whole board draws."),
    ("cpu_load_ratio", "Share of all cores' time that was not idle."),
    ("cpu_clock_hz", "Clock of the fastest core."),
    ("gpu_load_ratio", "Share of the time that the GPU computes."),
    ("gpu_clock_hz", "Its clock."),
    ("gpu_memory_free_bytes", "Free memory of the GPU's own."),
    ("disk_free_bytes", "Free space of the file system with the daemon's state."),
    ("swap_free_bytes", "Free swap space."),
];

/// JSON Schemas of every document and message about the node, by the names of their files.
pub fn document_schemas() -> [(&'static str, Value); 7] {
    [
        ("status", schema_of::<StatusDocument<'_>>()),
        ("info", schema_of::<Info<'_>>()),
        ("model", schema_of::<ModelDocument>()),
        ("health", sparse_schema_of::<MachineState<'_>>()),
        ("telemetry", telemetry()),
        ("event", either(schema_of::<Event<'_, ModelEvent>>(), schema_of::<Event<'_, NodeEvent>>())),
        ("job", schema_of::<JobState<'_>>()),
    ]
}

fn telemetry() -> Value {
    let number = |(name, text): (&str, &str)| (name.to_owned(), json!({ "description": text, "type": "number" }));
    let numbers: Map<String, Value> = TELEMETRY_NUMBERS.into_iter().map(number).collect();
    json!({ "type": "object", "properties": numbers, "additionalProperties": { "type": "number" } })
}

/// What happens to models and what happens to the node are told on one topic; the former names its model.
fn either(mut of_model: Value, mut of_node: Value) -> Value {
    let parts = [&mut of_model, &mut of_node].into_iter().filter_map(Value::as_object_mut);
    let defs = parts.filter_map(|schema| {
        // The whole has them.
        schema.retain(|key, _| key != "$schema" && key != "title");
        schema.remove("$defs")
    });
    let defs: Vec<Value> = defs.collect();
    let mut both = json!({ "anyOf": [of_model, of_node] });
    for (name, def) in defs.iter().filter_map(Value::as_object).flatten() {
        both["$defs"][name] = def.clone();
    }
    both
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::telemetry::metrics::JobTotals;
    use crate::telemetry::{example, telemetry_numbers};

    #[test]
    fn the_contract_names_every_number_and_no_other() {
        let clock = UNIX_EPOCH + Duration::from_hours(500_000);
        let told = telemetry_numbers(&example::snapshot(), &JobTotals::default(), clock);
        let told: BTreeSet<&str> = told.keys().map(String::as_str).collect();
        assert_eq!(told, TELEMETRY_NUMBERS.into_iter().map(|(name, _)| name).collect());
    }
}
