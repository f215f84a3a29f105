//! What was accepted is answered once, whatever happens to the daemon.

use std::collections::HashMap;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Broker, Device, Disk, Node, Send, Setup, promptd, until};

fn request(id: &str, tokens: u32) -> Value {
    json!({ "id": id, "prompt": "Count.", "max_tokens": tokens, "ignore_eos": true, "ack": true })
}

/// Asks, and waits until the node has taken it in.
async fn accepted(device: &mut Device, request: &Value) {
    device.ask("generate", request).await;
    while device.next().await.json["event"] != "accepted" {}
}

/// All that ends a job, by its id, after so many have come; a second message about a job is an error.
async fn outcomes(device: &mut Device, count: usize) -> HashMap<String, Value> {
    let mut all = HashMap::new();
    while all.len() < count {
        let reply = device.outcome_of_any().await;
        let id = reply["id"].as_str().unwrap().to_owned();
        assert!(all.insert(id, reply.clone()).is_none(), "twice: {reply}");
    }
    all
}

#[tokio::test]
async fn jobs_outlive_a_daemon_that_is_killed() {
    let broker = Broker::start().await;
    let setup = || Setup { sequences: 2, ..Setup::default() };
    let mut node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    for number in 0..6 {
        accepted(&mut device, &request(&number.to_string(), 40)).await;
    }
    node.restart(&setup());
    let all = outcomes(&mut device, 6).await;
    for (id, reply) in &all {
        assert_eq!(reply["event"], "result", "{id}: {reply}");
        assert_eq!(reply["usage"]["generated_tokens"], 40, "{reply}");
    }
    let status = node.wait_for_state(&broker, "ready").await;
    assert_eq!(status["durability"], "full", "{status}");
    assert_eq!(node.operator_json(&["jobs"])["total"], 0);
    // Nothing more comes: what was published is not published by yet another run.
    node.restart(&setup());
    node.wait_for_state(&broker, "ready").await;
    assert_eq!(device.answer("generate", request("last", 1)).await["id"], "last");
}

#[tokio::test]
async fn who_asks_again_gets_the_first_answer_from_this_run_and_the_next() {
    let broker = Broker::start().await;
    let setup = || Setup { sequences: 1, ..Setup::default() };
    let mut node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    // Sampled without a seed: no two answers are alike.
    let request = json!({ "id": "1", "prompt": "A word?", "max_tokens": 30, "ignore_eos": true, "temperature": 5.0 });
    let first = device.answer("generate", request.clone()).await;
    assert_eq!(first["event"], "result", "{first}");
    assert_eq!(device.answer("generate", request.clone()).await, first);
    node.restart(&setup());
    node.wait_for_state(&broker, "ready").await;
    assert_eq!(device.answer("generate", request.clone()).await, first, "after a crash");

    let other = json!({ "id": "1", "prompt": "Another word?", "max_tokens": 30 });
    let reply = device.answer("generate", other.clone()).await;
    assert_eq!((&reply["event"], &reply["code"]), (&json!("error"), &json!("id_conflict")), "{reply}");
    // Of another client it is another job.
    let mut second = Device::connect(&broker, "second").await;
    assert_eq!(second.answer("generate", other).await["event"], "result");
}

#[tokio::test]
async fn jobs_that_wait_when_the_node_stops_go_on_in_the_next_run() {
    let broker = Broker::start().await;
    let setup = || Setup { sequences: 1, ..Setup::default() };
    let mut node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    for id in ["1", "2", "3"] {
        accepted(&mut device, &request(id, 100)).await;
    }
    node.signal(Signal::TERM);
    assert_eq!(node.ended().await, Some(0), "{}", node.log());
    // The one that ran was finished.
    assert_eq!(device.outcome_of_any().await["id"], "1");
    assert!(node.log().contains("jobs wait in the journal for the next run"), "{}", node.log());
    node.restart(&setup());
    let rest = outcomes(&mut device, 2).await;
    assert!(rest.values().all(|reply| reply["event"] == "result"), "{rest:?}");
}

#[tokio::test]
async fn answers_wait_for_a_broker_that_has_lost_its_memory_even_in_the_next_run() {
    let mut broker = Broker::start().await;
    let setup = || Setup { sequences: 2, ..Setup::default() };
    let mut node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    for id in ["1", "2"] {
        accepted(&mut device, &request(id, 30)).await;
    }
    broker.kill();
    until("both are answered", || (node.operator_json(&["jobs"])["total"] == 0).then_some(())).await;
    node.restart(&setup());
    until("the outcomes are found", || node.log().contains("earlier runs have left jobs").then_some(())).await;
    broker.up().await;
    // The broker knows nobody any more: a device that comes back asks again for what it has not got.
    let mut device = Device::connect(&broker, "dev").await;
    for id in ["1", "2"] {
        let reply = device.answer("generate", request(id, 30)).await;
        assert_eq!(reply["event"], "result", "{reply}");
    }
}

