use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::job::{Completion, ErrorCode, Finish, JobError, ModelName, Outcome, Output, Timings, Usage};
use crate::telemetry::{EventKind, example};

fn metrics() -> Metrics {
    let metrics = Metrics::new();
    let model = ModelName::new("main").unwrap();
    metrics.jobs.begin(&model);
    metrics.engines.begin(&model);
    metrics.show(example::snapshot());
    metrics
}

fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

#[test]
fn an_answer_moves_its_counters_and_times() {
    let metrics = metrics();
    let ms = std::time::Duration::from_millis;
    let completion = Completion {
        output: Output::Text("never told".to_owned()),
        finish: Finish::Length,
        logprobs: Vec::new(),
        model: ModelName::new("main").unwrap(),
        strategy: "cpu:int4".to_owned(),
        usage: Usage { prompt_tokens: 31, cached_tokens: 24, generated_tokens: 11 },
        timings: Timings { queue: ms(20), prefill: ms(40), decode: ms(300), total: ms(361) },
        deltas: 0,
        session: None,
        energy_joules: None,
    };
    metrics.jobs.ended(&Outcome::Completed(completion));
    metrics.jobs.ended(&Outcome::Failed(JobError::new(ErrorCode::Cancelled, "x")));
    let text = metrics.prometheus();
    for (series, expected) in [
        ("promptd_jobs_completed_total{finish=\"length\"}", 1.0),
        ("promptd_jobs_completed_total{finish=\"stop\"}", 0.0),
        ("promptd_jobs_failed_total{code=\"cancelled\"}", 1.0),
        ("promptd_prompt_tokens_total{model=\"main\"}", 31.0),
        ("promptd_cached_tokens_total{model=\"main\"}", 24.0),
        ("promptd_prefix_hits_total{model=\"main\"}", 1.0),
        ("promptd_generated_tokens_total{model=\"main\"}", 11.0),
        ("promptd_time_to_first_token_seconds_sum{model=\"main\"}", 0.06),
        ("promptd_inter_token_latency_seconds_sum{model=\"main\"}", 0.03),
        ("promptd_inter_token_latency_seconds_bucket{model=\"main\",le=\"0.03\"}", 1.0),
        ("promptd_inter_token_latency_seconds_bucket{model=\"main\",le=\"0.02\"}", 0.0),
        ("promptd_request_duration_seconds_count{model=\"main\"}", 1.0),
    ] {
        assert!((value(&text, series) - expected).abs() < 1e-9, "{series}");
    }
    assert!(!text.contains("never told"));
    let totals = metrics.jobs.totals();
    assert_eq!((totals.completed, totals.failed, totals.generated_tokens), (1, 1, 11));
}

#[test]
fn states_and_sensors_are_told_by_the_last_look() {
    let metrics = metrics();
    metrics.engines.event(&ModelName::new("main").unwrap(), EventKind::Loaded);
    let text = metrics.prometheus();
    assert_eq!(value(&text, "promptd_state{state=\"ready\"}").to_bits(), 1_f64.to_bits());
    assert_eq!(value(&text, "promptd_state{state=\"no_model\"}").to_bits(), 0_f64.to_bits());
    assert_eq!(value(&text, "promptd_temperature_celsius{zone=\"tj-thermal\"}").to_bits(), 61.5_f64.to_bits());
    assert_eq!(value(&text, "promptd_model_events_total{model=\"main\",event=\"loaded\"}").to_bits(), 1_f64.to_bits());
    let received =
        |text: &str, link: &str| text.contains(&format!("promptd_mqtt_messages_received_total{{link=\"{link}\"}} "));
    assert!(received(&text, "node") && received(&text, "groups"), "{text}");
    metrics.show(example::bare());
    let text = metrics.prometheus();
    assert!(received(&text, "node") && !received(&text, "groups"), "it has no groups: {text}");
    assert!(!text.contains("promptd_temperature"), "what is unknown is left out");
    assert!(!text.contains("promptd_model_info"), "there is no model any more");
}

#[test]
fn two_sensors_of_one_name_make_one_series() {
    let metrics = Metrics::new();
    let mut now = example::snapshot();
    now.health.temperatures = vec![now.health.temperatures[0].clone(); 2];
    metrics.show(now);
    assert_eq!(metrics.prometheus().matches("promptd_temperature_celsius{").count(), 1);
}

/// A metric as a reader sees it.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    kind: String,
    unit: String,
    labels: BTreeSet<String>,
}

