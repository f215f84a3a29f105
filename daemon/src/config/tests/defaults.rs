use std::time::Duration;

use super::super::{BrokerUrl, LogLevel, Model, ModelFile};
use super::*;
use crate::plan::KvType;

#[test]
fn are_the_documented_ones() {
    let Config { node, mqtt, limits, models, load, engine, service } = read(&[]).unwrap();

    assert_eq!(node.name.as_str(), "gw1");
    assert!(node.labels.is_empty());

    assert_eq!(mqtt.url, BrokerUrl { host: "127.0.0.1".to_owned(), port: 1883 });
    assert_eq!(mqtt.client_id, "promptd-gw1");
    assert_eq!(mqtt.root, "promptd");
    assert_eq!((mqtt.username, mqtt.password_credential), (None, None));
    assert_eq!(mqtt.keep_alive, Duration::from_secs(30));
    assert_eq!(mqtt.session_expiry, Duration::from_hours(1));
    assert_eq!((mqtt.receive_maximum, mqtt.packet_max, mqtt.outbox_max), (64, 1_048_576, 1024));
    assert_eq!((mqtt.backoff_min, mqtt.backoff_max), (Duration::from_millis(500), Duration::from_mins(1)));
    assert!(mqtt.reply_allow.is_empty());
    assert!(mqtt.anonymous);

    assert_eq!((limits.request, limits.result), (262_144, 262_144));
    assert_eq!((limits.queue_jobs, limits.queue_jobs_per_client), (256, 64));
    assert_eq!((limits.max_tokens, limits.max_tokens_cap), (256, 4096));
    assert_eq!((limits.deadline, limits.deadline_cap), (Duration::from_mins(5), Duration::from_hours(1)));

    assert!(models.is_empty());
    assert_eq!(load.timeout, Duration::from_mins(10));
    assert_eq!(engine.max_stall, Duration::from_millis(250));
    assert_eq!(engine.heartbeat_timeout, Duration::from_secs(30));
    assert!(!engine.reproducible);
    assert_eq!((service.drain_timeout, service.log_level), (Duration::from_secs(30), LogLevel::Info));
}

#[test]
fn of_a_model() {
    let expected = Model {
        name: "main".parse().unwrap(),
        file: ModelFile { path: "/m.gguf".into(), sha256: None },
        default: true,
        context: 2048,
        sequences: 4,
        kv_type: KvType::F16,
        threads: None,
        golden_prompt: None,
        golden_expect: None,
    };
    let config = good(MODEL);
    assert_eq!(config.models, [expected]);
    assert_eq!(config.default_model().unwrap().name.as_str(), "main");
}

#[test]
fn of_this_machine_are_valid() {
    assert_eq!(Config::defaults().mqtt.packet_max, 1_048_576);
}

#[test]
fn the_client_id_follows_the_node_name() {
    assert_eq!(good("node.name = \"cellar\"").mqtt.client_id, "promptd-cellar");
    assert_eq!(good("node.name = \"cellar\"\nmqtt.client_id = \"c\"").mqtt.client_id, "c");
}

#[test]
fn a_model_path_starts_from_the_folder_of_its_file() {
    let config = good("[[model]]\nname = \"main\"\nfiles = [{ path = \"models/m.gguf\" }]");
    assert_eq!(config.models[0].file.path.to_str(), Some("/etc/promptd/models/m.gguf"));
}

#[test]
fn a_digest_is_read_in_either_case() {
    let digest = "e3b0c44298fc1c149AFBF4C8996FB92427ae41e4649b934ca495991b7852b855";
    let config = good(&format!("[[model]]\nname = \"m\"\nfiles = [{{ path = \"/m\", sha256 = \"{digest}\" }}]"));
    let sha256 = config.models[0].file.sha256.unwrap();
    assert_eq!((sha256[0], sha256[9], sha256[31]), (0xe3, 0xfb, 0x55));
}

#[test]
fn one_of_several_models_is_the_default() {
    let second = "[[model]]\nname = \"big\"\ndefault = true\nfiles = [{ path = \"/b.gguf\" }]\n";
    let config = good(&format!("{MODEL}{second}"));
    assert_eq!(config.default_model().unwrap().name.as_str(), "big");
    assert_eq!(config.models.iter().map(|model| model.default).collect::<Vec<_>>(), [false, true]);
}
