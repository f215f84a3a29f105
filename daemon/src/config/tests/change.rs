//! What another configuration asks of a daemon that runs.

use super::*;
use crate::config::{Change, LogLevel, Model, Step};
use crate::job::ModelName;

/// With a model, so that something could go wrong with it.
fn with_model(text: &str) -> Config {
    good(&format!("{MODEL}{text}"))
}

fn model<'a>(config: &'a Config, name: &str) -> &'a Model {
    config.models.iter().find(|model| model.name.as_str() == name).unwrap()
}

/// The steps other than that the model is kept.
fn steps(change: &Change) -> Vec<Step> {
    let kept = |step: &&Step| !matches!(step, Step::Keep(_));
    change.steps.iter().filter(kept).cloned().collect()
}

#[test]
fn nothing_new_asks_only_to_look_at_the_files() {
    let config = with_model("");
    let change = Change::between(&config, config.clone());
    assert_eq!(change.steps, [Step::Keep(config.models[0].clone())]);
    assert!(change.is_empty() && change.restart.is_empty());
    assert_eq!(change.config, config);
}

#[test]
fn each_key_asks_for_what_hangs_on_it() {
    for (text, expected) in [
        ("limits.queue_jobs = 100", vec![Step::Requests]),
        ("limits.max_tokens_cap = 5000", vec![Step::Requests]),
        ("limits.request = '128KiB'", vec![Step::Requests]),
        ("limits.result = '128KiB'", vec![]),
        ("memory.reserve = '20%'", vec![Step::Memory]),
        ("memory.recover_after = '2m'", vec![Step::Memory]),
        ("thermal.soft_celsius = 70", vec![Step::Thermal]),
        ("thermal.hysteresis_celsius = 7", vec![Step::Thermal]),
        ("load.idle_unload = '1h'", vec![]),
        ("load.timeout = '1h'", vec![]),
        ("engine.crash_quarantine = 3", vec![]),
        ("journal.keep = '2h'", vec![]),
        ("journal.on_unwritable = 'memory'", vec![]),
        ("disk.reserve = '10%'", vec![]),
        ("telemetry.interval = '2m'", vec![Step::Telemetry]),
        ("telemetry.http = '127.0.0.1:9471'", vec![Step::Telemetry]),
        ("telemetry.deadbands = { watts = 5 }", vec![Step::Telemetry]),
        ("node.labels = { site = 'x' }", vec![]),
        ("node.groups = ['line']", vec![Step::Reconnect]),
        ("service.drain_timeout = '1m'", vec![]),
        ("service.log_level = 'debug'", vec![Step::Log(LogLevel::Debug)]),
        ("mqtt.reply_allow = ['a/+']", vec![Step::Requests]),
        ("mqtt.anonymous = false", vec![]),
        ("mqtt.outbox_max = 2000", vec![Step::Outbox]),
        ("mqtt.url = 'mqtt://other'", vec![Step::Reconnect]),
        ("mqtt.keep_alive = '10s'", vec![Step::Reconnect]),
        ("mqtt.username = 'x'", vec![Step::Reconnect]),
        ("mqtt.backoff_max = '2m'", vec![Step::Reconnect]),
    ] {
        let config = good(&format!("{text}\n{MODEL}"));
        let change = Change::between(&with_model(""), config.clone());
        assert_eq!(steps(&change), expected, "{text}");
        let key = text.split(' ').next().unwrap();
        assert_eq!((change.keys.as_slice(), change.restart.len()), ([key.to_owned()].as_slice(), 0), "{text}");
        assert_eq!(change.config, config, "{text}");
        // And back.
        assert!(Change::between(&config, with_model("")).keys.is_empty() == (key == "mqtt.outbox_max"), "{text}");
    }
}

#[test]
fn files_for_tls_are_named_by_their_keys() {
    let secured = |files: &str| good(&format!("mqtt.url = 'mqtts://b'\n{files}"));
    let change = |old: &Config, files: &str| Change::between(old, secured(files));
    let bare = secured("");
    assert_eq!(change(&good(""), "").keys, ["mqtt.url"]);
    let with_authority = change(&bare, "mqtt.ca_file = '/ca'");
    assert_eq!((with_authority.keys, with_authority.steps), (vec!["mqtt.ca_file".to_owned()], vec![Step::Reconnect]));
    let pair = "mqtt.cert_file = '/c'\nmqtt.key_credential = '/k'";
    assert_eq!(change(&bare, pair).keys, ["mqtt.cert_file", "mqtt.key_credential"]);
}

