//! Several models in little memory, models that nobody uses, and engines that the kernel kills.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{
    Broker, Cgroup, Device, Hog, Load, MIB, Node, Setup, Watch, files, model, process_status, uncached, until,
};

#[tokio::test]
async fn the_idle_model_goes_first_and_a_pinned_one_stays() {
    let Some(group) = Cgroup::new("models", 1024 * MIB) else { return };
    let (_folder, files) = uncached(&[files::f16(), model(), model(), model()]);
    let small = |name: &str, file: usize, line: &str| {
        let path = &files[file];
        format!("[[model]]\nname = \"{name}\"\nfiles = [{{ path = {path:?} }}]\ncontext = 512\nsequences = 1\n{line}\n")
    };
    // Three margins for kept prefixes would have the first model begin with less, and step up later.
    let memory = "[memory]\nrecover_after = \"3s\"\n[engine]\nprefix_cache = 0\n";
    let setup = Setup {
        files: files[..2].to_vec(),
        cgroup: Some(group.path().to_owned()),
        model: "default = true\nladder = [\"cpu:f16\", \"cpu:int4\"]".to_owned(),
        tables: [memory, &small("idle", 2, ""), &small("kept", 3, "pinned = true")].concat(),
        ..Setup::default()
    };
    let broker = Broker::start().await;
    let watch = Watch::start(&broker).await;
    let node = Node::ready(&broker, setup).await;
    let load = Load::start(&broker, 4, 24).await;
    until("answers", || (load.tally().results.len() >= 4).then_some(())).await;
    let kinds = |model: &str| {
        let events = watch.events(model).into_iter();
        events.map(|event| event["event"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    let mut hog = Hog::start(&group);
    hog.tighten(&group, &node, || ["main", "idle", "kept"].iter().any(|name| watch.model(name)["state"] != "ready"))
        .await;
    let event = watch.until_event("idle", "unloaded", 1).await;
    eprintln!("{event}, the hog holds {} MiB", hog.held() / MIB);
    let answered = load.tally().results.len();
    until("answers of the busy model", || (load.tally().results.len() >= answered + 8).then_some(())).await;
    assert_eq!((kinds("main"), kinds("kept")), (vec!["loaded".to_owned()], vec!["loaded".to_owned()]));
    assert!(load.tally().results.iter().all(|answer| answer.strategy == "cpu:f16"));

    // There is no other idle one: now the busy one has to step down.
    hog.tighten(&group, &node, || ["main", "kept"].iter().any(|name| watch.model(name)["state"] != "ready")).await;
    let event = watch.until_event("main", "stepped_down", 1).await;
    eprintln!("{event}, the hog holds {} MiB", hog.held() / MIB);
    let answered = load.tally().results.len();
    until("answers of the smaller model", || (load.tally().results.len() >= answered + 8).then_some(())).await;
    let mut device = Device::connect(&broker, "dev").await;
    let request = |model: &str| json!({ "id": model, "model": model, "prompt": "Count.", "max_tokens": 4 });
    let reply = device.answer("generate", request("idle")).await;
    assert_eq!(reply["code"], "memory_headroom", "{reply}");
    let reply = device.answer("generate", request("kept")).await;
    assert_eq!(reply["event"], "result", "{reply}");
    assert_eq!(kinds("kept"), ["loaded"]);

    hog.end();
    watch.until_event("main", "stepped_up", 1).await;
    watch.until_event("idle", "loaded", 2).await;
    node.wait_for_state(&broker, "ready").await;
    let tally = load.finish().await;
    assert!(tally.others.is_empty(), "{:?}", tally.others);
    assert_eq!(group.kills(), 0);
}

#[tokio::test]
async fn a_model_that_nobody_uses_is_let_go_and_comes_back() {
    let broker = Broker::start().await;
    let watch = Watch::start(&broker).await;
    let tables = "[load]\nidle_unload = \"10s\"".to_owned();
    let node = Node::ready(&broker, Setup { context: 512, sequences: 1, tables, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let begun = watch.states().len();
    // One comes while the engine is ending, the other one long after.
    for (turn, stage) in ["ending", "gone"].into_iter().enumerate() {
        let documents = watch.documents("main").len();
        until("it is let go", || {
            watch.documents("main")[documents..].iter().any(|document| document["state"] == "unloaded").then_some(())
        })
        .await;
        if stage == "gone" {
            watch.until_event("main", "unloaded", turn + 1).await;
            until("its engine is gone", || node.engines().is_empty().then_some(())).await;
        }
        assert!(watch.states()[begun..].iter().all(|status| status["state"] == "ready" || turn > 0));
        let request = json!({ "id": stage, "prompt": "Count.", "max_tokens": 4, "deadline_ms": 60_000 });
        let reply = device.answer("generate", request).await;
        assert_eq!(reply["event"], "result", "{stage}: {reply}");
        watch.until_event("main", "loaded", turn + 2).await;
    }
    let states: Vec<_> = watch.states()[begun - 1..].iter().map(|status| status["state"].clone()).collect();
    assert!(states.iter().all(|state| *state == "ready" || *state == "loading"), "it is well: {states:?}");
}

#[tokio::test]
async fn an_engine_that_the_kernel_kills_for_memory_loses_no_job() {
    let Some(group) = Cgroup::new("killed", 640 * MIB) else { return };
    let (_folder, files) = uncached(&[files::f16(), files::int8(), model()]);
    let broker = Broker::start().await;
    let watch = Watch::start(&broker).await;
    let setup = Setup {
        files,
        cgroup: Some(group.path().to_owned()),
        model: "ladder = [\"cpu:f16\", \"cpu:int8\", \"cpu:int4\"]".to_owned(),
        tables: "[memory]\nrecover_after = \"1s\"".to_owned(),
        ..Setup::default()
    };
    let node = Node::ready(&broker, setup).await;
    let mut device = Device::connect(&broker, "dev").await;
    for number in 0..12 {
        let id = format!("job{number}");
        let request = json!({ "id": id, "prompt": "Count.", "max_tokens": 100, "ignore_eos": true, "stream": true });
        device.ask("generate", &request).await;
    }
    while device.next().await.json["event"] != "delta" {}
    let engine = node.engines()[0];
    let anonymous = |pid| process_status(pid, "RssAnon").unwrap();
    // The daemon doesn't see it coming.
    node.signal(Signal::STOP);
    let mut hog = Hog::start(&group);
    let free = group.limit() - anonymous(engine) - anonymous(node.pid());
    // Mapped pages are dropped first. Then the kernel compares what each holds, with half of the limit on top for the engine.
    let wanted = free + 32 * MIB;
    if !hog.try_take(wanted) {
        // While the memory of the engine was on its way back, the kernel looked for one more.
        hog = Hog::start(&group);
        hog.take(wanted);
    }
    assert!(group.kills() > 0, "the kernel kills the engine: {} MiB are available", group.available(0) / MIB);
    node.signal(Signal::CONT);
    until("the engine is gone", || (!node.engines().contains(&engine)).then_some(())).await;
    let kills = group.kills();
    let event = watch.until_event("main", "failed", 1).await;
    let reason = event["reason"].as_str().unwrap();
    assert!(event["from"] == "cpu:f16" && reason.contains("the kernel killed its process"), "{event}");
    // With no room for any of them, the jobs wait.
    watch.until_model("main", |document| document["state"] == "unavailable").await;
    let refused = device.answer("generate", json!({ "id": "more", "prompt": "Count.", "max_tokens": 4 })).await;
    assert_eq!(refused["code"], "memory_headroom", "{refused}");
    group.set_limit(group.limit() + 1024 * MIB).unwrap();
    for _ in 0..12 {
        let reply = device.outcome_of_any().await;
        assert_eq!(reply["event"], "result", "{reply}");
    }
    for event in watch.events("main") {
        eprintln!("{event}");
    }
    // What was killed is left alone for a while, then there is room for it, too.
    watch.until_model("main", |document| document["strategy"] == "cpu:f16" && document["state"] == "ready").await;
    assert_eq!(group.kills(), kills, "nobody else was killed");
    assert!(std::fs::exists(format!("/proc/{}", node.pid())).unwrap());
    tokio::time::timeout(Duration::from_secs(1), async { hog.end() }).await.unwrap();
}
