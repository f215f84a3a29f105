//! Sessions: what a node remembers of conversations, and of whose.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Broker, Device, Node, Send, Setup, until, words};

fn turn(id: &str, session: &str, text: &str) -> Value {
    json!({ "id": id, "session": session, "input": text, "max_tokens": 6 })
}

/// The answer to a turn: prompt tokens and turns of the session, and all of it.
async fn answered(device: &mut Device, request: Value) -> (u64, u64, Value) {
    let reply = device.answer("chat", request).await;
    assert_eq!(reply["event"], "result", "{reply}");
    (reply["usage"]["prompt_tokens"].as_u64().unwrap(), reply["session"]["turns"].as_u64().unwrap(), reply)
}

async fn refused(device: &mut Device, task: &str, request: Value, code: &str, part: &str) {
    let reply = device.answer(task, request).await;
    assert_eq!((&reply["event"], &reply["code"]), (&json!("error"), &json!(code)), "{reply}");
    assert!(reply["message"].as_str().unwrap().contains(part), "{reply} does not say {part}");
}

#[tokio::test]
async fn each_turn_sees_those_before_it_even_after_the_daemon_was_killed() {
    let broker = Broker::start().await;
    let setup = || Setup { sequences: 2, ..Setup::default() };
    let mut node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    let (alone, turns, first) = answered(&mut device, turn("1", "s", "The code is seven.")).await;
    assert_eq!((turns, &first["session"]["name"], &first["session"]["dropped"]), (1, &json!("s"), &json!(0)));
    let (two, turns, second) = answered(&mut device, turn("2", "s", "The code is seven.")).await;
    assert!(two > alone && turns == 2, "{two} {second}");
    // The same id again: the first outcome, and nothing is added.
    assert_eq!(answered(&mut device, turn("2", "s", "The code is seven.")).await.2, second);

    node.restart(&setup());
    node.wait_for_state(&broker, "ready").await;
    assert_eq!(answered(&mut device, turn("2", "s", "The code is seven.")).await.2, second);
    let (three, turns, _) = answered(&mut device, turn("3", "s", "The code is seven.")).await;
    assert!(three > two && turns == 3, "{three}");
    // Whole conversations are turns, too; the answer of before and the message of the user stand between.
    let messages = json!([{ "role": "user", "content": "a" }, { "role": "assistant", "content": "b" },
                          { "role": "user", "content": "c" }]);
    let request = json!({ "id": "many", "session": "s", "messages": messages, "max_tokens": 4 });
    assert_eq!(answered(&mut device, request).await.1, 5);

    // A failed turn and one that is cancelled leave no trace.
    let mut long = turn("long", "s", "Count.");
    (long["ignore_eos"], long["max_tokens"], long["stream"]) = (json!(true), json!(500), json!(true));
    device.ask("chat", &long).await;
    while device.next().await.json["event"] != "delta" {}
    device.send(Send::new("promptd/gw/cancel/dev", r#"{"id":"long"}"#)).await;
    assert_eq!(device.outcome("long").await["code"], "cancelled");
    assert_eq!(answered(&mut device, turn("4", "s", "x")).await.1, 6);

    // It begins anew with a turn.
    let mut anew = turn("5", "s", "The code is seven.");
    anew["reset"] = json!(true);
    let (tokens, turns, _) = answered(&mut device, anew).await;
    assert_eq!((tokens, turns), (alone, 1));
    assert_eq!(answered(&mut device, turn("6", "s", "The code is seven.")).await.1, 2);
    // Another session, and the same name of another client, are others.
    assert_eq!(answered(&mut device, turn("7", "t", "The code is seven.")).await.0, alone);
    let mut other = Device::connect(&broker, "other").await;
    assert_eq!(answered(&mut other, turn("1", "s", "The code is seven.")).await.0, alone);

    // The operator forgets them.
    assert_eq!(node.operator_json(&["status"])["journal"]["sessions"], 3);
    assert_eq!(node.operator_json(&["forget", "dev", "t"])["forgotten"], 1);
    let again = node.operator(&["forget", "dev", "t"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("not_found: no session t"), "{again:?}");
    assert_eq!(node.operator_json(&["forget", "dev"])["forgotten"], 1);
    assert_eq!(answered(&mut device, turn("8", "s", "The code is seven.")).await.0, alone);
    assert_eq!(answered(&mut other, turn("2", "s", "x")).await.1, 2);
    let file = node.folder().join("journal.db");
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!node.log().contains("seven"), "nothing of it is in the log");
}

#[tokio::test]
async fn turns_that_come_at_once_are_answered_in_their_order_while_others_go_on() {
    let broker = Broker::start().await;
    let setup = || Setup { sequences: 4, ..Setup::default() };
    let mut node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    for number in 0..8 {
        let mut request = turn(&number.to_string(), "s", "Say a word.");
        request["ack"] = json!(true);
        device.ask("chat", &request).await;
    }
    // The same client's other jobs go before those that wait for their session.
    let one = json!({ "id": "free", "prompt": "Say a word.", "max_tokens": 1 });
    device.ask("generate", &one).await;
    let (mut ended, mut tokens, mut accepted) = (Vec::new(), Vec::new(), 0);
    while ended.len() < 4 {
        let reply = device.next().await.json;
        accepted += usize::from(reply["event"] == "accepted");
        if reply["event"] == "result" {
            ended.push(reply["id"].as_str().unwrap().to_owned());
            tokens.extend(
                reply["session"]["turns"].as_u64().map(|turns| (turns, reply["usage"]["prompt_tokens"].as_u64())),
            );
        }
    }
    // The rest is for the next run, in the same order.
    if accepted == 8 {
        node.restart(&setup());
    }
    while ended.len() < 9 {
        let reply = device.outcome_of_any().await;
        assert_eq!(reply["event"], "result", "{reply}");
        if !ended.contains(&reply["id"].as_str().unwrap().to_owned()) {
            ended.push(reply["id"].as_str().unwrap().to_owned());
            tokens.extend(
                reply["session"]["turns"].as_u64().map(|turns| (turns, reply["usage"]["prompt_tokens"].as_u64())),
            );
        }
    }
    let free = ended.iter().position(|id| id == "free").unwrap();
    assert!(free < 8, "it waits for no session: {ended:?}");
    ended.remove(free);
    assert_eq!(ended, (0..8).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(tokens.is_sorted() && tokens.first().unwrap().0 == 1 && tokens.last().unwrap().0 == 8, "{tokens:?}");
}

#[tokio::test]
async fn where_the_context_or_the_session_is_full_the_oldest_turns_go() {
    let broker = Broker::start().await;
    let tables = "[session]\nsize_max = \"4KiB\"\nper_client = 2\n[[policy]]\nname = \"mute\"\nclients = [\"mute\"]\nsessions = 0\n";
    let setup = Setup { context: 512, sequences: 1, tables: tables.to_owned(), ..Setup::default() };
    let node = Node::ready(&broker, setup).await;
    let mut device = Device::connect(&broker, "dev").await;
    let system = json!([{ "role": "system", "content": words(60, 1) }, { "role": "user", "content": words(60, 2) }]);
    let request = json!({ "id": "0", "session": "s", "messages": system, "max_tokens": 6 });
    let (head, _, _) = answered(&mut device, request).await;
    let (mut dropped, mut prompts) = (Vec::new(), Vec::new());
    for number in 1..=8 {
        let (tokens, _, reply) = answered(&mut device, turn(&number.to_string(), "s", &words(60, number + 2))).await;
        dropped.push(reply["session"]["dropped"].as_u64().unwrap());
        prompts.push(tokens);
    }
    assert!(dropped.is_sorted() && dropped[0] == 0 && *dropped.last().unwrap() > 0, "{dropped:?}");
    assert!(prompts.iter().all(|tokens| (head..=512 - 6).contains(tokens)), "the head stays: {prompts:?} of {head}");
    // The system message and the new turn stay whatever goes.
    let (tokens, _, reply) = answered(&mut device, turn("9", "s", &words(380, 99))).await;
    assert!(tokens > 440 && reply["session"]["dropped"].as_u64().unwrap() >= 4, "{reply}");
    // All of 4 KiB: some turns are forgotten for good.
    let (_, turns, _) = answered(&mut device, turn("10", "s", "x")).await;
    assert!((2..10).contains(&turns), "{turns}");
    refused(&mut device, "chat", turn("11", "s", &words(900, 7)), "too_large", "session.size_max").await;
    let mut outcome = turn("12", "u", &"y".repeat(4000));
    outcome["max_tokens"] = json!(100);
    outcome["ignore_eos"] = json!(true);
    let reply = device.answer("chat", outcome).await;
    assert!(reply["code"] == "context_overflow" || reply["code"] == "result_too_large", "{reply}");

    // A third one forgets the one that was not used for the longest time.
    answered(&mut device, turn("13", "t", "x")).await;
    assert_eq!(answered(&mut device, turn("14", "s", "x")).await.1, turns + 1);
    answered(&mut device, turn("15", "u", "x")).await;
    assert_eq!(answered(&mut device, turn("16", "t", "x")).await.1, 1, "it was forgotten");
    assert_eq!(node.operator_json(&["status"])["journal"]["sessions"], 2);

    let mut mute = Device::connect(&broker, "mute").await;
    refused(&mut mute, "chat", turn("1", "s", "x"), "forbidden", "policy[mute].sessions").await;
    let mut anonymous = Device::connect(&broker, "anonymous").await;
    anonymous.send(Send::new("promptd/gw/request/chat", turn("1", "s", "x").to_string())).await;
    assert_eq!(anonymous.outcome("1").await["code"], "forbidden");
    for (id, task, request, part) in [
        ("a", "generate", json!({ "input": "x", "session": "s" }), "has no field \"session\""),
        ("b", "chat", json!({ "input": "x", "session": "a b" }), "session contains ' '"),
        ("c", "chat", json!({ "input": "x", "reset": true }), "needs a \"session\""),
        ("d", "chat", json!({ "session": "s", "reset": true }), "is missing"),
        (
            "e",
            "chat",
            json!({ "session": "s", "messages": [{ "role": "system", "content": "x" }] }),
            "more than system",
        ),
    ] {
        let mut request = request;
        request["id"] = json!(id);
        refused(&mut device, task, request, "invalid_request", part).await;
    }
}

#[tokio::test]
async fn what_nobody_goes_on_with_is_forgotten() {
    let broker = Broker::start().await;
    let tables = "[session]\nkeep = \"1s\"\n".to_owned();
    let mut node = Node::ready(&broker, Setup { sequences: 1, tables, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    answered(&mut device, turn("1", "s", "x")).await;
    until("it is forgotten", || (node.operator_json(&["status"])["journal"]["sessions"] == 0).then_some(())).await;
    assert_eq!(answered(&mut device, turn("2", "s", "x")).await.1, 1);
    node.signal(Signal::TERM);
    assert_eq!(node.ended().await, Some(0), "{}", node.log());
}