#[test]
fn what_needs_a_restart_keeps_its_old_value_and_is_named() {
    let new = "[node]\nname = 'other'\n[mqtt]\nroot = 'r'\noutbox_max = 512\n[service]\nstate_dir = '/s'\n\
               control_socket = '/c'\n[limits]\nmax_tokens = 7\n\
               [journal]\ndurability = 'memory'\nsize_max = '64MiB'\n";
    let old = with_model("");
    let change = Change::between(&old, with_model(new));
    let mut expected = old.clone();
    expected.limits.max_tokens = 7;
    assert_eq!(change.config, expected);
    assert_eq!(change.keys, ["limits.max_tokens"]);
    // The client id follows the node's name.
    let named = [
        "node.name",
        "mqtt.client_id",
        "mqtt.root",
        "mqtt.outbox_max",
        "journal.durability",
        "journal.size_max",
        "service.state_dir",
        "service.control_socket",
    ];
    assert_eq!(change.restart, named);
    // It stays named as long as it is so, and is forgotten when the files say again what is in force.
    let again = Change::between(&change.config, with_model(new));
    assert!(again.is_empty() && again.restart == named);
    assert_eq!(Change::between(&again.config, old).restart, [""; 0]);
}

#[test]
fn policies_are_named_by_key_while_they_are_the_same_ones() {
    let policies = |text: &str| with_model(text);
    let named = |names: [&str; 2], most: u32| {
        let policy = |name| format!("[[policy]]\nname = '{name}'\nclients = ['{name}']\nmax_tokens = {most}\n");
        policies(&names.map(policy).concat())
    };
    let change = Change::between(&named(["a", "b"], 4), named(["a", "b"], 5));
    assert_eq!(change.keys, ["policy[a].max_tokens", "policy[b].max_tokens"]);
    assert!(steps(&change).is_empty() && change.config == named(["a", "b"], 5), "{:?}", change.steps);
    for other in [named(["b", "a"], 4), named(["a", "c"], 4), policies("")] {
        let change = Change::between(&named(["a", "b"], 4), other.clone());
        assert_eq!((change.keys.as_slice(), change.config), (["policy".to_owned()].as_slice(), other));
    }
}

#[test]
fn engines_are_made_anew_only_for_what_they_are_made_of() {
    for text in [
        "engine.max_stall = '1s'",
        "engine.reproducible = true",
        "engine.adapt_threads = false",
        "engine.heartbeat_timeout = '1m'",
        "engine.prefix_cache = '1MiB'",
    ] {
        let config = good(&format!("{text}\n{MODEL}"));
        assert_eq!(Change::between(&with_model(""), config.clone()).steps, [Step::Renew(config.models[0].clone())]);
    }
    // An engine for larger requests can take smaller ones.
    let larger = good(&format!("limits.request = '512KiB'\n{MODEL}"));
    let main = larger.models[0].clone();
    let change = Change::between(&with_model(""), larger.clone());
    assert_eq!(change.steps, [Step::Requests, Step::Renew(main.clone())]);
    assert_eq!(Change::between(&larger, with_model("")).steps, [Step::Requests, Step::Keep(main)]);
}

#[test]
fn each_model_is_added_removed_renewed_or_kept() {
    let old = good(&format!(
        "{MODEL}default = true\n[[model]]\nname = 'small'\nfiles = [{{ path = '/s' }}]\nthreads = 1\n\
         [[model]]\nname = 'old'\nfiles = [{{ path = '/o' }}]\n"
    ));
    let new = good(&format!(
        "{MODEL}pinned = true\n[[model]]\nname = 'small'\nfiles = [{{ path = '/s' }}]\nthreads = 2\n\
         [[model]]\nname = 'new'\nfiles = [{{ path = '/n' }}]\nsequences = 64\ndefault = true\n"
    ));
    let change = Change::between(&old, new.clone());
    let name = |name: &str| ModelName::new(name).unwrap();
    assert_eq!(
        change.steps,
        [
            // The places of 64 more jobs.
            Step::Outbox,
            Step::Remove(name("old")),
            Step::Keep(model(&new, "main").clone()),
            Step::Renew(model(&new, "small").clone()),
            Step::Add(model(&new, "new").clone()),
            Step::Default(name("new")),
        ]
    );
    assert_eq!(
        (change.added.as_slice(), change.removed.as_slice()),
        ([name("new")].as_slice(), [name("old")].as_slice())
    );
    assert_eq!(change.keys, ["model[main].default", "model[main].pinned", "model[small].threads"]);
    assert_eq!(change.config, new);
}

#[test]
fn the_last_model_may_go_and_the_first_come() {
    let (none, one) = (good(""), with_model(""));
    let main = one.models[0].name.clone();
    assert_eq!(Change::between(&one, none.clone()).steps, [Step::Remove(main.clone())]);
    let steps = Change::between(&none, one.clone()).steps;
    assert_eq!(steps, [Step::Outbox, Step::Add(one.models[0].clone()), Step::Default(main)]);
}

#[test]
fn a_change_of_files_alone_renews_the_model() {
    let other = MODEL.replace("/m.gguf", "/other.gguf");
    let change = Change::between(&with_model(""), good(&other));
    assert!(matches!(change.steps.as_slice(), [Step::Renew(_)]), "{:?}", change.steps);
    assert_eq!(change.keys, ["model[main].files"]);
}
