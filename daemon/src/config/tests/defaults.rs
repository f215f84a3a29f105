use std::time::Duration;

use super::super::{
    BrokerUrl, Classification, Deadbands, Durability, Expect, LogLevel, Model, ModelFile, OnUnwritable, Scheme,
};
use super::*;
use crate::plan::{Bytes, KvType, Percent, Profile, Reserve};

#[test]
fn are_the_documented_ones() {
    let Config {
        node,
        mqtt,
        limits,
        models,
        policies,
        bindings,
        load,
        memory,
        thermal,
        engine,
        journal,
        session,
        disk,
        telemetry,
        service,
        profile,
        tasks: _,
        pipelines: _,
    } = read(&[]).unwrap();
    let percent = |text: &str| Percent::parse(text).unwrap();

    assert_eq!(node.name.as_str(), "gw1");
    assert!(node.labels.is_empty() && node.groups.is_empty());

    assert_eq!(mqtt.url, BrokerUrl { scheme: Scheme::Mqtt, host: "127.0.0.1".to_owned(), port: 1883 });
    assert_eq!(mqtt.tls, None);
    assert_eq!(mqtt.client_id, "promptd-gw1");
    assert_eq!(mqtt.root, "promptd");
    assert_eq!((mqtt.username, mqtt.password_credential), (None, None));
    assert_eq!(mqtt.keep_alive, Duration::from_secs(30));
    assert_eq!(mqtt.session_expiry, Duration::from_hours(1));
    assert_eq!((mqtt.receive_maximum, mqtt.packet_max, mqtt.outbox_max), (64, 1_048_576, 1024));
    assert_eq!((mqtt.backoff_min, mqtt.backoff_max), (Duration::from_millis(500), Duration::from_mins(1)));
    assert!(mqtt.reply_allow.is_empty());
    assert!(mqtt.anonymous);

    assert_eq!((limits.request, limits.result), (262_144, 524_288));
    assert_eq!((limits.queue_jobs, limits.queue_jobs_per_client), (256, 64));
    assert_eq!((limits.max_tokens, limits.max_tokens_cap), (256, 4096));
    assert_eq!(limits.inputs, 64);
    assert_eq!((limits.deadline, limits.deadline_cap), (Duration::from_mins(5), Duration::from_hours(1)));

    assert!(models.is_empty() && policies.is_empty() && bindings.is_empty());
    assert_eq!((load.timeout, load.idle_unload), (Duration::from_mins(10), None));
    assert_eq!((memory.reserve, memory.budget), (Reserve::Percent(percent("10%")), None));
    assert_eq!((memory.pressure_psi, memory.recover_after), (percent("20%"), Duration::from_mins(1)));
    assert_eq!((thermal.soft_celsius, thermal.hard_celsius), (None, None));
    assert_eq!((thermal.margin_celsius, thermal.hysteresis_celsius), (5, 3));
    assert_eq!(engine.max_stall, Duration::from_millis(250));
    assert_eq!(engine.heartbeat_timeout, Duration::from_secs(30));
    assert_eq!((engine.crash_quarantine, engine.reproducible, engine.adapt_threads), (2, false, true));
    assert_eq!(engine.prefix_cache, Bytes(64 << 20));
    assert_eq!((journal.durability, journal.on_unwritable), (Durability::Full, OnUnwritable::Refuse));
    assert_eq!((journal.commit_window, journal.keep), (Duration::from_millis(2), Duration::from_hours(1)));
    assert_eq!(journal.size_max, Bytes(256 << 20));
    assert_eq!((session.keep, session.per_client, session.size_max), (Duration::from_hours(24), 8, 65_536));
    assert_eq!((disk.reserve, disk.derived_max), (Reserve::Percent(percent("5%")), Bytes(16 << 30)));
    let seconds = Duration::from_secs;
    assert_eq!((telemetry.interval, telemetry.stream_interval), (seconds(60), seconds(10)));
    assert_eq!((telemetry.health_min_interval, telemetry.health_max_interval), (seconds(10), seconds(300)));
    assert_eq!(telemetry.deadbands, Deadbands { celsius: 2, share: percent("2%"), watts: 2 });
    assert_eq!((telemetry.http, telemetry.textfile), (None, None));
    assert!(!telemetry.home_assistant && !telemetry.thin_edge);
    assert_eq!((service.drain_timeout, service.log_level), (Duration::from_secs(30), LogLevel::Info));
    assert_eq!(service.state_dir.to_str(), Some("/var/lib/promptd"));
    assert_eq!(service.control_socket.to_str(), Some("/run/promptd/control.sock"));
    assert_eq!(profile, Profile::default());
}

