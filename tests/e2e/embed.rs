//! Embeddings: right to the last digits that count, one or many, and each bad text by itself.

use rustix::process::Signal;
use serde_json::json;

use crate::harness::reference::{dot, numbers, references};
use crate::harness::{Broker, Device, Node, Setup, files, signal_pid, until, words};

/// A node with a model that generates text and an encoder.
fn both() -> Setup {
    let file = files::embedder();
    let file = file.display();
    let tables = format!("[[model]]\nname = \"embedder\"\nfiles = [{{ path = \"{file}\" }}]\nthreads = 1\n");
    Setup { sequences: 2, model: "default = true".to_owned(), tables, ..Setup::default() }
}

/// A node with nothing but an encoder.
fn encoder() -> Setup {
    Setup { files: vec![files::embedder()], ..Setup::default() }
}

#[tokio::test]
async fn are_those_of_32_bits_alone_and_in_batches() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, encoder()).await;
    let mut device = Device::connect(&broker, "dev").await;
    let references = references();
    let texts: Vec<&str> = references.iter().map(|reference| reference.text.as_str()).collect();
    let reply = device.answer("embed", json!({ "id": "all", "inputs": texts })).await;
    assert_eq!((&reply["event"], &reply["finish"]), (&json!("result"), &json!("stop")), "{reply}");
    let tokens: u64 = references.iter().map(|reference| reference.tokens).sum();
    assert_eq!(reply["usage"], json!({ "prompt_tokens": tokens, "cached_tokens": 0, "generated_tokens": 0 }));
    let batch = reply["output"].as_array().unwrap();
    assert_eq!(batch.len(), references.len());
    for (number, (reference, item)) in references.iter().zip(batch).enumerate() {
        let id = format!("one{number}");
        let request = json!({ "id": id, "input": reference.text, "encoding": "array" });
        let alone = device.answer("embed", request).await;
        assert_eq!(alone["usage"]["prompt_tokens"], reference.tokens, "text {number} is cut in the same way");
        for output in [&item["output"], &alone["output"]] {
            let numbers = numbers(output);
            let (cosine, length) = (dot(&numbers, &reference.numbers), dot(&numbers, &numbers));
            assert!((length - 1.0).abs() < 1e-5, "text {number}: length² {length}");
            assert!(cosine >= 0.9999, "text {number}: cosine {cosine}");
        }
    }
}

#[tokio::test]
async fn each_task_finds_a_model_that_can_do_it() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, both()).await;
    let mut device = Device::connect(&broker, "dev").await;
    let embedded = device.answer("embed", json!({ "id": "1", "input": "warm" })).await;
    assert_eq!((&embedded["model"], &embedded["output"]["dim"]), (&json!("embedder"), &json!(384)), "{embedded}");
    let generated = device.answer("generate", json!({ "id": "2", "input": "warm", "max_tokens": 2 })).await;
    assert_eq!(generated["model"], "main", "{generated}");
    for (id, task, model, able) in [("3", "embed", "main", "embedder"), ("4", "chat", "embedder", "main")] {
        let reply = device.answer(task, json!({ "id": id, "input": "warm", "model": model })).await;
        assert_eq!(reply["code"], "invalid_request", "{reply}");
        let message = reply["message"].as_str().unwrap();
        assert!(message.contains(&format!("{model} can't do the task \"{task}\"")), "{message}");
        assert!(message.ends_with(able), "{message}");
    }
}

#[tokio::test]
async fn without_a_model_for_the_task_there_is_an_error() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, encoder()).await;
    let mut device = Device::connect(&broker, "dev").await;
    let reply = device.answer("generate", json!({ "id": "1", "input": "warm" })).await;
    assert_eq!(reply["code"], "no_model", "{reply}");
    assert!(reply["message"].as_str().unwrap().contains("one that generates text"), "{reply}");
}

