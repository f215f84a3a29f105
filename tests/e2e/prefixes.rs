//! What prompts begin with is computed once: an operator's instructions for all who ask for that task, a session's turns for that
//! session.
//!
//! How much was computed is counted in tokens: those of a prompt less those that were in memory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Broker, Device, Node, Operator, Setup, http, until, words};
use crate::tasks::define;

/// A task whose instructions are far longer than what it is asked.
fn instructed(count: usize) -> String {
    format!(
        "description = \"Has long instructions.\"\nsystem = \"{}\"\nprompt = \"Now say {{{{ word }}}}, please.\"\n\
         [input]\nrequired = [\"word\"]\nproperties = {{ word = {{ type = \"string\" }} }}\n",
        words(count, 7)
    )
}

fn ask(id: &str, word: &str) -> Value {
    json!({ "id": id, "word": word, "max_tokens": 6, "ignore_eos": true })
}

fn tokens(reply: &Value, kind: &str) -> u64 {
    reply["usage"][kind].as_u64().unwrap_or_else(|| panic!("{reply}"))
}

fn computed(reply: &Value) -> u64 {
    tokens(reply, "prompt_tokens") - tokens(reply, "cached_tokens")
}

/// A node whose task `long` has so many words of instructions.
async fn node(broker: &Broker, count: usize, setup: Setup) -> Node {
    let node = Node::start(broker, &setup);
    node.wait_for_state(broker, "ready").await;
    define(&node, "long", &instructed(count));
    assert!(node.operator(&["reload"]).status.success());
    node
}

/// Files that engines keep for the next start.
fn kept(node: &Node) -> Vec<PathBuf> {
    let entries = fs::read_dir(node.folder().join("prefixes")).into_iter().flatten();
    let whole = |path: &PathBuf| path.extension().is_some_and(|end| end == "prefix");
    entries.map(|entry| entry.unwrap().path()).filter(whole).collect()
}

#[tokio::test]
async fn instructions_are_computed_once_even_for_eight_who_ask_at_once_and_over_a_restart() {
    let broker = Broker::start().await;
    // Disks of machines that test are rather full.
    let setup = || Setup { tables: "[disk]\nreserve = \"1MiB\"".into(), ..Setup::default() };
    let mut node = node(&broker, 200, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    for number in 0..8 {
        device.ask("long", &ask(&format!("burst{number}"), &format!("word{number}"))).await;
    }
    let mut replies = Vec::new();
    for number in 0..8 {
        replies.push(device.outcome(&format!("burst{number}")).await);
    }
    let whole = tokens(&replies[0], "prompt_tokens");
    let computed_of: Vec<u64> = replies.iter().map(computed).collect();
    assert_eq!(computed_of.iter().filter(|computed| **computed > 200).count(), 1, "one computes it: {computed_of:?}");
    assert!(computed_of.iter().sum::<u64>() < whole + 7 * 24, "{computed_of:?}");

    // It makes no difference for what is answered.
    let again = device.answer("long", ask("again", "word3")).await;
    assert!(computed(&again) < 24, "{again}");
    let before = device.answer("long", ask("before", "tree")).await;
    let files = until("a file", || Some(kept(&node)).filter(|files| !files.is_empty())).await;
    assert_eq!(fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);

    node.restart(&setup());
    node.wait_for_state(&broker, "ready").await;
    let after = device.answer("long", ask("after", "tree")).await;
    assert_eq!((&after["output"], &after["usage"]), (&before["output"], &before["usage"]), "nothing is computed again");

    // What is damaged is computed again, and written again.
    for (name, damage) in [("flipped", true), ("cut", false)] {
        let path = until("the file", || kept(&node).pop()).await;
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        if damage {
            bytes[middle] ^= 1;
        } else {
            bytes.truncate(middle);
        }
        let damaged = bytes.clone();
        fs::write(&path, bytes).unwrap();
        node.restart(&setup());
        node.wait_for_state(&broker, "ready").await;
        let reply = device.answer("long", ask(name, "tree")).await;
        assert_eq!(reply["output"], before["output"], "{name}");
        assert!(computed(&reply) > 200, "{name}: {reply}");
        until("it to be written again", || fs::read(&path).ok().filter(|bytes| *bytes != damaged)).await;
        assert_eq!(computed(&device.answer("long", ask(&format!("{name}2"), "tree")).await), computed(&before));
    }
}

/// One step says what nobody shall know, the other one only what a client has written.
fn steps(secret: &str) -> String {
    format!(
        "description = \"Two steps.\"\n[input]\nrequired = [\"text\", \"hidden\"]\n\
         properties = {{ text = {{ type = \"string\" }}, hidden = {{ type = \"boolean\" }} }}\n\
         [[steps]]\nname = \"knows\"\ntask = \"generate\"\nwhen = \"hidden\"\nmax_tokens = 4\nignore_eos = true\n\
         prompt = \"{secret} {{{{ text }}}}\"\n\
         [[steps]]\nname = \"repeats\"\ntask = \"generate\"\nwhen = \"not hidden\"\nmax_tokens = 4\nignore_eos = true\n\
         prompt = \"{{{{ text }}}}\"\n"
    )
}

#[tokio::test]
async fn a_step_tells_nothing_of_what_another_one_says() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup::default()).await;
    let secret = words(80, 9);
    let folder = node.folder().join("pipelines.d");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("flow.toml"), steps(&secret)).unwrap();
    assert!(node.operator(&["reload"]).status.success());
    let mut device = Device::connect(&broker, "dev").await;
    let mut ask = async |id: &str, text: &str, hidden: bool| {
        device.answer("flow", json!({ "id": id, "text": text, "hidden": hidden })).await
    };
    ask("first", "tree", true).await;
    let again = ask("again", "tree", true).await;
    assert!(tokens(&again, "cached_tokens") > 80, "it is kept: {again}");
    let guess = ask("guess", &format!("{secret} tree"), false).await;
    let wrong = ask("wrong", &format!("{} tree", words(80, 10)), false).await;
    assert!(tokens(&guess, "prompt_tokens") > 80, "{guess}");
    assert_eq!(tokens(&guess, "cached_tokens"), tokens(&wrong, "cached_tokens"), "{guess} {wrong}");
}

