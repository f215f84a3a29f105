//! No text makes reading panic, and what is accepted keeps its promises.

use proptest::prelude::*;

use super::*;
use crate::plan::{Bytes, Reserve};

fn check(files: &[&str]) {
    match read(files) {
        Ok(config) => {
            assert!(config.limits.request < config.mqtt.packet_max as usize);
            assert!(config.limits.max_tokens <= config.limits.max_tokens_cap);
            assert!(config.mqtt.backoff_min <= config.mqtt.backoff_max);
            assert!(config.models.iter().all(|model| (1..=8).contains(&model.files.len())));
            assert!(config.models.iter().all(|model| (256..=model.context).contains(&model.min_context)));
            assert!(config.models.iter().flat_map(|model| &model.ladder).all(|ladder| (1..=9).contains(&ladder.len())));
            assert!(!matches!(config.memory.reserve, Reserve::Bytes(Bytes(0..1_048_576))));
            assert!(config.memory.pressure_psi.tenths() >= 10);
            assert!(config.policies.iter().all(|policy| !policy.clients.is_empty()));
            let cap = config.limits.max_tokens_cap;
            assert!(config.policies.iter().filter_map(|policy| policy.max_tokens).all(|max| (1..=cap).contains(&max)));
            assert!(config.models.iter().filter(|model| model.default).count() == config.models.len().min(1));
        }
        Err(error) => {
            if let ConfigError::Invalid(problems) = &error {
                assert!(!problems.is_empty() && problems.iter().all(|problem| problem.place.is_some()), "{error}");
            }
            assert!(!error.to_string().is_empty());
        }
    }
}

fn key() -> impl Strategy<Value = String> {
    let known = [
        "node",
        "mqtt",
        "limits",
        "model",
        "load",
        "memory",
        "engine",
        "disk",
        "service",
        "name",
        "labels",
        "url",
        "root",
        "files",
        "path",
        "sha256",
        "default",
        "context",
        "min_context",
        "ladder",
        "expect",
        "idle_unload",
        "reserve",
        "pressure_psi",
        "state_dir",
        "control_socket",
        "request",
        "result",
        "packet_max",
        "max_tokens",
        "max_tokens_cap",
        "backoff_min",
        "backoff_max",
        "reply_allow",
        "keep_alive",
        "golden_expect",
        "classification",
        "log_level",
        "queue_jobs",
        "policy",
        "clients",
        "tasks",
        "models",
        "priority",
        "tokens_per_minute",
        "sessions",
        "binding",
        "subscribe",
        "publish",
        "params",
        "pointer",
    ];
    prop_oneof![8 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => "[a-z\"'.]{0,6}"]
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (0..100_000_i64).prop_map(|number| number.to_string()),
        "[0-9]{1,25}(B|KiB|MiB|GB|ms|s|m|h|d)".prop_map(|text| format!("'{text}'")),
        "[0-9]{1,4}(\\.[0-9])?%".prop_map(|text| format!("'{text}'")),
        "(gpu|partial|cpu):(f16|int8|int4)".prop_map(|text| format!("'{text}'")),
        prop::sample::select(vec!["'never'", "'any'", "'gpu'"]).prop_map(str::to_owned),
        "(mqtt|mqtts)?(://)?[a-z@:/\\[\\]#+$]{0,9}".prop_map(|text| format!("'{text}'")),
        "\\PC{0,6}",
        Just("true".to_owned()),
        Just("1e999".to_owned()),
        Just("2026-01-01".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec((key(), inner), 0..4).prop_map(|entries| {
                let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{key} = {value}")).collect();
                format!("{{ {} }}", entries.join(", "))
            }),
        ]
    })
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| format!("{key} = {value}")),
        2 => (key(), key(), value()).prop_map(|(section, key, value)| format!("{section}.{key} = {value}")),
        2 => key().prop_map(|key| format!("[{key}]")),
        2 => Just("[[model]]".to_owned()),
        1 => Just("[[policy]]".to_owned()),
        1 => Just(POLICY.to_owned()),
        1 => Just(MODEL.to_owned()),
        1 => "\\PC{0,20}",
    ]
}

fn file() -> impl Strategy<Value = String> {
    prop::collection::vec(line(), 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn text_that_looks_like_toml(one in file(), two in file()) {
        check(&[&one, &two]);
    }

    #[test]
    fn lines_of_known_keys_alone(lines in prop::collection::vec((key(), key(), value()), 1..4)) {
        let line = |(section, key, value): &(String, String, String)| format!("{section}.{key} = {value}");
        let lines: Vec<String> = lines.iter().map(line).collect();
        check(&[&lines.join("\n")]);
    }

    #[test]
    fn any_text(text in any::<String>()) {
        check(&[&text]);
    }
}

#[test]
fn the_deepest_nesting_that_the_parser_takes() {
    let path = vec!["a"; 79].join(".");
    check(&[&format!("{}1{}", format!("{path} = {{ ").repeat(70) + "b = ", " }".repeat(70))]);
    check(&[&format!("model = {}{}", "[".repeat(100_000), "]".repeat(100_000))]);
    check(&[&format!("model = {}", "{ a = ".repeat(100_000))]);
}