#[test]
fn the_machine_decides_where_nothing_is_set() {
    let reserve = Percent::parse("17%").unwrap();
    let profile = Profile { threads: 3, sequences: 6, reserve, ..Profile::default() };
    let machine = Machine { profile: profile.clone(), ..machine() };
    let read = |text: &str| Config::from_sources(&sources(&[text]), &machine).unwrap();
    let config = read(MODEL);
    assert_eq!((config.models[0].threads, config.models[0].sequences), (3, 6));
    assert_eq!(config.models, [Model::of_file("main".parse().unwrap(), "/m.gguf".into(), &profile)]);
    assert_eq!((config.memory.reserve, &config.profile), (Reserve::Percent(reserve), &profile));

    let config = read(&format!("{MODEL}threads = 1\nsequences = 2\n[memory]\nreserve = '1GiB'"));
    assert_eq!((config.models[0].threads, config.models[0].sequences), (1, 2));
    assert_eq!(config.memory.reserve, Reserve::Bytes(Bytes(1 << 30)));
}

#[test]
fn of_a_model() {
    let expected = Model {
        name: "main".parse().unwrap(),
        files: vec![ModelFile { path: "/m.gguf".into(), sha256: None }],
        default: true,
        pinned: false,
        expect: Expect::Any,
        ladder: None,
        derive: false,
        context: 2048,
        min_context: 512,
        sequences: 4,
        kv_type: KvType::F16,
        threads: 1,
        golden_prompt: None,
        classification: Classification::SingleLabel,
        golden_expect: None,
    };
    let config = good(MODEL);
    assert_eq!(config.models, [expected]);
    assert_eq!(config.models, [Model::of_file("main".parse().unwrap(), "/m.gguf".into(), &Profile::default())]);
    assert_eq!(config.default_model().unwrap().name.as_str(), "main");
}

#[test]
fn of_this_machine_are_valid() {
    assert_eq!(Config::defaults(&Profile::default()).mqtt.packet_max, 1_048_576);
}

#[test]
fn the_client_id_follows_the_node_name() {
    assert_eq!(good("node.name = \"cellar\"").mqtt.client_id, "promptd-cellar");
    assert_eq!(good("node.name = \"cellar\"\nmqtt.client_id = \"c\"").mqtt.client_id, "c");
}

#[test]
fn a_relative_path_starts_from_the_folder_of_its_file() {
    let model = "[[model]]\nname = 'main'\nfiles = [{ path = 'models/m.gguf' }]\n";
    let config = good(&format!("{model}[service]\nstate_dir = 'state'\ncontrol_socket = 'p.sock'"));
    assert_eq!(config.models[0].files[0].path.to_str(), Some("/etc/promptd/models/m.gguf"));
    assert_eq!(config.service.state_dir.to_str(), Some("/etc/promptd/state"));
    assert_eq!(config.service.control_socket.to_str(), Some("/etc/promptd/p.sock"));
}

#[test]
fn the_folders_of_the_service_are_those_that_systemd_made() {
    let machine = Machine {
        state_directory: Some("/srv/promptd:/srv/other".into()),
        runtime_directory: Some("/run/user/1000/promptd".into()),
        ..machine()
    };
    let folders = |text: &str| {
        let service = Config::from_sources(&sources(&[text]), &machine).unwrap().service;
        (service.state_dir.display().to_string(), service.control_socket.display().to_string())
    };
    let made = ("/srv/promptd".to_owned(), "/run/user/1000/promptd/control.sock".to_owned());
    assert_eq!(folders(""), made);
    let set = ("/data".to_owned(), "/tmp/p".to_owned());
    assert_eq!(folders("service = { state_dir = '/data', control_socket = '/tmp/p' }"), set);
}

#[test]
fn the_least_context_is_no_more_than_the_context() {
    let min_context = |context: u32| good(&format!("{MODEL}context = {context}")).models[0].min_context;
    assert_eq!([256, 300, 512, 513, 4096].map(min_context), [256, 300, 512, 512, 512]);
}

#[test]
fn numbers_come_no_less_often_while_jobs_run() {
    let intervals = |interval: &str| good(&format!("telemetry.interval = '{interval}'")).telemetry.stream_interval;
    assert_eq!(["5s", "10s", "1h"].map(intervals), [5, 10, 10].map(Duration::from_secs));
}

#[test]
fn a_digest_is_read_in_either_case() {
    let digest = "e3b0c44298fc1c149AFBF4C8996FB92427ae41e4649b934ca495991b7852b855";
    let config = good(&format!("[[model]]\nname = \"m\"\nfiles = [{{ path = \"/m\", sha256 = \"{digest}\" }}]"));
    let sha256 = config.models[0].files[0].sha256.unwrap();
    assert_eq!((sha256[0], sha256[9], sha256[31]), (0xe3, 0xfb, 0x55));
}

#[test]
fn one_of_several_models_is_the_default() {
    let second = "[[model]]\nname = \"big\"\ndefault = true\nfiles = [{ path = \"/b.gguf\" }]\n";
    let config = good(&format!("{MODEL}{second}"));
    assert_eq!(config.default_model().unwrap().name.as_str(), "big");
    assert_eq!(config.models.iter().map(|model| model.default).collect::<Vec<_>>(), [false, true]);
}
