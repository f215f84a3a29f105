//! What an operator reads when something is wrong.

use super::*;
use crate::plan::Profile;

#[test]
fn all_of_a_file_at_once_in_its_order() {
    let file = r#"
[node]
name = "a/b"
[mqtt]
url = "ssl://broker"
keep_alive = "1s"
reply_allow = ["a/#/b"]
[limits]
requst = "1KiB"
result = 7.5
max_tokens = 9000
[[model]]
name = "main"
context = 8
files = []
[engine]
reproducible = "yes"
"#;
    assert_eq!(
        problems(&[file]),
        [
            r#"0.toml:3:8: node.name = "a/b": node contains '/'; allowed are letters, digits, '.', '_' and '-'"#,
            r#"0.toml:5:7: mqtt.url = "ssl://broker": for TLS write mqtts://host or mqtts://host:port"#,
            r#"0.toml:6:14: mqtt.keep_alive = "1s": allowed are 5s to 65535s"#,
            r#"0.toml:7:16: mqtt.reply_allow = "a/#/b": '#' must be the whole last level"#,
            r#"0.toml:9:1: limits.requst: unknown key; did you mean "request"?"#,
            "0.toml:10:10: limits.result = 7.5: write a size such as \"256KiB\", \"64MiB\", \"1GiB\" \
             (also KB, MB, GB, B) or a number of bytes",
            "0.toml:11:14: limits.max_tokens = 9000: must be at most limits.max_tokens_cap = 4096 (the default)",
            "0.toml:14:11: model[main].context = 8: allowed are 256 to 1048576",
            "0.toml:15:9: model[main].files = […]: there are 0 files; allowed are 1 to 8",
            r#"0.toml:17:16: engine.reproducible = "yes": must be true or false"#,
        ]
    );
}

#[test]
fn of_all_files_at_once() {
    let found = problems(&["limits.requests = 1\nload.timeout = 3", "engine.max_stall = true\nlimits.max_token = 1"]);
    let places: Vec<&str> = found.iter().map(|problem| problem.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["0.toml:1:8", "0.toml:2:16", "1.toml:1:20", "1.toml:2:8"]);
}

#[test]
fn the_text_of_the_error_has_all_of_them() {
    let error = read(&["limits.result = 0\nload.x = 1"]).unwrap_err().to_string();
    assert_eq!(
        error,
        "2 problems in the configuration:\
         \n  /etc/promptd/0.toml:1:17: limits.result = 0: allowed are 1KiB to 4MiB\
         \n  /etc/promptd/0.toml:2:6: load.x: unknown key; known are timeout, idle_unload"
    );
}

#[test]
fn syntax_errors_of_all_files_with_their_lines() {
    let error = read(&["a = \nb = 1\nb = 2\n", MODEL, "[x\n"]).unwrap_err();
    let ConfigError::Syntax(errors) = &error else { panic!("{error:?}") };
    let places: Vec<(&str, usize, usize, &str)> = errors
        .iter()
        .map(|error| (error.place.file.to_str().unwrap(), error.place.line, error.place.column, error.snippet.as_str()))
        .collect();
    assert_eq!(
        places,
        [
            ("/etc/promptd/0.toml", 1, 5, "a = "),
            ("/etc/promptd/0.toml", 3, 1, "b = 2"),
            ("/etc/promptd/2.toml", 1, 3, "[x"),
        ]
    );
    let text = error.to_string();
    assert!(text.starts_with("3 syntax errors in the configuration:\n  /etc/promptd/0.toml:1:5: "), "{text}");
    assert!(text.contains("\n    3 | b = 2"), "{text}");
}