const DOCUMENT: &str = include_str!("../../../packaging/monitoring/metrics.md");

/// What the document lists, by name.
fn documented() -> BTreeMap<String, Shape> {
    let words = |cell: &str| cell.split(',').map(|word| word.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind @ ("counter" | "gauge" | "histogram"), unit, labels, _] = cells[..] else { return None };
        let labels = words(labels).into_iter().filter(|label| label != "–").collect();
        let unit = if unit == "–" { String::new() } else { unit.to_owned() };
        Some((name.trim_matches('`').to_owned(), Shape { kind: kind.to_owned(), unit, labels }))
    };
    DOCUMENT.lines().filter_map(row).collect()
}

/// What is exported, by name, from a machine that tells everything.
fn exported() -> BTreeMap<String, Shape> {
    let metrics = metrics();
    let mut now = example::snapshot();
    now.health.throttling.cooling.push("gpu-throttle-alert".to_owned());
    metrics.show(now);
    let text = metrics.openmetrics();
    let mut shapes: BTreeMap<String, Shape> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}"),
            ["#", "TYPE", name, kind] => {
                let shape = Shape { kind: kind.to_owned(), unit: String::new(), labels: BTreeSet::new() };
                assert!(shapes.insert(name.to_owned(), shape).is_none(), "{name} twice");
            }
            ["#", "UNIT", name, unit] => unit.clone_into(&mut shapes.get_mut(name).unwrap().unit),
            ["#", "EOF"] => {}
            _ => add_labels(&mut shapes, line),
        }
    }
    assert_eq!(helped.len(), shapes.len(), "each has its meaning");
    let named = |(name, shape): (String, Shape)| match shape.kind.as_str() {
        "counter" => (name + "_total", shape),
        _ => (name, shape),
    };
    shapes.into_iter().map(named).collect()
}

fn add_labels(shapes: &mut BTreeMap<String, Shape>, line: &str) {
    let name = line.split(['{', ' ']).next().unwrap();
    let suffixes = ["", "_total", "_bucket", "_sum", "_count"];
    let family = suffixes.iter().find_map(|suffix| shapes.keys().find(|key| name.strip_suffix(suffix) == Some(key)));
    let family = family.unwrap_or_else(|| panic!("{line} has no type")).clone();
    let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(labels, _)| labels);
    let names = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
    shapes.get_mut(&family).unwrap().labels.extend(names.filter(|name| name != "le"));
}

#[test]
fn every_metric_is_documented_and_every_documented_one_exists() {
    let (documented, exported) = (documented(), exported());
    for (name, shape) in &exported {
        assert_eq!(documented.get(name), Some(shape), "{name}");
        assert!(name.starts_with("promptd_"), "{name}");
        let base = name.trim_end_matches("_total");
        assert!(shape.unit.is_empty() || base.ends_with(&format!("_{}", shape.unit)), "{name}");
    }
    let unknown: Vec<&String> = documented.keys().filter(|name| !exported.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "the document names {unknown:?}");
}

#[test]
fn rules_dashboard_and_table_name_only_what_exists() {
    let exported = exported();
    let names = regex::Regex::new(r"\bpromptd_[a-z0-9_]+").unwrap();
    for text in [
        DOCUMENT,
        include_str!("../../../packaging/monitoring/alerts.yml"),
        include_str!("../../../packaging/monitoring/grafana.json"),
    ] {
        assert!(names.find_iter(text).count() > 10);
        for name in names.find_iter(text).map(|found| found.as_str()) {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let histogram = base.is_some_and(|base| exported.get(base).is_some_and(|shape| shape.kind == "histogram"));
            assert!(histogram || exported.contains_key(name), "{name}");
        }
    }
}

#[test]
fn labels_have_no_client_and_few_values() {
    let metrics = metrics();
    let names = exported().into_values().flat_map(|shape| shape.labels).collect::<BTreeSet<_>>();
    let known = [
        "code",
        "device",
        "event",
        "fan",
        "finish",
        "governor",
        "kind",
        "limit",
        "link",
        "model",
        "precision",
        "rail",
        "reason",
        "state",
        "strategy",
        "version",
        "zone",
    ];
    assert_eq!(names, known.map(str::to_owned).into());
    // All codes, kinds of ends and buckets of one model.
    assert!(metrics.prometheus().lines().count() < 600, "{}", metrics.prometheus().lines().count());
}
