//! Pipelines over more models than memory holds.

use serde_json::json;

use crate::harness::{Broker, Device, Node, Setup, Watch, model, until};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three models, of which a budget holds two.
fn setup(budget: u64) -> Setup {
    let lines = "context = 512\nsequences = 2\nthreads = 1\nladder = [\"cpu:int4\"]\nmin_context = 512\n";
    let table = |name: &str, line: &str| {
        format!(
            "[[model]]\nname = \"{name}\"\nfiles = [{{ path = {:?} }}]\n{lines}{line}\n",
            model().display().to_string()
        )
    };
    let tables =
        [format!("[memory]\nbudget = \"{budget}MiB\"\n"), table("a", "default = true"), table("b", ""), table("c", "")]
            .concat();
    Setup { with_model: false, tables, ..Setup::default() }
}

/// What one of them takes, in MiB.
async fn need(broker: &Broker) -> u64 {
    let watch = Watch::start(broker).await;
    let node = Node::start(broker, &setup(100_000));
    let document = watch.until_model("a", |document| document["state"] == "ready").await;
    drop(node);
    document["memory"]["estimate"].as_u64().unwrap() / (1024 * 1024)
}

#[tokio::test]
async fn models_make_room_for_each_other_and_say_so() {
    let broker = Broker::start().await;
    let budget = need(&broker).await * 5 / 2;
    let watch = Watch::start(&broker).await;
    let node = Node::start(&broker, &setup(budget));
    let missing = until("two are loaded and one is refused", || {
        let of = |state: &str| NAMES.into_iter().filter(|name| watch.model(name)["state"] == state).collect::<Vec<_>>();
        match (of("ready").len(), of("unavailable").as_slice()) {
            (2, [missing]) => Some(*missing),
            _ => None,
        }
    })
    .await;
    let others: Vec<&str> = NAMES.into_iter().filter(|name| *name != missing).collect();
    let (a, b, c) = (others[0], others[1], missing);
    let mut device = Device::connect(&broker, "dev").await;
    let step = |name: &str, model: &str, input: &str| json!({ "name": name, "task": "generate", "model": model, "input": input, "max_tokens": 4, "ignore_eos": true });
    // The one that is not loaded is needed at once, while the others are at work, and both of them again afterwards.
    let steps = json!([
        step("a1", a, "One."),
        step("b1", b, "Two."),
        step("c1", c, "Three."),
        step("a2", a, "{{ steps.a1.output }}"),
        step("b2", b, "{{ steps.c1.output }}"),
        step("all", c, "{{ steps.a2.output }} {{ steps.b2.output }}"),
    ]);
    let reply = device.answer("pipeline", json!({ "id": "p", "steps": steps })).await;
    assert_eq!((&reply["event"], &reply["model"]), (&json!("result"), &json!(c)), "{reply}");
    assert_eq!(reply["usage"]["generated_tokens"], 24, "{reply}");
    let swapped: Vec<String> = NAMES
        .into_iter()
        .flat_map(|name| watch.events(name))
        .filter(|event| event["event"] == "unloaded")
        .map(|event| format!("{}: {}", event["model"].as_str().unwrap(), event["reason"].as_str().unwrap()))
        .collect();
    eprintln!("{swapped:?}");
    let needed = format!("the model {c} needs its memory");
    assert!(swapped.iter().any(|event| event.ends_with(&needed)), "{swapped:?}");
    assert!(swapped.len() <= 5, "they do not take turns for each step: {swapped:?}");
    // No more of them at once than fit.
    assert!(node.engines().len() <= 2, "{:?}", node.engines());
}