#[test]
fn in_a_few_words_without_values_and_folders() {
    let summary = |files: &[&str]| read(files).unwrap_err().summary();
    assert_eq!(summary(&["limits.result = 'a secret'"]), "1 problem at 0.toml:1:17");
    assert_eq!(summary(&["limits.result = 0\nload.x = 1", "x = 1"]), "3 problems, the first at 0.toml:1:17");
    assert_eq!(summary(&["", "a = \n"]), "1 syntax error at 1.toml:1:5");
    let drop_in = Source { path: "/etc/promptd/conf.d/10-site.toml".into(), text: "x = 1".to_owned() };
    let error = Config::from_sources(&[drop_in], &machine()).unwrap_err();
    assert_eq!(error.summary(), "1 problem at conf.d/10-site.toml:1:1");
    let error = Config::load(std::path::Path::new("/nowhere/promptd.toml"), &Profile::default()).unwrap_err();
    assert_eq!(error.summary(), "cannot read promptd.toml: No such file or directory (os error 2)");
}

#[test]
fn one_by_one_and_not_without_end() {
    let text: Vec<String> = (0..60).map(|number| format!("x{number} = 1")).collect();
    let told = read(&[&text.join("\n")]).unwrap_err().problems();
    assert_eq!((told.len(), told[50].as_str()), (51, "and 10 more; `promptd check` tells all of them"));
    assert!(told[0].starts_with("/etc/promptd/0.toml:1:1: x0: unknown key"), "{}", told[0]);
    assert_eq!(read(&["a = \n"]).unwrap_err().problems().len(), 1);
}

