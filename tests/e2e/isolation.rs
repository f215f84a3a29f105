//! Two clients of one node: neither learns anything of the other, nor does anything in its name.
//!
//! The client is what the topic says. Where the broker's rights vouch for that, nobody can be another client; where they do not,
//! whoever publishes as another client is that client, and the node still keeps apart what belongs to different names.

use rumqttc::v5::mqttbytes::QoS;
use serde_json::{Value, json};

use crate::harness::{Broker, Device, Node, Send, Setup, words};

/// A job that runs until it is cancelled.
fn endless(id: &str) -> Value {
    json!({ "id": id, "prompt": "Count.", "max_tokens": 100_000, "ignore_eos": true, "stream": true })
}

fn turn(id: &str, text: &str) -> Value {
    json!({ "id": id, "session": "hall", "input": text, "max_tokens": 4 })
}

fn setup(mqtt: String) -> Setup {
    let tables = "[limits]\nmax_tokens_cap = 100000".to_owned();
    Setup { sequences: 2, context: 4096, mqtt, tables, ..Setup::default() }
}

/// Waits for a sign that a job is still at work.
async fn goes_on(device: &mut Device, id: &str) {
    while device.now().is_some() {}
    let reply = device.next().await.json;
    assert_eq!((&reply["event"], &reply["id"]), (&json!("delta"), &json!(id)), "{reply}");
}

async fn cancelled(device: &mut Device, id: &str) {
    let topic = format!("promptd/gw/cancel/{}", device.name);
    device.send(Send::new(&topic, json!({ "id": id }).to_string())).await;
    assert_eq!(device.outcome(id).await["code"], "cancelled");
}

#[tokio::test]
async fn under_their_own_names_clients_have_nothing_in_common() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, setup(String::new())).await;
    let mut dev = Device::connect(&broker, "dev").await;
    let mut eve = Device::connect(&broker, "eve").await;

    jobs_are_their_clients_own(&mut dev, &mut eve).await;
    outcomes_are_their_clients_own(&mut dev, &mut eve).await;
    sessions_are_their_clients_own(&mut dev, &mut eve).await;
    nobody_sees_in_his_numbers_what_another_has_asked(&mut dev, &mut eve).await;

    // Nor are answers sent where another reads.
    let mut aimed = json!({ "id": "aimed", "prompt": "Hi", "reply_to": "promptd/gw/response/dev/x" });
    assert_eq!(eve.answer("generate", aimed.clone()).await["code"], "reply_forbidden");
    aimed["reply_to"] = json!("promptd/other/response/dev/x");
    assert_eq!(eve.answer("generate", aimed).await["code"], "reply_forbidden");
    assert_eq!(dev.now().map(|reply| reply.json), None, "something came that was not asked for");
    assert_eq!(node.operator_json(&["jobs"])["total"], 0);
}