#[tokio::test]
async fn a_job_that_ends_the_daemon_each_time_is_quarantined_and_no_other() {
    let broker = Broker::start().await;
    let setup = || Setup { sequences: 1, ..Setup::default() };
    let mut node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    let mut bad = request("bad", 900);
    bad["stream"] = json!(true);
    device.ask("generate", &bad).await;
    while device.next().await.json["event"] != "delta" {}
    accepted(&mut device, &request("good", 4)).await;
    for _ in 0..2 {
        let running = || {
            let jobs = node.operator_json(&["jobs"]);
            let bad = jobs["jobs"].as_array().and_then(|jobs| jobs.iter().find(|job| job["id"] == "bad").cloned());
            bad.is_some_and(|bad| bad["state"] == "running").then_some(())
        };
        until("it runs", running).await;
        node.restart(&setup());
        until("the daemon listens", || node.operator(&["status"]).status.success().then_some(())).await;
    }
    let all = outcomes(&mut device, 2).await;
    assert_eq!(all["bad"]["code"], "quarantined", "{all:?}");
    assert_eq!(all["good"]["event"], "result", "{all:?}");
}

/// It ran when the daemon was lost once, and was given back by clean stops ever since.
#[tokio::test]
async fn nobody_is_blamed_twice_for_one_loss() {
    let broker = Broker::start().await;
    let tables = "[service]\ndrain_timeout = \"100ms\"\n[limits]\nmax_tokens_cap = 100000".to_owned();
    let setup = || Setup { sequences: 1, context: 4096, tables: tables.clone(), ..Setup::default() };
    let mut node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    accepted(&mut device, &request("long", 700)).await;
    for turn in 0..3 {
        let running = || {
            let jobs = node.operator(&["jobs", "--json"]);
            let jobs: Value = serde_json::from_slice(&jobs.stdout).unwrap_or_default();
            (jobs["jobs"][0]["state"] == "running").then_some(())
        };
        until("it runs", running).await;
        if turn > 0 {
            node.signal(Signal::TERM);
            assert_eq!(node.ended().await, Some(0), "{}", node.log());
        }
        node.restart(&setup());
    }
    assert_eq!(device.outcome("long").await["event"], "result");
}