/// The request is taken in before the files of the default model are known, which turns out to be the wrong one.
#[tokio::test]
async fn what_came_before_the_models_were_known_goes_to_the_right_one() {
    let broker = Broker::start().await;
    let mut device = Device::connect(&broker, "dev").await;
    let mut node = Node::ready(&broker, both()).await;
    // They wait at the broker for the next run, which hears of them as soon as it is connected.
    node.signal(Signal::STOP);
    for id in ["1", "2"] {
        device.ask("embed", &json!({ "id": id, "input": "warm" })).await;
    }
    node.restart(&both());
    for _ in 0..2 {
        let reply = device.outcome_of_any().await;
        assert_eq!((&reply["event"], &reply["model"]), (&json!("result"), &json!("embedder")), "{reply}");
    }
}

#[tokio::test]
async fn bad_texts_get_errors_of_their_own() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, Setup { tables: "[limits]\ninputs = 8".to_owned(), ..encoder() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let long = "very ".repeat(600) + "long";
    let inputs = json!(["warm", "", long, "🦀👩‍👩‍👧‍👦", "مرحبا", " \u{200b} ", "\u{202e}drawkcab", "warm"]);
    let reply = device.answer("embed", json!({ "id": "mixed", "inputs": inputs })).await;
    let output = reply["output"].as_array().unwrap();
    for (index, code, mentioned) in
        [(1, "invalid_request", "empty"), (2, "context_overflow", "603 tokens"), (5, "invalid_request", "empty")]
    {
        let error = &output[index]["error"];
        assert_eq!((&error["code"], &error["retryable"]), (&json!(code), &json!(false)), "{index}: {error}");
        assert!(error["message"].as_str().unwrap().contains(mentioned), "{index}: {error}");
    }
    for index in [0, 3, 4, 6, 7] {
        assert_eq!(numbers(&output[index]["output"]).len(), 384, "{index}");
    }
    assert!(dot(&numbers(&output[0]["output"]), &numbers(&output[7]["output"])) > 0.9999, "in their order");

    let reply = device.answer("embed", json!({ "id": "long", "input": long })).await;
    assert_eq!(reply["code"], "context_overflow", "{reply}");
    assert!(reply["message"].as_str().unwrap().contains("the model takes 512"), "{reply}");
    let all_bad = device.answer("embed", json!({ "id": "bad", "inputs": ["", " "] })).await;
    assert_eq!((&all_bad["event"], all_bad["output"].as_array().unwrap().len()), (&json!("result"), 2), "{all_bad}");
    for (id, inputs, mentioned) in [
        ("none", json!([]), "0 texts; allowed are 1 to 8"),
        ("many", json!(vec!["a"; 9]), "9 texts; allowed are 1 to 8 (limits.inputs)"),
        ("number", json!(["a", 1]), "inputs[1]"),
        ("object", json!({ "a": "b" }), "an array of strings"),
    ] {
        let reply = device.answer("embed", json!({ "id": id, "inputs": inputs })).await;
        assert_eq!(reply["code"], "invalid_request", "{reply}");
        assert!(reply["message"].as_str().unwrap().contains(mentioned), "{reply}");
    }
}

#[tokio::test]
async fn answers_larger_than_the_limit_are_refused() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, Setup { tables: "[limits]\nresult = \"4KiB\"".to_owned(), ..encoder() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let fits = device.answer("embed", json!({ "id": "1", "input": "warm" })).await;
    assert_eq!(fits["event"], "result", "{fits}");
    let reply = device.answer("embed", json!({ "id": "2", "input": "warm", "encoding": "array" })).await;
    assert_eq!(reply["code"], "result_too_large", "{reply}");
    assert!(reply["message"].as_str().unwrap().contains("4096 (limits.result)"), "{reply}");
}

/// A client that asks for much neither holds up others nor can't be stopped.
#[tokio::test]
async fn jobs_share_the_encoder_and_can_be_cancelled() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, encoder()).await;
    let (mut greedy, mut modest) = (Device::connect(&broker, "greedy").await, Device::connect(&broker, "modest").await);
    let long = vec!["a rather long text that takes its time ".repeat(60); 64];
    for id in ["1", "2", "3"] {
        greedy.ask("embed", &json!({ "id": id, "inputs": long, "ack": true })).await;
    }
    while greedy.next().await.json["id"] != "3" {}
    let running = || {
        let jobs = node.operator_json(&["jobs"]);
        let all = jobs["jobs"].as_array()?.iter().all(|job| job["state"] == "running");
        (jobs["total"] == 3 && all).then_some(())
    };
    until("all three are in the engine at once", running).await;
    let answer = modest.answer("embed", json!({ "id": "1", "input": "short" })).await;
    assert_eq!(answer["event"], "result", "{answer}");
    assert!(greedy.now().is_none(), "the short one did not wait for the long ones");
    for id in ["1", "2", "3"] {
        assert!(node.operator(&["cancel", "greedy", id]).status.success());
        assert_eq!(greedy.outcome(id).await["code"], "cancelled");
    }
    assert_eq!(modest.answer("embed", json!({ "id": "2", "input": "short" })).await["event"], "result");
}

