//! Every key with bounds takes both ends and refuses what lies beyond them.

use super::*;

/// A key, its ends as the messages write them, and values just beyond them.
pub(super) struct Bounds {
    /// The key; `model.`, `policy.` and `binding.` stand for the section of one.
    pub(super) key: &'static str,
    /// Just below, as TOML.
    below: &'static str,
    /// The smallest.
    pub(super) min: &'static str,
    /// The largest.
    pub(super) max: &'static str,
    /// Just above, as TOML.
    above: &'static str,
    /// Other keys that these values need.
    with: &'static str,
}

const fn bounds(key: &'static str, [below, min, max, above]: [&'static str; 4], with: &'static str) -> Bounds {
    Bounds { key, below, min, max, above, with }
}

pub(super) const ALL: &[Bounds] = &[
    bounds("mqtt.keep_alive", ["'4s'", "5s", "65535s", "'65536s'"], ""),
    bounds("mqtt.session_expiry", ["'-1s'", "0s", "365d", "'31536001s'"], ""),
    bounds("mqtt.receive_maximum", ["0", "1", "65535", "65536"], ""),
    bounds("mqtt.packet_max", ["8191", "8KiB", "16MiB", "16777217"], "limits.request = '2KiB'"),
    bounds(
        "mqtt.outbox_max",
        ["15", "16", "131072", "131073"],
        "limits.queue_jobs = 8\nlimits.queue_jobs_per_client = 1",
    ),
    bounds("mqtt.backoff_min", ["'99ms'", "100ms", "1m", "'60001ms'"], ""),
    bounds("mqtt.backoff_max", ["'999ms'", "1s", "1h", "'3600001ms'"], ""),
    bounds("limits.request", ["1023", "1KiB", "4MiB", "4194305"], "mqtt.packet_max = '16MiB'"),
    bounds("limits.result", ["1023", "1KiB", "4MiB", "4194305"], ""),
    bounds(
        "limits.queue_jobs",
        ["0", "1", "65536", "65537"],
        "limits.queue_jobs_per_client = 1\nmqtt.outbox_max = 131072",
    ),
    bounds(
        "limits.queue_jobs_per_client",
        ["0", "1", "65536", "65537"],
        "limits.queue_jobs = 65536\nmqtt.outbox_max = 131072",
    ),
    bounds("limits.max_tokens", ["0", "1", "1048576", "1048577"], "limits.max_tokens_cap = 1048576"),
    bounds("limits.max_tokens_cap", ["0", "1", "1048576", "1048577"], "limits.max_tokens = 1"),
    bounds("limits.deadline", ["'99ms'", "100ms", "7d", "'604800001ms'"], "limits.deadline_cap = '7d'"),
    bounds("limits.deadline_cap", ["'99ms'", "100ms", "7d", "'604800001ms'"], "limits.deadline = '100ms'"),
    bounds("model.context", ["255", "256", "1048576", "1048577"], ""),
    bounds("model.min_context", ["255", "256", "1048576", "1048577"], "context = 1048576"),
    bounds("model.sequences", ["0", "1", "64", "65"], ""),
    bounds("model.threads", ["0", "1", "512", "513"], ""),
    bounds("policy.max_tokens", ["0", "1", "1048576", "1048577"], "limits.max_tokens_cap = 1048576"),
    bounds(
        "policy.queue_jobs",
        ["0", "1", "65536", "65537"],
        "limits.queue_jobs = 65536\nlimits.queue_jobs_per_client = 65536\nmqtt.outbox_max = 131072",
    ),
    bounds("policy.tokens_per_minute", ["0", "1", "1000000000", "1000000001"], ""),
    bounds("policy.sessions", ["-1", "0", "1024", "1025"], "session.per_client = 1024"),
    bounds("binding.max_age", ["'99ms'", "100ms", "7d", "'604800001ms'"], "limits.deadline_cap = '7d'"),
    bounds("load.timeout", ["'9999ms'", "10s", "1d", "'86400001ms'"], ""),
    bounds("load.idle_unload", ["'9999ms'", "10s", "7d", "'604800001ms'"], ""),
    bounds("memory.reserve", ["'0.9%'", "1%", "90%", "'90.1%'"], ""),
    bounds("memory.reserve", ["1048575", "1MiB", "1024GiB", "1099511627777"], ""),
    bounds("memory.budget", ["16777215", "16MiB", "1024GiB", "1099511627777"], ""),
    bounds("memory.pressure_psi", ["'0.9%'", "1%", "90%", "'90.1%'"], ""),
    bounds("memory.recover_after", ["'999ms'", "1s", "1d", "'86400001ms'"], ""),
    bounds("thermal.soft_celsius", ["29", "30", "125", "126"], ""),
    bounds("thermal.hard_celsius", ["29", "30", "125", "126"], ""),
    bounds("thermal.margin_celsius", ["-1", "0", "30", "31"], ""),
    bounds("thermal.hysteresis_celsius", ["0", "1", "20", "21"], ""),
    bounds("engine.max_stall", ["'9ms'", "10ms", "10s", "'10001ms'"], ""),
    bounds("engine.heartbeat_timeout", ["'999ms'", "1s", "1h", "'3600001ms'"], ""),
    bounds("engine.crash_quarantine", ["0", "1", "10", "11"], ""),
    bounds("engine.prefix_cache", ["-1", "0", "64GiB", "68719476737"], ""),
    bounds("journal.commit_window", ["'-1s'", "0s", "1s", "'1001ms'"], ""),
    bounds("journal.keep", ["'59999ms'", "1m", "30d", "'2592000001ms'"], ""),
    bounds("session.keep", ["'999ms'", "1s", "365d", "'31536001s'"], ""),
    bounds("session.per_client", ["0", "1", "1024", "1025"], ""),
    bounds("session.size_max", ["1023", "1KiB", "1MiB", "1048577"], ""),
    bounds("journal.size_max", ["16777215", "16MiB", "4GiB", "4294967297"], ""),
    bounds("disk.reserve", ["'0.9%'", "1%", "90%", "'90.1%'"], ""),
    bounds("disk.reserve", ["1048575", "1MiB", "1024GiB", "1099511627777"], ""),
    bounds("disk.derived_max", ["1048575", "1MiB", "1024GiB", "1099511627777"], ""),
    bounds("telemetry.interval", ["'999ms'", "1s", "1h", "'3600001ms'"], ""),
    bounds("telemetry.stream_interval", ["'999ms'", "1s", "1h", "'3600001ms'"], "telemetry.interval = '1h'"),
    bounds(
        "telemetry.health_min_interval",
        ["'999ms'", "1s", "1h", "'3600001ms'"],
        "telemetry.health_max_interval = '1d'",
    ),
    bounds(
        "telemetry.health_max_interval",
        ["'999ms'", "1s", "1d", "'86400001ms'"],
        "telemetry.health_min_interval = '1s'",
    ),
    bounds("telemetry.deadbands.celsius", ["0", "1", "50", "51"], ""),
    bounds("telemetry.deadbands.share", ["'0.9%'", "1%", "50%", "'50.1%'"], ""),
    bounds("telemetry.deadbands.watts", ["0", "1", "1000", "1001"], ""),
    bounds("service.drain_timeout", ["'-1s'", "0s", "10m", "'600001ms'"], ""),
];