#[tokio::test]
async fn reproducible_answers_are_the_same_with_and_without_it() {
    let broker = Broker::start().await;
    let mut device = Device::connect(&broker, "dev").await;
    let mut answers = Vec::new();
    for size in ["0B", "64MiB"] {
        let tables = format!("[engine]\nreproducible = true\nprefix_cache = \"{size}\"");
        let node = node(&broker, 150, Setup { sequences: 2, tables, ..Setup::default() }).await;
        for id in ["one", "two"] {
            let request = json!({ "id": format!("{id}-{size}"), "word": "tree", "max_tokens": 40, "ignore_eos": true });
            answers.push(device.answer("long", request).await);
        }
        drop(node);
    }
    let outputs: Vec<&Value> = answers.iter().map(|answer| &answer["output"]).collect();
    assert!(outputs.iter().all(|output| *output == outputs[0]), "{outputs:?}");
    let cached: Vec<u64> = answers.iter().map(|answer| tokens(answer, "cached_tokens")).collect();
    assert_eq!((cached[0], cached[1], cached[2]), (0, 0, 0), "nothing is kept, or not yet");
    assert!(cached[3] >= 128 && cached[3].is_multiple_of(64), "whole chunks: {cached:?}");
}

fn turn(id: &str, session: &str, text: &str) -> Value {
    json!({ "id": id, "session": session, "input": text, "max_tokens": 8 })
}

#[tokio::test]
async fn turns_are_kept_for_their_session_and_nobody_else_can_see_that() {
    let broker = Broker::start().await;
    let _node = Node::ready(&broker, Setup { sequences: 4, ..Setup::default() }).await;
    let mut alice = Device::connect(&broker, "alice").await;
    let mut mallory = Device::connect(&broker, "mallory").await;
    let mut operator = Operator::connect(&broker).await;
    let secret = words(80, 5);
    // What a prompt has in common with every other.
    let fresh = mallory.answer("chat", turn("fresh", "other", &words(80, 6))).await;
    let first = alice.answer("chat", turn("1", "s", &secret)).await;
    assert_eq!(tokens(&first, "cached_tokens"), tokens(&fresh, "cached_tokens"));
    let second = alice.answer("chat", turn("2", "s", "And now?")).await;
    assert!(tokens(&second, "cached_tokens") >= tokens(&first, "prompt_tokens"), "{first} {second}");
    assert!(computed(&second) < 40, "{second}");

    // The very same words of another client, in a session or not, and of the client itself elsewhere.
    let guesses = [
        mallory.answer("chat", turn("guess", "s", &secret)).await,
        mallory.answer("generate", json!({ "id": "plain", "prompt": secret, "max_tokens": 8 })).await,
        alice.answer("chat", turn("elsewhere", "t", &secret)).await,
        alice.answer("generate", json!({ "id": "nowhere", "prompt": secret, "max_tokens": 8 })).await,
    ];
    for guess in guesses {
        assert_eq!(tokens(&guess, "prompt_tokens"), tokens(&first, "prompt_tokens"));
        assert_eq!(tokens(&guess, "cached_tokens"), tokens(&fresh, "cached_tokens"), "{guess}");
    }

    // What is forgotten or begun anew is computed anew, though the words are the same.
    operator.does("forget", json!({ "client": "alice", "session": "s" })).await;
    let forgotten = alice.answer("chat", turn("3", "s", &secret)).await;
    assert_eq!(tokens(&forgotten, "cached_tokens"), tokens(&fresh, "cached_tokens"), "{forgotten}");
    let mut anew = turn("4", "s", &secret);
    anew["reset"] = json!(true);
    let anew = alice.answer("chat", anew).await;
    assert_eq!(tokens(&anew, "cached_tokens"), tokens(&fresh, "cached_tokens"), "{anew}");
    let goes_on = alice.answer("chat", turn("5", "s", "And now?")).await;
    assert!(tokens(&goes_on, "cached_tokens") >= tokens(&anew, "prompt_tokens"), "{goes_on}");
}

#[tokio::test]
async fn what_is_kept_keeps_to_its_bound() {
    let broker = Broker::start().await;
    let port = http::free_port();
    // 200 words take 5 MB of this model's memory.
    let tables = format!(
        "[engine]\nprefix_cache = \"2MiB\"\n[telemetry]\nhttp = \"127.0.0.1:{port}\"\n[journal]\ndurability = \"memory\""
    );
    let node = node(&broker, 200, Setup { sequences: 2, tables, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    for id in ["a", "b"] {
        assert!(computed(&device.answer("long", ask(id, "tree")).await) > 200);
        assert_eq!(
            device.answer("chat", turn(&format!("turn {id}").replace(' ', "-"), id, "Hi.")).await["event"],
            "result"
        );
    }
    let bytes = || http::sum(&http::page(port, "/metrics").body, "promptd_model_prefix_cache_bytes", "");
    let bytes = until("something to be kept", || bytes().filter(|bytes| *bytes > 0.0)).await;
    assert!(bytes <= 2.0 * 1024.0 * 1024.0, "{bytes}");
    assert!(!node.folder().join("prefixes").exists(), "nothing is written where the journal is not");
}