/// More of them than one step takes, and than run at once.
#[tokio::test]
async fn a_burst_of_short_texts_is_answered() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, Setup { sequences: 1, ..encoder() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let texts: Vec<String> = (0..60).map(|number| words(1 + number % 12, number as u64)).collect();
    for (number, text) in texts.iter().enumerate() {
        device.ask("embed", &json!({ "id": number.to_string(), "input": text })).await;
    }
    let mut all = vec![Vec::new(); texts.len()];
    for _ in &texts {
        let reply = device.outcome_of_any().await;
        assert_eq!(reply["event"], "result", "{reply}");
        all[reply["id"].as_str().unwrap().parse::<usize>().unwrap()] = numbers(&reply["output"]);
    }
    let together = device.answer("embed", json!({ "id": "all", "inputs": texts })).await;
    for (number, item) in together["output"].as_array().unwrap().iter().enumerate() {
        let cosine = dot(&numbers(&item["output"]), &all[number]);
        assert!(cosine > 0.9999, "text {number}: whatever is computed beside it: {cosine}");
    }
}

/// When every place in the engine is taken, a job that can wait makes room, and goes on afterwards.
#[tokio::test]
async fn an_urgent_text_takes_the_place_of_a_job_that_can_wait() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, encoder()).await;
    let (mut patient, mut urgent) =
        (Device::connect(&broker, "patient").await, Device::connect(&broker, "urgent").await);
    let long = vec!["a rather long text that takes its time ".repeat(50); 3];
    for number in 0..32 {
        patient.ask("embed", &json!({ "id": number.to_string(), "inputs": long, "priority": "low" })).await;
    }
    let running = || {
        let jobs = node.operator_json(&["jobs"]);
        let count = jobs["jobs"].as_array()?.iter().filter(|job| job["state"] == "running").count();
        (count == 32).then_some(())
    };
    until("all places are taken", running).await;
    let answer = urgent.answer("embed", json!({ "id": "1", "input": "short", "priority": "high" })).await;
    assert_eq!(answer["event"], "result", "{answer}");
    assert!(patient.now().is_none(), "the urgent one comes first");
    for _ in 0..32 {
        let reply = patient.outcome_of_any().await;
        let output = reply["output"].as_array().unwrap_or_else(|| panic!("{reply}"));
        assert!(output.len() == 3 && output.iter().all(|item| item["output"]["dim"] == 384), "{reply}");
    }
}

/// A job in the engine is computed again when the engine is lost, and after a crash of the daemon.
#[tokio::test]
async fn jobs_outlive_engine_and_daemon() {
    let broker = Broker::start().await;
    let mut node = Node::ready(&broker, encoder()).await;
    let mut device = Device::connect(&broker, "dev").await;
    let long = vec!["a rather long text that takes its time ".repeat(60); 40];
    let request = json!({ "id": "1", "inputs": long, "ack": true });
    device.ask("embed", &request).await;
    while device.next().await.json["event"] != "accepted" {}
    let running = |node: &Node| (node.operator_json(&["jobs"])["jobs"][0]["state"] == "running").then_some(());
    until("it runs", || running(&node)).await;
    signal_pid(node.engines()[0], Signal::KILL);
    node.wait_for_state(&broker, "ready").await;
    node.restart(&encoder());
    let reply = device.outcome("1").await;
    assert_eq!(reply["event"], "result", "{reply}");
    assert_eq!(reply["output"].as_array().unwrap().len(), 40);
    assert_eq!(device.answer("embed", request).await, reply, "who asks again gets the same");
}