impl Bounds {
    fn document(&self, value: &str) -> String {
        let Self { key, with, .. } = self;
        match key.split_once('.') {
            Some(("model", key)) => format!("{MODEL}{key} = {value}\n{with}\n"),
            Some(("policy", key)) => format!("{with}\n{POLICY}{key} = {value}\n"),
            Some(("binding", key)) => format!("{with}\n{BINDING}{key} = {value}\n"),
            _ => format!("{key} = {value}\n{with}\n"),
        }
    }
}

/// A number stays a number, everything else is a string.
fn toml(value: &str) -> String {
    if value.parse::<u64>().is_ok() { value.to_owned() } else { format!("'{value}'") }
}

#[test]
fn both_ends_are_taken() {
    for bounds in ALL {
        for end in [bounds.min, bounds.max] {
            good(&bounds.document(&toml(end)));
        }
    }
}

#[test]
fn what_lies_beyond_is_refused_with_the_value_and_the_bounds() {
    for bounds in ALL {
        for beyond in [bounds.below, bounds.above] {
            let found = problems(&[&bounds.document(beyond)]);
            let [problem] = found.as_slice() else { panic!("{found:?}") };
            let key = bounds.key.replace("model.", "model[main].").replace("policy.", "policy[all].");
            let key = key.replace("binding.", "binding[b].");
            let value = beyond.replace('\'', "\"");
            // A sign is no form of a time at all.
            let reason = if beyond.contains("-1s") {
                "write a time such as".to_owned()
            } else {
                format!("allowed are {} to {}", bounds.min, bounds.max)
            };
            assert!(problem.contains(&format!(": {key} = {value}: {reason}")), "{problem}");
        }
    }
}

