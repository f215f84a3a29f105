//! `inputs` of tasks that generate text: each has an answer or an error of its own.

use serde_json::{Value, json};

use crate::harness::{Broker, Device, Node, Setup, until};

#[tokio::test]
async fn each_input_has_its_own_answer_or_error() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 4, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let long = "word ".repeat(3000);
    let inputs = json!(["Count to three.", " ", "What is water?", long, "Say yes."]);
    let request = json!({ "id": "g", "inputs": inputs, "max_tokens": 8, "ignore_eos": true });
    let reply = device.answer("generate", request.clone()).await;
    assert_eq!((&reply["event"], &reply["task"]), (&json!("result"), &json!("generate")), "{reply}");
    let output = reply["output"].as_array().unwrap();
    let alone = device.answer("generate", json!({ "id": "a", "prompt": "What is water?", "max_tokens": 8 })).await;
    assert_eq!(output[2], json!({ "output": alone["output"] }), "the same as alone");
    assert_eq!(output.len(), 5);
    assert!(output[0]["output"].is_string() && output[4]["output"].is_string(), "{reply}");
    assert_eq!(output[1]["error"]["code"], "invalid_request", "{reply}");
    assert_eq!(output[3]["error"]["code"], "context_overflow", "{reply}");
    assert_eq!(reply["usage"]["generated_tokens"], 24, "of all of them: {reply}");
    assert_eq!((&reply["finish"], &reply["model"]), (&json!("length"), &json!("main")), "{reply}");
    assert_eq!(device.answer("generate", request).await, reply, "who asks again gets the same");

    // Conversations beside texts, and deltas that name their input.
    let conversation = json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Hello" }]);
    let request = json!({ "id": "c", "inputs": ["Hello", conversation], "max_tokens": 6, "stream": true, "ack": true });
    device.ask("chat", &request).await;
    let mut told = [String::new(), String::new()];
    let reply = loop {
        let reply = device.next().await.json;
        match reply["event"].as_str() {
            Some("delta") => told[usize::from(reply["index"] == 1)] += reply["text"].as_str().unwrap(),
            Some("result" | "error") => break reply,
            _ => {}
        }
    };
    let outputs: Vec<&Value> = reply["output"].as_array().unwrap().iter().map(|item| &item["output"]).collect();
    assert_eq!(outputs, [&json!(told[0]), &json!(told[1])], "{reply}");

    // A task that is data: what an input does not give, the request does for all.
    let inputs = json!(["Good morning", { "input": "Good night", "target_language": "German" }, { "inptu": "x" }]);
    let request = json!({ "id": "t", "inputs": inputs, "target_language": "French", "max_tokens": 6 });
    let reply = device.answer("translate", request).await;
    assert_eq!(reply["task"], "translate", "{reply}");
    assert!(reply["output"][0]["output"].is_string() && reply["output"][1]["output"].is_string(), "{reply}");
    assert!(reply["output"][2]["error"]["message"].as_str().unwrap().contains("inptu"), "{reply}");

    for (id, request, part) in [
        ("1", json!({ "inputs": [] }), "has 0 texts; allowed are 1 to 64 (limits.inputs)"),
        ("2", json!({ "inputs": vec!["x"; 65] }), "has 65 texts"),
        ("3", json!({ "inputs": ["x"], "prompt": "y" }), "only one of"),
        ("4", json!({ "inputs": [7] }), "inputs[0]"),
        ("5", json!({ "inputs": "x" }), "wanted an array"),
    ] {
        let mut request = request;
        request["id"] = json!(id);
        let error = device.answer("generate", request).await;
        assert!(error["code"] == "invalid_request" && error["message"].as_str().unwrap().contains(part), "{error}");
    }
    assert_eq!(node.operator_json(&["jobs"])["total"], 0);
}

#[tokio::test]
async fn they_are_one_job_that_is_cancelled_and_late_as_one() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 2, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let endless = |id: &str| json!({ "id": id, "inputs": vec!["Count."; 12], "max_tokens": 900, "ignore_eos": true });
    device.ask("generate", &endless("c")).await;
    let jobs = until("its first inputs are in the engine", || {
        Some(node.operator_json(&["jobs"])).filter(|jobs| jobs["jobs"][0]["state"] == "running")
    })
    .await;
    assert_eq!(jobs["total"], 1, "its inputs are no jobs of the client's: {jobs}");
    let output = node.operator(&["cancel", "dev", "c"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(device.outcome("c").await["code"], "cancelled");
    let mut late = endless("d");
    late["deadline_ms"] = json!(1500);
    let reply = device.answer("generate", late).await;
    assert_eq!(reply["code"], "deadline_exceeded", "{reply}");
    // The engine is free again.
    assert_eq!(
        device.answer("generate", json!({ "id": "e", "prompt": "Hi", "max_tokens": 2 })).await["event"],
        "result"
    );
}