#[test]
fn unknown_keys_say_what_was_meant_or_what_there_is() {
    let cases = [
        ("[limit]", r#"limit: unknown key; did you mean "limits"?"#),
        (
            "[zzz]",
            "zzz: unknown key; known are node, mqtt, limits, model, task, pipeline, session, binding, policy, load, memory, thermal, engine, journal, disk, telemetry, service",
        ),
        ("mqtt.password = 'x'", r#"mqtt.password: unknown key; did you mean "password_credential"?"#),
        ("service.loglevel = 'info'", r#"service.loglevel: unknown key; did you mean "log_level"?"#),
        ("load.\"a\\nb\" = 1", r"load.a\nb: unknown key; known are timeout, idle_unload"),
    ];
    for (text, expected) in cases {
        let found = problems(&[text]);
        assert_eq!(found.len(), 1);
        assert!(found[0].ends_with(expected), "{found:?}");
    }
    let found = problems(&[&format!("{MODEL}contxt = 1")]);
    assert_eq!(found, [r#"0.toml:4:1: model[main].contxt: unknown key; did you mean "context"?"#]);
}

#[test]
fn wrong_types_say_what_is_wanted() {
    for (text, expected) in [
        ("limits = 5", "limits = 5: must be a table: write [limits]"),
        ("model = 5", "model = 5: must be an array of tables: write [[model]]"),
        ("[model]\nname = 'x'", "model = {…}: must be an array of tables: write [[model]]"),
        ("model = [1]", "model = 1: must be a table"),
        ("node.labels = 'x'", r#"node.labels = "x": must be a table, such as { room = "cellar" }"#),
        ("node.labels.a = 1", "node.labels.a = 1: must be a string"),
        ("node.labels.\"ä\" = 'x'", "the label's name contains 'ä'; allowed are letters, digits, '.', '_' and '-'"),
        ("mqtt.reply_allow = 'a'", "must be an array: write [\"…\", \"…\"]"),
        ("mqtt.reply_allow = [1]", "mqtt.reply_allow = 1: must be a string"),
        ("mqtt.receive_maximum = '64'", "write a whole number; allowed are 1 to 65535"),
        ("mqtt.keep_alive = 30", "write a time such as \"500ms\", \"5s\", \"5m\", \"1h\" or \"1d\""),
        ("mqtt.keep_alive = '5500ms'", "must be a whole number of seconds"),
        ("service.log_level = 'loud'", r#"allowed are "error", "warn", "info", "debug", "trace""#),
        ("load.idle_unload = 'always'", "or \"1d\", or \"never\""),
        ("load.idle_unload = '1s'", "allowed are 10s to 7d, or \"never\""),
        ("load.timeout = 'never'", "load.timeout = \"never\": write a time"),
        (
            "memory.reserve = 'much'",
            "write a share such as \"10%\" or \"2.5%\", or a size such as \"512MiB\" or \"4GiB\"",
        ),
        ("memory.reserve = 0.1", "memory.reserve = 0.1: write a share"),
        ("memory.reserve = '150%'", "write a share such as \"10%\" or \"2.5%\"; allowed are 1% to 90%"),
        ("memory.reserve = 10", "memory.reserve = 10: allowed are 1MiB to 1024GiB"),
        ("memory.pressure_psi = 20", "write a share such as \"10%\" or \"2.5%\"; allowed are 1% to 90%"),
        ("memory.pressure_psi = '1MiB'", "memory.pressure_psi = \"1MiB\": write a share"),
        ("memory.budget = '50%'", "memory.budget = \"50%\": write a size"),
        ("thermal.soft_celsius = 70.5", "thermal.soft_celsius = 70.5: write a whole number; allowed are 30 to 125"),
        ("disk.reserve = true", "disk.reserve = true: write a share"),
        ("service.state_dir = ''", "service.state_dir = \"\": has 0 bytes; allowed are 1 to 4096"),
        ("service.control_socket = 7", "service.control_socket = 7: must be a string"),
        ("service.control_socket = \"a\\u0000\"", "contains the control character"),
        ("load.timeout = 2026-01-01", "load.timeout = 2026-01-01: write a time"),
    ] {
        let found = problems(&[text]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(expected), "{}", found[0]);
    }
}

#[test]
fn of_keys_that_do_not_fit_together() {
    for (text, expected) in [
        (
            "mqtt.packet_max = '128KiB'",
            "0.toml:1:19: limits.request = 256KiB (the default): must be below mqtt.packet_max = 128KiB",
        ),
        (
            "limits.request = '1MiB'",
            "0.toml:1:18: limits.request = 1MiB: must be below mqtt.packet_max = 1MiB (the default)",
        ),
        (
            "limits.queue_jobs = 10",
            "limits.queue_jobs_per_client = 64 (the default): must be at most limits.queue_jobs = 10",
        ),
        ("limits.deadline = '2h'", "limits.deadline = 2h: must be at most limits.deadline_cap = 1h (the default)"),
        (
            "mqtt.backoff_min = '10s'\nmqtt.backoff_max = '5s'",
            "mqtt.backoff_min = 10s: must be at most mqtt.backoff_max = 5s",
        ),
        (
            "engine.max_stall = '2s'\nengine.heartbeat_timeout = '2s'",
            "engine.max_stall = 2s: must be below engine.heartbeat_timeout = 2s",
        ),
        (
            "thermal.hard_celsius = 80\nthermal.soft_celsius = 80",
            "thermal.soft_celsius = 80: must be below thermal.hard_celsius = 80",
        ),
        ("mqtt.password_credential = 'x'", "mqtt.password_credential = \"x\": needs mqtt.username beside it"),
    ] {
        let found = problems(&[text]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(expected), "{}", found[0]);
    }
}

#[test]
fn a_refused_value_does_not_cause_a_second_problem() {
    assert_eq!(problems(&["limits.request = 'much'\nmqtt.packet_max = '128KiB'"]).len(), 1);
}

#[test]
fn quote_no_password_and_no_flood() {
    for text in ["mqtt.url = 'mqtt://user:hunter2@broker'", "mqtt.url = 'mqtts://user:hun@ter2@broker'"] {
        let found = problems(&[text]);
        assert!(found[0].contains("://***@broker\"") && !found[0].contains("ter2"), "{found:?}");
    }
    let error = read(&["mqtt.url = 'mqtt://user:hunter2@broker"]).unwrap_err().to_string();
    assert!(!error.contains("hunter2"), "{error}");
    let found = problems(&[&format!("mqtt.root = '{}'", "#".repeat(100_000))]);
    assert!(found[0].len() < 300);
    let found = problems(&[&format!("{} = 1", "k".repeat(100_000))]);
    assert!(found[0].len() < 300);
    let found = problems(&["mqtt.root = \"a\\u001b[31m\\n+\""]);
    assert!(!found[0].contains(|character: char| character.is_control()), "{found:?}");
}
