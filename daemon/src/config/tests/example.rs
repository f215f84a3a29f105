//! `config/promptd.toml` shows every key, its default and its bounds.

use std::collections::{BTreeMap, BTreeSet};

use super::super::report::Report;
use super::super::{BrokerUrl, merge, tree};
use super::*;
use crate::job::ReplyFormat;

const EXAMPLE: &str = include_str!("../../../../config/promptd.toml");

/// Removes the `#` in front of keys and tables; prose has a space behind it. The files for TLS need another URL than the default.
fn uncommented() -> String {
    let key = |line: &str| {
        let says = |rest: &&str| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
        line.strip_prefix('#').filter(says).map(str::to_owned)
    };
    let text: String = EXAMPLE.lines().map(|line| key(line).unwrap_or_else(|| line.to_owned()) + "\n").collect();
    text.replace(&format!("\nurl = \"{}\"", BrokerUrl::default()), "\nurl = \"mqtts://broker\"")
}

/// The prose above each key and table, by the key's path.
fn prose() -> BTreeMap<String, String> {
    let mut prose = BTreeMap::new();
    let (mut section, mut block) = (String::new(), String::new());
    for line in uncommented().lines() {
        if let Some(text) = line.strip_prefix('#') {
            block += text;
        } else if let Some(name) = line.strip_prefix('[') {
            name.trim_matches(['[', ']']).clone_into(&mut section);
            prose.insert(section.clone(), std::mem::take(&mut block));
        } else if let Some((key, _)) = line.split_once(" = ") {
            prose.insert(format!("{section}.{key}"), std::mem::take(&mut block));
        } else {
            assert_eq!(line, "");
            block.clear();
        }
    }
    prose
}

/// Every key that the sections read, as TOML names it.
fn schema() -> BTreeSet<String> {
    let text = uncommented();
    let sources = sources(&[&text]);
    let tree = merge::all(tree::parse_all(&sources).unwrap());
    let mut report = Report::new(&sources);
    Config::from_tree(&tree, &machine(), &mut report);
    // Those of tasks are shown by the built-in ones, those of pipelines by the examples.
    let elsewhere = |key: &str| key.starts_with("task") || key.starts_with("pipeline");
    let unset = report.keys().iter().filter(|(key, at)| at.is_none() && !elsewhere(key));
    let unset: Vec<&String> = unset.map(|(key, _)| key).collect();
    assert!(unset.is_empty(), "the example does not show {unset:?}");
    let labels = ["[main]", "[#1]", "[sensors]", "[doors]"];
    let keys = report.keys().keys().filter(|key| !elsewhere(key));
    keys.map(|key| labels.iter().fold(key.clone(), |key, label| key.replace(label, ""))).collect()
}

#[test]
fn is_valid_as_it_is_and_changes_nothing() {
    let example = good(EXAMPLE);
    assert_eq!(example.models.len(), 1);
    assert_eq!(example, Config { models: example.models.clone(), ..read(&[]).unwrap() });
}

#[test]
fn shows_the_defaults() {
    let plain = good(EXAMPLE);
    let mut shown = good(&uncommented());
    // Keys that have no default show an example instead.
    assert_eq!(shown.node.name.as_str(), "gateway-1");
    assert_eq!(shown.mqtt.client_id, format!("promptd-{}", shown.node.name));
    assert_eq!(std::mem::take(&mut shown.node.labels).len(), 2);
    assert_eq!(std::mem::take(&mut shown.node.groups).len(), 1);
    assert!(shown.mqtt.username.take().is_some() && shown.mqtt.password_credential.take().is_some());
    assert_eq!(std::mem::take(&mut shown.mqtt.url).host, "broker", "the example shows the default, which was replaced");
    assert!(shown.mqtt.tls.take().is_some_and(|tls| tls.ca_file.is_some() && tls.client.is_some()));
    let [policy] = std::mem::take(&mut shown.policies).try_into().unwrap();
    assert!(
        policy.clients.len() == 2 && policy.tasks.is_some() && policy.models.is_some() && policy.priority.is_some()
    );
    assert!(policy.max_tokens.is_some() && policy.queue_jobs.is_some() && policy.tokens_per_minute.is_some());
    assert_eq!(policy.sessions, Some(2));
    let [binding] = std::mem::take(&mut shown.bindings).try_into().unwrap();
    assert_eq!((binding.params.len(), binding.pointer.as_deref()), (1, Some("/state/text")));
    assert!(binding.max_age.is_some() && (binding.reply, binding.errors) == (ReplyFormat::Text, false));
    let model = &mut shown.models[0];
    assert!(model.files[0].sha256.take().is_some());
    // The machine decides.
    (model.threads, model.sequences) = (plain.models[0].threads, plain.models[0].sequences);
    shown.memory.reserve = plain.memory.reserve;
    assert_eq!(model.ladder.take().map(|ladder| ladder.len()), Some(3));
    assert!(model.golden_prompt.take().is_some() && model.golden_expect.take().is_some());
    assert!(shown.memory.budget.take().is_some());
    assert!(shown.thermal.soft_celsius.take().is_some() && shown.thermal.hard_celsius.take().is_some());
    assert!(shown.telemetry.http.take().is_some() && shown.telemetry.textfile.take().is_some());
    shown.node.name = plain.node.name.clone();
    shown.mqtt.client_id = plain.mqtt.client_id.clone();
    assert_eq!(shown, plain);
}

#[test]
fn shows_every_key() {
    let shown: BTreeSet<String> = prose().into_keys().collect();
    assert_eq!(shown, schema());
}

#[test]
fn says_why_one_would_change_each_key() {
    for (key, text) in prose() {
        let required = [
            "model.name",
            "model.files.path",
            "policy.name",
            "policy.clients",
            "binding.name",
            "binding.subscribe",
            "binding.task",
            "binding.publish",
        ]
        .contains(&key.as_str());
        let section = !key.contains('.') || ["model.files", "telemetry.deadbands"].contains(&key.as_str());
        let expected = if required { "It has no default." } else { "Change it: " };
        assert!(section || text.contains(expected), "{key}: {text:?}");
        assert!(!text.is_empty(), "{key}");
    }
}

#[test]
fn names_the_bounds_of_each_key() {
    let prose = prose();
    for bounds in bounds::ALL {
        let text = &prose[bounds.key];
        assert!(text.contains(&format!("{} to {}", bounds.min, bounds.max)), "{}: {text:?}", bounds.key);
    }
}
