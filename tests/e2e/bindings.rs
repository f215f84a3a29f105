//! Devices whose topics can't change.

use serde_json::{Value, json};

use crate::harness::{Broker, Device, Node, Reply, Send, Setup, promptd, until};

const DOORS: &str = "[[binding]]\nname = \"doors\"\nsubscribe = \"building/+/door/#\"\ntask = \"generate\"\n\
                     params = { max_tokens = 3, ignore_eos = true }\npublish = \"alarms/{1}/{2}\"\n";

fn setup(tables: &str) -> Setup {
    Setup { tables: tables.to_owned(), sequences: 1, ..Setup::default() }
}

/// A device that reads what goes to other devices.
async fn reader(broker: &Broker, filter: &str) -> Device {
    let mut device = Device::connect(broker, "reader").await;
    device.subscribe(filter).await;
    device
}

async fn publish(device: &Device, topic: &str, payload: &str) {
    device.send(Send::new(topic, payload)).await;
}

/// The next message that is not about a job's state.
async fn next(device: &mut Device) -> (String, String) {
    let Reply { topic, payload, retain, .. } = device.next().await;
    assert!(!retain, "answers are never retained");
    (topic, String::from_utf8(payload.to_vec()).unwrap())
}

#[tokio::test]
async fn what_a_device_publishes_is_answered_on_another_topic() {
    let broker = Broker::start().await;
    let json = "[[binding]]\nname = \"json\"\nsubscribe = \"state/+\"\ntask = \"chat\"\npointer = \"/event/text\"\n\
                params = { max_tokens = 2 }\npublish = \"said\"\nreply = \"json\"\nerrors = true\n";
    let policy = "[[policy]]\nname = \"doors\"\nclients = [\"binding.doors\"]\npriority = \"low\"\n";
    let mut node = Node::ready(&broker, setup(&format!("{DOORS}{json}{policy}"))).await;
    let mut out = reader(&broker, "alarms/#").await;
    out.subscribe("said").await;
    let door = Device::connect(&broker, "door").await;
    publish(&door, "building/7/door/east/2", "Count.").await;
    let (topic, text) = next(&mut out).await;
    assert!(topic == "alarms/7/east/2" && !text.is_empty() && !text.starts_with('{'), "{topic} {text}");
    // What looks like a request is text, and a retained message is one like others.
    let retained = Send { retain: true, ..Send::new("building/8/door", r#"{"id":"x","reply_to":"elsewhere"}"#) };
    door.send(retained).await;
    assert_eq!(next(&mut out).await.0, "alarms/8/");

    publish(&door, "state/a", r#"{"event":{"text":"Hi"},"id":"7"}"#).await;
    let (topic, text) = next(&mut out).await;
    let reply: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (topic.as_str(), &reply["event"], &reply["task"]),
        ("said", &json!("result"), &json!("chat")),
        "{reply}"
    );
    for (payload, part) in [
        ("no json", "not valid JSON"),
        (r#"{"event":{}}"#, "nothing at the pointer \"/event/text\""),
        (r#"{"event":{"text":"  "}}"#, "is empty"),
    ] {
        publish(&door, "state/a", payload).await;
        let reply: Value = serde_json::from_str(&next(&mut out).await.1).unwrap();
        assert_eq!((&reply["event"], &reply["code"]), (&json!("error"), &json!("invalid_request")), "{reply}");
        assert!(reply["message"].as_str().unwrap().contains(part), "{reply}");
    }

    // Errors of the other one are told as events, and nothing goes to its topic.
    let mut fleet = Device::connect(&broker, "fleet").await;
    fleet.subscribe("promptd/gw/event").await;
    publish(&door, "building/9/door", " ").await;
    let event = fleet.next().await.json;
    assert_eq!(event["event"], "binding_failed", "{event}");
    assert!(event["reason"].as_str().unwrap().contains("alarms/9/: invalid_request"), "{event}");
    // Nobody else is such a client.
    let mut thief = Device::connect(&broker, "binding.doors").await;
    for topic in [
        "promptd/gw/request/generate/binding.doors",
        "promptd/gw/request/fetch/binding.doors",
        "promptd/gw/cancel/binding.doors",
    ] {
        thief.send(Send::new(topic, r#"{"id":"1","prompt":"x"}"#)).await;
        assert_eq!(thief.outcome_of_any().await["code"], "forbidden", "{topic}");
    }
    // No client's answer goes where a binding listens.
    let mut device = Device::connect(&broker, "dev").await;
    let request = json!({ "id": "r", "prompt": "x", "reply_to": "building/1/door" });
    assert_eq!(device.answer("generate", request).await["code"], "reply_forbidden");

    // A message that was taken is answered by the next run; a second time if the broker had not heard of it yet.
    let long = format!("{DOORS}{json}{policy}").replace("max_tokens = 3", "max_tokens = 150");
    node.configure(&broker, &setup(&long));
    node.operator_json(&["reload"]);
    publish(&door, "building/7/door/last", "Count.").await;
    until("it is accepted", || (node.operator_json(&["jobs", "binding.doors"])["total"] == 1).then_some(())).await;
    node.restart(&setup(&long));
    assert_eq!(next(&mut out).await.0, "alarms/7/last");
    publish(&door, "building/7/door/after", "Count.").await;
    let after = next(&mut out).await.0;
    let after = if after == "alarms/7/last" { next(&mut out).await.0 } else { after };
    assert_eq!(after, "alarms/7/after");
}

#[tokio::test]
async fn a_busy_binding_queues_drops_or_keeps_the_latest() {
    let broker = Broker::start().await;
    let bind = |name: &str, on_busy: &str| {
        format!(
            "[[binding]]\nname = \"{name}\"\nsubscribe = \"{name}/+\"\ntask = \"generate\"\npublish = \"out/{name}/{{1}}\"\n\
             params = {{ max_tokens = 60, ignore_eos = true }}\non_busy = \"{on_busy}\"\n"
        )
    };
    // Of what is done in several steps the ones that wait are no messages that wait.
    let step = |name: &str| {
        format!(
            "{{ name = \"{name}\", task = \"generate\", input = \"{{{{ input }}}}\", max_tokens = 60, ignore_eos = true }}"
        )
    };
    let steps = format!("steps = [{}, {}]", step("a"), step("b"));
    let whole = bind("whole", "latest")
        .replace("task = \"generate\"", "task = \"pipeline\"")
        .replace("max_tokens = 60, ignore_eos = true", &steps);
    let tables = format!("{}{}{}{whole}", bind("queue", "queue"), bind("drop", "drop"), bind("latest", "latest"));
    let node = Node::ready(&broker, setup(&tables)).await;
    let mut out = reader(&broker, "out/#").await;
    let door = Device::connect(&broker, "door").await;
    for (name, expected) in
        [("queue", &["1", "2", "3"][..]), ("drop", &["1"]), ("latest", &["1", "3"]), ("whole", &["1", "3"])]
    {
        for number in ["1", "2", "3"] {
            publish(&door, &format!("{name}/{number}"), "Count.").await;
        }
        for number in expected {
            assert_eq!(next(&mut out).await.0, format!("out/{name}/{number}"));
        }
        until("all have ended", || (node.operator_json(&["jobs"])["total"] == 0).then_some(())).await;
    }
    // Nothing else came: what was dropped has left nothing.
    publish(&door, "drop/last", "Count.").await;
    assert_eq!(next(&mut out).await.0, "out/drop/last");
}

#[tokio::test]
async fn bindings_come_and_go_with_a_reload_and_loops_are_refused() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, setup("")).await;
    let mut out = reader(&broker, "alarms/#").await;
    let door = Device::connect(&broker, "door").await;
    node.configure(&broker, &setup(DOORS));
    assert_eq!(node.operator_json(&["reload"])["changed"], json!(["binding[doors]"]));
    // The connection is made anew for it: until then nothing is subscribed.
    until("it is subscribed", || {
        let status = node.operator_json(&["status"]);
        (status["connected"] == true).then_some(())
    })
    .await;
    let mut answered = None;
    for turn in 0..200 {
        publish(&door, &format!("building/{turn}/door/x"), "Count.").await;
        answered = out.soon().await;
        if answered.is_some() {
            break;
        }
    }
    assert!(answered.is_some_and(|reply| reply.topic.starts_with("alarms/")));
    // On a slow machine more than one message may have been taken.
    until("all have ended", || (node.operator_json(&["jobs"])["total"] == 0).then_some(())).await;

    let looped = setup(&format!(
        "{DOORS}[[binding]]\nname = \"back\"\nsubscribe = \"alarms/+/y\"\ntask = \"chat\"\npublish = \"z\"\n"
    ));
    node.configure(&broker, &looped);
    let output = node.operator(&["reload"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("binding[doors].publish") && said.contains("would be a message for binding[back]"), "{said}");
    let check = promptd().args(["check", "--config"]).arg(node.config()).output().unwrap();
    let said = String::from_utf8(check.stderr).unwrap();
    assert_eq!(check.status.code(), Some(78));
    assert!(said.contains("promptd.toml:") && said.contains("binding[doors].publish"), "{said}");

    node.configure(&broker, &setup(""));
    assert_eq!(node.operator_json(&["reload"])["changed"], json!(["binding[doors]"]));
    let mut device = Device::connect(&broker, "dev").await;
    device.answer("generate", json!({ "id": "0", "prompt": "x", "max_tokens": 1 })).await;
    while out.now().is_some() {}
    publish(&door, "building/1/door/x", "Count.").await;
    assert_eq!(
        device.answer("generate", json!({ "id": "1", "prompt": "x", "max_tokens": 1 })).await["event"],
        "result"
    );
    assert!(out.now().is_none(), "it is answered no more");
}
