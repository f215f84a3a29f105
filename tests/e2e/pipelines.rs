//! Pipelines: in the request, in files, over several models, and over a restart.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Broker, Device, Fleet, Node, Operator, Send, Setup, files, promptd};

/// A node with a model that generates text, an encoder and a classifier.
fn setup() -> Setup {
    let table = |name: &str, file: std::path::PathBuf| {
        format!("[[model]]\nname = \"{name}\"\nfiles = [{{ path = {:?} }}]\nthreads = 1\n", file.display().to_string())
    };
    let tables = [table("embedder", files::embedder()), table("classifier", files::classifier())].concat();
    Setup { model: "default = true".to_owned(), sequences: 4, tables, ..Setup::default() }
}

/// Messages about a request until the one that ends it, and that.
async fn told(device: &mut Device, id: &str) -> (Vec<Value>, Value) {
    let mut told = Vec::new();
    loop {
        let reply = device.next().await;
        if reply.json["id"] != id {
            continue;
        }
        match reply.json["event"].as_str() {
            Some("result" | "error") => return (told, reply.json),
            _ => told.push(reply.json),
        }
    }
}

fn progress(told: &[Value]) -> Vec<(&str, &str)> {
    let of_steps = told.iter().filter(|message| message["event"] == "progress");
    of_steps.map(|message| (message["step"].as_str().unwrap(), message["state"].as_str().unwrap())).collect()
}

/// An alarm is classified; what is bad is worked on by the others.
fn triage() -> Value {
    json!([
        { "name": "mood", "task": "classify", "input": "{{ input.text }}" },
        { "name": "advice", "task": "generate", "max_tokens": 6, "ignore_eos": true,
          "when": "steps.mood.output[0].label == 'NEGATIVE'", "input": "Alarm: {{ input.text }} What to do?" },
        { "name": "like", "task": "rerank", "input": "{{ input.text }}", "documents": "{{ input.known }}" },
        { "name": "each", "task": "generate", "max_tokens": 4, "for_each": "input.known", "input": "{{ index }}. {{ item }}" },
    ])
}

#[tokio::test]
async fn steps_use_each_other_over_several_models() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    device.subscribe("promptd/gw/jobs/dev/#").await;
    let output = json!({
        "label": "{{ steps.mood.output[0].label }}", "score": "{{ steps.mood.output[0].score }}",
        "advice": "{{ steps.advice.output }}", "skipped": "{{ steps.advice.skipped }}",
        "best": "{{ input.known[steps.like.output[0].index] }}", "answers": "{{ steps.each.output }}",
    });
    let known = ["The pump is broken.", "I like cake."];
    let request = |id: &str, text: &str| {
        let input = json!({ "text": text, "known": known });
        json!({ "id": id, "input": input, "steps": triage(), "output": output, "ack": true })
    };
    device.ask("pipeline", &request("bad", "The pump has failed again, this is terrible!")).await;
    let (mut states, mut messages) = (Vec::new(), Vec::new());
    let reply = loop {
        let message = device.next().await;
        match message.json["event"].as_str() {
            Some("result" | "error") => break message.json,
            None => states.push(message.json),
            Some(_) => messages.push(message.json),
        }
    };
    assert_eq!((&reply["event"], &reply["task"]), (&json!("result"), &json!("pipeline")), "{reply}");
    let result = &reply["output"];
    assert!(result["label"] == "NEGATIVE" && result["score"].as_f64().unwrap() > 0.5, "{reply}");
    assert!(result["advice"].is_string() && result["skipped"] == false, "{reply}");
    assert_eq!(result["best"], known[0], "{reply}");
    assert_eq!(result["answers"].as_array().unwrap().len(), 2, "{reply}");
    assert!(reply["usage"]["generated_tokens"].as_u64().unwrap() >= 6, "of all steps: {reply}");
    let mut seen = progress(&messages);
    seen.sort_unstable();
    let steps = ["advice", "each", "like", "mood"];
    let expected: Vec<_> = steps.into_iter().flat_map(|step| [(step, "ended"), (step, "running")]).collect();
    assert_eq!(seen, expected);
    assert_eq!(messages.remove(0)["event"], "accepted");
    let of_steps = states.iter().filter(|state| state["step_state"] == "ended").count();
    assert_eq!(of_steps, 4, "jobs/ tells them, too: {states:?}");

    device.ask("pipeline", &request("good", "What a wonderful day, everything works great!")).await;
    let (messages, reply) = told(&mut device, "good").await;
    assert_eq!((&reply["output"]["label"], &reply["output"]["skipped"]), (&json!("POSITIVE"), &json!(true)), "{reply}");
    assert!(progress(&messages).contains(&("advice", "skipped")), "{messages:?}");
    // Without an output of its own it is that of the last step; nobody is told of steps who does not ask.
    let steps =
        json!([{ "name": "a", "task": "generate", "input": "{{ input }}", "max_tokens": 3, "ignore_eos": true }]);
    device.ask("pipeline", &json!({ "id": "p", "input": "Count.", "steps": steps })).await;
    let (messages, reply) = told(&mut device, "p").await;
    let alone =
        device.answer("generate", json!({ "id": "q", "input": "Count.", "max_tokens": 3, "ignore_eos": true })).await;
    assert_eq!((reply["output"].clone(), messages.len()), (alone["output"].clone(), 0), "{reply}");
    assert_eq!(node.operator_json(&["jobs"])["total"], 0);
}