#[test]
fn numbers_beyond_64_bits_are_refused_too() {
    for number in ["99999999999999999999", "-99999999999999999999", "0xffffffffffffffffff"] {
        for key in ["limits.queue_jobs", "limits.request"] {
            let found = problems(&[&format!("{key} = {number}")]);
            assert!(found[0].contains("allowed are"), "{found:?}");
        }
    }
    let found = problems(&["limits.request = '99999999999999999999GiB'", "load.timeout = '99999999999999999999d'"]);
    assert!(found.iter().all(|problem| problem.contains("allowed are")), "{found:?}");
}

#[test]
fn texts_and_lists_have_bounds() {
    let long = |bytes: usize| format!("'{}'", "x".repeat(bytes));
    let list = |entries: usize| format!("[{}]", "'a/b',".repeat(entries));
    let labels = |entries: usize| {
        let entries: Vec<String> = (0..entries).map(|index| format!("l{index} = 'x'")).collect();
        format!("{{ {} }}", entries.join(", "))
    };
    // What a relative path in one of the files gets in front of it.
    let folder = "/etc/promptd/".len();
    // 128 bytes of text and 3 or 4 of name each; together 2048 are allowed.
    let long_labels = |entries: usize| {
        let entries: Vec<String> = (0..entries).map(|index| format!("l{index:02} = {}", long(128))).collect();
        format!("{{ {} }}", entries.join(", "))
    };
    for (key, fits, exceeds) in [
        ("node.name", long(64), long(65)),
        ("node.labels", format!("{{ a = {} }}", long(128)), format!("{{ a = {} }}", long(129))),
        ("node.groups", format!("[{}]", long(64)), format!("[{}]", long(65))),
        ("node.groups", format!("[{}]", "'a',".repeat(8)), format!("[{}]", "'a',".repeat(9))),
        ("node.labels", labels(32), labels(33)),
        ("node.labels", long_labels(15), long_labels(16)),
        ("mqtt.client_id", long(128), long(129)),
        ("mqtt.root", long(128), long(129)),
        ("mqtt.username", long(1024), long(1025)),
        ("mqtt.reply_allow", list(64), list(65)),
        ("service.state_dir", long(4096), long(4097)),
        ("service.control_socket", long(107 - folder), long(108 - folder)),
    ] {
        good(&format!("{key} = {fits}"));
        assert_eq!(problems(&[&format!("{key} = {exceeds}")]).len(), 1, "{key}");
    }
}

#[test]
fn texts_and_lists_of_models_have_bounds() {
    let long = |bytes: usize| format!("'{}'", "x".repeat(bytes));
    for key in ["golden_prompt", "name"] {
        let model = |value: &str| format!("[[model]]\nfiles = [{{ path = '/m' }}]\n{key} = {value}\n");
        let name = if key == "name" { "" } else { "name = 'm'\n" };
        let max = if key == "name" { 64 } else { 4096 };
        good(&(model(&long(max)) + name));
        assert_eq!(problems(&[&(model(&long(max + 1)) + name)]).len(), 1, "{key}");
    }
    let files = |count: usize| -> String {
        let files: Vec<String> = (0..count).map(|index| format!("{{ path = '/{index}' }}")).collect();
        format!("[[model]]\nname = 'm'\nfiles = [{}]\n", files.join(", "))
    };
    assert_eq!(good(&files(8)).models[0].files.len(), 8);
    assert_eq!(problems(&[&files(9)]), ["0.toml:3:9: model[m].files = […]: there are 9 files; allowed are 1 to 8"]);
    let models = |count: usize| -> String {
        let model = |index: usize| {
            format!("[[model]]\nname = 'm{index}'\ndefault = {}\nfiles = [{{ path = '/m' }}]\n", index == 0)
        };
        (0..count).map(model).collect()
    };
    assert_eq!(good(&models(16)).models.len(), 16);
    assert_eq!(problems(&[&models(17)]), ["0.toml:1:1: model = […]: there are 17 models; allowed are 0 to 16"]);
}