/// There are fewer places in the outbox than answers that nobody has got.
#[tokio::test]
async fn all_that_was_missed_is_published_however_much_it_is() {
    let broker = Broker::start().await;
    let tables = "[limits]\nqueue_jobs = 8\nqueue_jobs_per_client = 8".to_owned();
    let mqtt = "outbox_max = 16".to_owned();
    let node = Node::ready(&broker, Setup { sequences: 1, tables, mqtt, ..Setup::default() }).await;
    let sender = Device::connect(&broker, "sender").await;
    for number in 0..40 {
        let request = json!({ "id": number.to_string(), "prompt": "Hi", "max_tokens": 1 });
        sender.send(Send::new("promptd/gw/request/generate/absent", request.to_string())).await;
        let fetched = || {
            let document = node.operator(&["fetch", "absent", &number.to_string(), "--json"]);
            let document: Value = serde_json::from_slice(&document.stdout).unwrap_or_default();
            (document["fetched"] == 1).then_some(())
        };
        until("it is answered", fetched).await;
    }
    let mut absent = Device::connect(&broker, "absent").await;
    absent.send(Send::new("promptd/gw/request/fetch/absent", r#"{"id":"all"}"#)).await;
    let mut got = std::collections::BTreeSet::new();
    while got.len() < 41 {
        got.insert(absent.outcome_of_any().await["id"].to_string());
    }
}

#[tokio::test]
async fn a_deadline_holds_in_the_next_run() {
    let broker = Broker::start().await;
    let setup = || Setup { sequences: 1, ..Setup::default() };
    let mut node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    accepted(&mut device, &request("long", 900)).await;
    let mut short = request("short", 4);
    short["deadline_ms"] = json!(3000);
    accepted(&mut device, &short).await;
    accepted(&mut device, &request("patient", 4)).await;
    node.restart(&setup());
    assert_eq!(device.outcome("short").await["code"], "deadline_exceeded");
    assert_eq!(node.operator_json(&["cancel", "dev", "long"])["cancelled"], 1);
    assert_eq!(device.outcome("patient").await["event"], "result");
}

#[tokio::test]
async fn without_a_disk_new_work_is_refused_and_what_was_accepted_is_answered() {
    let Some(disk) = Disk::mount(40) else { return };
    let broker = Broker::start().await;
    let tables = "[journal]\nsize_max = \"16MiB\"".to_owned();
    let setup = Setup { sequences: 1, state_dir: Some(disk.path()), tables, ..Setup::default() };
    let node = Node::ready(&broker, setup).await;
    let mut device = Device::connect(&broker, "dev").await;
    assert_eq!(device.answer("generate", request("before", 4)).await["event"], "result");
    disk.fill();
    // The file may have room left in itself.
    let mut turn = 0;
    let refused = loop {
        let reply = device
            .answer("generate", json!({ "id": format!("t{turn}"), "prompt": "x ".repeat(400), "max_tokens": 1 }))
            .await;
        if reply["event"] == "error" {
            break reply;
        }
        turn += 1;
    };
    assert_eq!((&refused["code"], &refused["retryable"]), (&json!("storage_full"), &json!(true)), "{refused}");
    let status = node.wait_for_state(&broker, "degraded").await;
    assert!(status["reasons"][0].as_str().unwrap().starts_with("journal: "), "{status}");
    assert_eq!(status["durability"], "memory", "{status}");
    std::fs::remove_file(disk.path().join("filler")).unwrap();
    node.wait_for_state(&broker, "ready").await;
    assert_eq!(device.answer("generate", request("after", 4)).await["event"], "result");
}

#[tokio::test]
async fn a_journal_that_cannot_be_opened_is_tried_again() {
    let Some(disk) = Disk::mount(40) else { return };
    disk.fill();
    let broker = Broker::start().await;
    let tables = "[journal]\nsize_max = \"16MiB\"".to_owned();
    let setup = Setup { sequences: 1, state_dir: Some(disk.path()), tables, ..Setup::default() };
    let node = Node::start(&broker, &setup);
    let status = node.wait_for_state(&broker, "degraded").await;
    assert!(status["reasons"][0].as_str().unwrap().starts_with("journal: "), "{status}");
    let mut device = Device::connect(&broker, "dev").await;
    assert_eq!(device.answer("generate", request("1", 4)).await["code"], "storage_full");
    std::fs::remove_file(disk.path().join("filler")).unwrap();
    let status = node.wait_for_state(&broker, "ready").await;
    assert_eq!(status["durability"], "full", "{status}");
    assert_eq!(device.answer("generate", request("1", 4)).await["event"], "result");
}

#[tokio::test]
async fn without_durability_nothing_is_written() {
    let broker = Broker::start().await;
    let tables = "[journal]\ndurability = \"memory\"".to_owned();
    let node = Node::ready(&broker, Setup { sequences: 1, tables, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let first = device.answer("generate", request("1", 4)).await;
    assert_eq!(device.answer("generate", request("1", 4)).await, first, "as long as it runs");
    let status = node.wait_for_state(&broker, "ready").await;
    assert_eq!(status["durability"], "memory", "{status}");
    let files: Vec<_> = std::fs::read_dir(node.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!files.iter().any(|name| name.to_string_lossy().starts_with("journal")), "{files:?}");
}

/// The broker has taken the answer, and nobody was there.
#[tokio::test]
async fn what_nobody_has_got_is_published_again_on_request() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 1, ..Setup::default() }).await;
    let node_of = |arguments: &[&str]| {
        let url = format!("mqtt://127.0.0.1:{}", broker.port);
        let output = promptd().args(arguments).args(["--url", &url, "--node", "gw"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let submit = |id: &str| node_of(&["submit", "--client", "dev", "--id", id, "--max-tokens", "4", "Count."]);
    for id in ["1", "2"] {
        assert_eq!(submit(id), format!("{id}\n"));
    }
    until("both are answered", || (node.operator_json(&["jobs"])["total"] == 0).then_some(())).await;
    let mut device = Device::connect(&broker, "dev").await;
    let fetch = |fields: Value| Send::new("promptd/gw/request/fetch/dev", fields.to_string());
    device.send(fetch(json!({ "id": "all" }))).await;
    let all = outcomes(&mut device, 3).await;
    // The last one may still have been on its way when somebody came.
    assert!((1..=2).contains(&all["all"]["output"]["fetched"].as_u64().unwrap()), "{all:?}");
    assert!(all["1"]["event"] == "result" && all["2"]["event"] == "result", "{all:?}");
    // They have been delivered now; one is published again all the same.
    device.send(fetch(json!({ "id": "none" }))).await;
    assert_eq!(device.outcome("none").await["output"], json!({ "fetched": 0 }));
    device.send(fetch(json!({ "id": "one", "job": "2" }))).await;
    let one = outcomes(&mut device, 2).await;
    assert_eq!(one["2"], all["2"]);
    assert_eq!(node.operator_json(&["fetch", "dev", "1"]), json!({ "fetched": 1 }));
    assert_eq!(device.outcome_of_any().await, all["1"]);
    for (fields, code) in [(json!({ "job": "3" }), "not_found"), (json!({ "client": "other" }), "invalid_request")] {
        device.send(fetch(fields)).await;
        assert_eq!(device.outcome_of_any().await["code"], code);
    }
    // To submit it again does no harm.
    assert_eq!(submit("1"), "1\n");
}

/// Without an id of the client's there is nothing to compare, and each message is a job of its own.
#[tokio::test]
async fn messages_without_an_id_are_jobs_of_their_own() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, Setup { sequences: 1, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    for _ in 0..2 {
        device.send(Send::new("promptd/gw/request/generate/dev", r#"{"prompt":"Hi","max_tokens":1}"#)).await;
    }
    let all = outcomes(&mut device, 2).await;
    assert!(all.values().all(|reply| reply["event"] == "result"), "{all:?}");
}