#[tokio::test]
async fn what_goes_wrong_is_named() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    let step = |fields: Value| {
        let mut step = json!({ "name": "a", "task": "generate", "max_tokens": 2 });
        step.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        step
    };
    let many: Vec<Value> =
        (0..33).map(|n| json!({ "name": format!("s{n}"), "task": "generate", "input": "x" })).collect();
    let bomb = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}";
    let long: Vec<u32> = (0..65).collect();
    for (id, steps, input, code, part) in [
        ("1", json!([]), json!("x"), "invalid_request", "has 0 steps; allowed are 1 to 32 (limits.pipeline_steps)"),
        ("2", json!(many), json!("x"), "invalid_request", "has 33 steps"),
        ("3", json!([step(json!({ "task": "haiku" }))]), json!("x"), "unknown_task", "step \"a\": no task"),
        ("4", json!([step(json!({ "task": "pipeline" }))]), json!("x"), "invalid_request", "is a pipeline"),
        (
            "5",
            json!([step(json!({ "input": "{{ steps.a.output }}" }))]),
            json!("x"),
            "invalid_request",
            "waits for itself",
        ),
        ("6", json!([step(json!({ "input": "" }))]), json!("x"), "step_failed", "step \"a\": invalid_request"),
        ("7", json!([step(json!({ "inptu": "x" }))]), json!("x"), "step_failed", "unknown field \"inptu\""),
        ("8", json!([step(json!({ "input": bomb }))]), json!("x"), "step_failed", "fuel"),
        (
            "9",
            json!([step(json!({ "input": "{{ item }}", "for_each": "input" }))]),
            json!(long),
            "step_failed",
            "gives 65 items; allowed are 0 to 64 (limits.for_each)",
        ),
        ("10", json!([step(json!({ "input": "x", "model": "gpt" }))]), json!("x"), "unknown_model", "no model gpt"),
        ("11", json!([step(json!({ "input": "{{ input.missing.deeper }}" }))]), json!({}), "step_failed", "undefined"),
        (
            "12",
            json!([step(json!({ "input": "{{ input }}" }))]),
            json!("word ".repeat(4000)),
            "step_failed",
            "context_overflow",
        ),
    ] {
        let reply = device.answer("pipeline", json!({ "id": id, "steps": steps, "input": input })).await;
        let message = reply["message"].as_str().unwrap_or_default();
        assert!(reply["code"] == code && message.contains(part), "{id}: {reply}");
    }
    // An error that is expected does not end it.
    let steps = json!([
        step(json!({ "input": "word ".repeat(4000), "on_error": "default", "default": "too long" })),
        { "name": "b", "task": "generate", "input": "{{ steps.a.output }}", "max_tokens": 2 },
    ]);
    let output = json!("{{ steps.a.output }}: {{ steps.a.error.code }}");
    let reply = device.answer("pipeline", json!({ "id": "d", "steps": steps, "output": output })).await;
    assert_eq!(reply["output"], "too long: context_overflow", "{reply}");
    // One deadline and one cancel for all of it.
    let endless = step(json!({ "input": "Count.", "max_tokens": 900, "ignore_eos": true }));
    let request =
        |id: &str, deadline: u32| json!({ "id": id, "steps": [endless.clone()], "deadline_ms": deadline, "ack": true });
    assert_eq!(device.answer("pipeline", request("late", 1500)).await["code"], "deadline_exceeded");
    device.ask("pipeline", &request("stopped", 60_000)).await;
    while device.next().await.json["state"] != "running" {}
    device.send(Send::new("promptd/gw/cancel/dev", r#"{"id":"stopped"}"#)).await;
    let (_, reply) = told(&mut device, "stopped").await;
    assert_eq!(reply["code"], "cancelled", "{reply}");
}

/// In TOML, as an operator writes it.
const TRIAGE: &str = r#"
description = "Sorts alarms."
output = { label = "{{ steps.mood.output[0].label }}", machine = "{{ machine }}" }

[input]
required = ["input"]
[input.properties]
input = { type = "string", pattern = '\S' }
machine = { type = "string" }

[[steps]]
name = "mood"
task = "classify"
input = "{{ input }}"
"#;

#[tokio::test]
async fn an_operator_defines_them_while_the_node_runs() {
    let broker = Broker::start().await;
    let mut fleet = Fleet::watch(&broker).await;
    let node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    let mut operator = Operator::connect(&broker).await;
    let folder = node.folder().join("pipelines.d");
    std::fs::create_dir_all(&folder).unwrap();
    let write = |text: &str| std::fs::write(folder.join("triage.toml"), text).unwrap();
    write(TRIAGE);
    let change = operator.does("reload", json!({})).await;
    assert_eq!(change["changed"], json!(["pipeline[triage]"]), "{change}");
    let reply = device.answer("triage", json!({ "id": "a", "input": "Terrible!", "machine": "press" })).await;
    assert_eq!(
        (&reply["task"], &reply["output"]),
        (&json!("triage"), &json!({ "label": "NEGATIVE", "machine": "press" }))
    );
    device.send(Send::new("promptd/gw/request/triage/dev", "Wonderful!")).await;
    let reply = device.outcome_of_any().await;
    assert_eq!(reply["output"], json!({ "label": "POSITIVE", "machine": null }), "{reply}");
    for (id, request, part) in [
        ("b", json!({ "input": "x", "mashine": "y" }), "unknown field \"mashine\""),
        ("c", json!({ "input": 7 }), "field \"input\": value is not of type \"string\""),
        ("d", json!({ "machine": "press" }), "\"input\" is a required property"),
    ] {
        let mut request = request;
        request["id"] = json!(id);
        let error = device.answer("triage", request).await;
        assert!(error["code"] == "invalid_request" && error["message"].as_str().unwrap().contains(part), "{error}");
    }
    let document = operator.does("tasks", json!({})).await;
    let triage = document.as_array().unwrap().iter().find(|task| task["name"] == "triage").unwrap();
    assert_eq!(triage["steps"], json!([{ "name": "mood", "task": "classify" }]), "{document}");
    let info = node.operator_json(&["info"]);
    let triage = info["tasks"].as_array().unwrap().iter().find(|task| task["name"] == "triage").unwrap();
    assert_eq!(*triage, json!({ "name": "triage", "fields": ["input", "machine"] }));

    // Before it is given to a node a file can be tried.
    let file = node.folder().join("trial.toml");
    let more = "[[steps]]\nname = \"say\"\ntask = \"generate\"\nmax_tokens = 3\ninput = \"{{ steps.mood.output[0].label }}\"\n";
    std::fs::write(&file, format!("{TRIAGE}{more}")).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = promptd();
        command.arg("run-pipeline").arg(&file).args(["--input", "Terrible!"]).args(arguments);
        command.args(["--broker", &format!("mqtt://127.0.0.1:{}", broker.port), "--node", "gw"]).output().unwrap()
    };
    let output = run(&["--set", "machine=press", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["output"], json!({ "label": "NEGATIVE", "machine": "press" }), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("[mood: running]\n[mood: ended]") && said.contains("[say: ended]"), "{said}");
    std::fs::write(&file, TRIAGE.replace("classify", "haiku")).unwrap();
    let output = run(&[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("unknown_task: step \"mood\": no task"), "{said}");

    // Those that are broken change nothing, and say where.
    for (from, to, place) in [
        ("steps.mood.output[0]", "steps.moot.output[0]", "pipelines.d/triage.toml:"),
        ("input = \"{{ input }}\"", "input = \"{{ inptu }}\"", "pipelines.d/triage.toml:11:"),
        ("task = \"classify\"", "task = \"haiku\"", "pipelines.d/triage.toml:11:"),
    ] {
        write(&TRIAGE.replace(from, to));
        let check = node.operator(&["check"]);
        let said = String::from_utf8([check.stdout, check.stderr].concat()).unwrap();
        assert!(!check.status.success() && said.contains(place), "{said}");
    }
    node.signal(Signal::HUP);
    fleet.status(|status| status["reasons"].to_string().contains("triage.toml:11:1")).await;
    assert_eq!(device.answer("triage", json!({ "id": "e", "input": "Great!" })).await["event"], "result");
}

#[tokio::test]
async fn a_restart_goes_on_where_it_stopped() {
    let broker = Broker::start().await;
    let mut node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    // Sampled without a seed: done again, it would say something else.
    let steps = json!([
        { "name": "first", "task": "generate", "input": "A word?", "max_tokens": 12, "ignore_eos": true, "temperature": 5.0 },
        { "name": "parts", "task": "generate", "for_each": "[1, 2]", "input": "{{ item }}?", "max_tokens": 8,
          "ignore_eos": true, "temperature": 5.0, "needs": ["first"] },
        { "name": "last", "task": "generate", "input": "{{ steps.first.output }}", "max_tokens": 700, "ignore_eos": true,
          "needs": ["parts"] },
    ]);
    let output = json!("{{ steps.first.output }}|{{ steps.parts.output|join('|') }}");
    device.ask("pipeline", &json!({ "id": "r", "steps": steps, "output": output, "ack": true })).await;
    let is = |message: &Value, step: &str, state: &str| message["step"] == step && message["state"] == state;
    loop {
        let message = device.next().await.json;
        assert!(message["event"] != "result" && message["event"] != "error", "too early: {message}");
        if is(&message, "parts", "ended") {
            break;
        }
    }
    node.restart(&setup());
    let (messages, reply) = told(&mut device, "r").await;
    assert_eq!(reply["event"], "result", "{reply}");
    let after: Vec<_> = progress(&messages).into_iter().filter(|(step, _)| *step != "last").collect();
    assert_eq!(after, [], "the steps that had ended were not begun again");
    assert!(progress(&messages).contains(&("last", "ended")), "{messages:?}");
    let texts = reply["output"].as_str().unwrap().split('|').count();
    assert!(texts >= 3, "{reply}");
    assert_eq!(reply["usage"]["generated_tokens"], 12 + 2 * 8 + 700, "of both runs: {reply}");
    assert_eq!(
        device.answer("pipeline", json!({ "id": "r", "steps": steps, "output": output, "ack": true })).await,
        reply
    );
}