async fn jobs_are_their_clients_own(dev: &mut Device, eve: &mut Device) {
    dev.ask("generate", &endless("7")).await;
    goes_on(dev, "7").await;
    eve.send(Send::new("promptd/gw/cancel/eve", r#"{"id":"7"}"#)).await;
    let reply = eve.outcome("7").await;
    assert_eq!((&reply["code"], &reply["message"]), (&json!("not_found"), &json!("no open job 7 of this client")));
    // The same words that it gets for an id that nobody has.
    eve.send(Send::new("promptd/gw/cancel/eve", r#"{"id":"8"}"#)).await;
    assert_eq!(eve.outcome("8").await["message"], "no open job 8 of this client");
    // The same id is another job, with whatever it asks.
    let own = json!({ "id": "7", "prompt": "Something else?", "max_tokens": 1 });
    assert_eq!(eve.answer("generate", own).await["event"], "result");
    goes_on(dev, "7").await;
    cancelled(dev, "7").await;
}

async fn outcomes_are_their_clients_own(dev: &mut Device, eve: &mut Device) {
    // Sampled without a seed: no two answers are alike.
    let request = json!({ "id": "9", "prompt": "A word?", "max_tokens": 30, "ignore_eos": true, "temperature": 5.0 });
    let first = dev.answer("generate", request.clone()).await;
    let fetch = |fields: Value| Send::new("promptd/gw/request/fetch/eve", fields.to_string());
    eve.send(fetch(json!({ "id": "f1", "job": "9" }))).await;
    let reply = eve.outcome("f1").await;
    assert_eq!((&reply["code"], &reply["message"]), (&json!("not_found"), &json!("no job 9 of the client eve")));
    eve.send(fetch(json!({ "id": "f2", "job": "9", "client": "dev" }))).await;
    assert_eq!(eve.outcome("f2").await["code"], "invalid_request", "a client names no other");
    eve.send(fetch(json!({ "id": "f3" }))).await;
    assert_eq!(eve.outcome("f3").await["output"], json!({ "fetched": 0 }));
    let other = eve.answer("generate", request.clone()).await;
    assert_ne!(other["output"], first["output"], "the first answer to another client's request");
    assert_eq!(dev.answer("generate", request).await, first, "to its own it is");
}

async fn sessions_are_their_clients_own(dev: &mut Device, eve: &mut Device) {
    for id in ["s1", "s2"] {
        dev.answer("chat", turn(id, "The pump in hall 3 is blue.")).await;
    }
    let fresh = |reply: &Value| (reply["session"]["turns"].clone(), reply["usage"]["prompt_tokens"].clone());
    let own = eve.answer("chat", turn("s1", "What colour is the pump?")).await;
    let new = json!({ "id": "n", "input": "What colour is the pump?", "max_tokens": 1 });
    let without = eve.answer("chat", new).await;
    assert_eq!(fresh(&own), (json!(1), without["usage"]["prompt_tokens"].clone()), "{own}");
    let mut reset = turn("s3", "Begin.");
    reset["reset"] = json!(true);
    assert_eq!(eve.answer("chat", reset).await["session"]["turns"], 1);
    assert_eq!(dev.answer("chat", turn("s3", "And?")).await["session"]["turns"], 3, "what eve resets is eve's");
    // Who has no name has no session.
    let mut nobody = turn("a", "And?");
    nobody["reply_to"] = json!("promptd/gw/response/anonymous/a");
    eve.subscribe("promptd/gw/response/anonymous/#").await;
    eve.send(Send::new("promptd/gw/request/chat", nobody.to_string())).await;
    assert_eq!(eve.outcome("a").await["code"], "forbidden");
}

/// How many tokens of a prompt were found computed would tell that somebody has asked the same.
async fn nobody_sees_in_his_numbers_what_another_has_asked(dev: &mut Device, eve: &mut Device) {
    let ask = |id: &str, prompt: &str| json!({ "id": id, "prompt": prompt, "max_tokens": 1 });
    let cached = |reply: &Value| reply["usage"]["cached_tokens"].as_u64().unwrap_or_else(|| panic!("{reply}"));
    let secret = words(300, 41);
    let unheard = cached(&eve.answer("generate", ask("u", &words(300, 42))).await);
    // On every sequence that there is.
    for id in ["c1", "c2", "c3"] {
        dev.answer("generate", ask(id, &secret)).await;
    }
    let guessed = eve.answer("generate", ask("g", &secret)).await;
    assert_eq!(cached(&guessed), unheard, "eve hears that her guess was right: {guessed}");
    let longer = eve.answer("generate", ask("l", &format!("{secret} and more"))).await;
    assert_eq!(cached(&longer), unheard, "{longer}");
    let mut request = ask("n", &secret);
    request["reply_to"] = json!("promptd/gw/response/anonymous/n");
    eve.send(Send::new("promptd/gw/request/generate", request.to_string())).await;
    assert_eq!(cached(&eve.outcome("n").await), unheard, "of a client without a name");
}

#[tokio::test]
async fn the_broker_lets_nobody_be_another_client() {
    let broker = Broker::of_fleet(&["node gw", "device dev", "device eve", "monitor watcher"]).await;
    let mqtt = format!("username = \"gw\"\npassword_credential = {:?}\n", broker.password_of("gw"));
    let node = Node::ready(&broker, setup(mqtt)).await;
    let mut dev = Device::connect(&broker, "dev").await;
    let mut eve = Device::connect(&broker, "eve").await;
    for filter in
        ["promptd/+/response/dev/#", "promptd/+/jobs/dev/#", "promptd/+/request/+/dev", "promptd/+/cancel/+", "#"]
    {
        eve.subscribe(filter).await;
    }
    dev.answer("chat", turn("1", "The pump in hall 3 is blue.")).await;
    dev.ask("generate", &endless("2")).await;
    goes_on(&mut dev, "2").await;

    // In dev's name: none of it arrives, at any quality of service.
    let forged = [
        ("promptd/gw/cancel/dev", json!({ "id": "2" })),
        ("promptd/gw/request/fetch/dev", json!({ "id": "f", "job": "1" })),
        ("promptd/gw/request/chat/dev", turn("3", "And?")),
        ("promptd/gw/request/generate/dev", json!({ "id": "4", "prompt": "Hi", "max_tokens": 1 })),
        ("promptd/gw/response/dev/1", json!({ "event": "result", "id": "1", "output": "forged" })),
        ("promptd/gw/control/cancel", json!({ "all": true })),
        ("promptd/gw/control/forget", json!({ "client": "dev" })),
        ("promptd/gw/request/generate", json!({ "id": "5", "prompt": "Hi", "max_tokens": 1 })),
    ];
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for (topic, payload) in &forged {
            eve.send(Send { qos, ..Send::new(topic, payload.to_string()) }).await;
        }
    }
    // Its own goes through, behind all of that.
    let own = json!({ "id": "own", "prompt": "Hi", "max_tokens": 1 });
    eve.ask("generate", &own).await;
    loop {
        let read = eve.next().await;
        assert!(read.topic.starts_with("promptd/gw/response/eve/") || read.topic.starts_with("promptd/gw/jobs/eve/"));
        if read.json["event"] == "result" {
            break;
        }
    }
    goes_on(&mut dev, "2").await;
    cancelled(&mut dev, "2").await;
    assert_eq!(dev.answer("chat", turn("6", "And?")).await["session"]["turns"], 2, "nobody has spoken in between");
    assert_eq!(dev.now().map(|reply| reply.json), None, "something came that was not asked for");
    while let Some(read) = eve.now() {
        assert!(!read.topic.contains("/dev"), "eve has read {}", read.topic);
    }
    assert_eq!(node.operator_json(&["jobs"])["total"], 0);
}
