//! The list of fields for operators, against what is published.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::*;

const DOCUMENT: &str = include_str!("../../../packaging/monitoring/topics.md");

/// The fields in the table below a heading.
fn documented(topic: &str) -> BTreeSet<String> {
    let (_, rest) = DOCUMENT.split_once(&format!("\n## {topic}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    section.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect()
}

/// Names of all that is no object, as the document has them.
fn fields(name: &str, value: &Value, all: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                fields(&if name.is_empty() { key.clone() } else { format!("{name}.{key}") }, value, all);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields(&format!("{name}[]"), item, all)),
        _ => _ = all.insert(name.to_owned()),
    }
}

fn published(value: &Value) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    fields("", value, &mut all);
    all
}

#[test]
fn every_number_is_documented_and_every_documented_one_exists() {
    let clock = UNIX_EPOCH + Duration::from_hours(500_000);
    let numbers = telemetry_numbers(&example::snapshot(), &JobTotals::default(), clock);
    assert_eq!(published(&Value::Object(numbers)), documented("telemetry"));
}

#[test]
fn every_field_of_health_is_documented_and_every_documented_one_exists() {
    let mut now = example::snapshot();
    now.health.throttling.cooling.push("cpufreq-cpu0".to_owned());
    assert_eq!(published(&health_value(&now)), documented("health"));
}
