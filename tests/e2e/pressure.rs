//! One model in little memory: it takes what fits, gives back what others need, and comes back.
//!
//! Each node reads copies of its files that nobody has read before, so that their pages are charged to its cgroup.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use crate::harness::plot::{self, Panel};
use crate::harness::{
    Answer, Broker, Cgroup, Device, Hog, Load, MIB, Node, Setup, Watch, evict, files, model, uncached, until,
};

/// Best first.
const STRATEGIES: [&str; 3] = ["cpu:f16", "cpu:int8", "cpu:int4"];

/// The model in all precisions.
fn precisions() -> [PathBuf; 3] {
    [files::f16(), files::int8(), model()]
}

/// A node in a cgroup with the whole ladder; `model` are further lines for the model, `recover_after` in seconds.
fn setup(group: &Cgroup, files: Vec<PathBuf>, model: &str, recover_after: u32) -> Setup {
    Setup {
        files,
        cgroup: Some(group.path().to_owned()),
        model: format!("ladder = {STRATEGIES:?}\n{model}"),
        tables: format!("[memory]\nrecover_after = \"{recover_after}s\""),
        ..Setup::default()
    }
}

/// Where a document's strategy and shape stand, best first: none is the worst.
fn place(document: &Value) -> (usize, bool, i64, i64) {
    let strategy = STRATEGIES.iter().position(|strategy| document["strategy"] == *strategy);
    let number = |key: &str| -document[key].as_i64().unwrap_or_default();
    (strategy.unwrap_or(STRATEGIES.len()), document["kv_type"] == "q8_0", number("sequences"), number("context"))
}

fn mebibytes(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), |bytes| (bytes / MIB).to_string())
}

#[tokio::test]
async fn in_any_limit_it_serves_as_well_as_fits_or_refuses() {
    let (_folder, files) = uncached(&precisions());
    eprintln!(
        "limit MiB | strategy | sequences x context, kv | estimate / real MiB | peak MiB with page cache | reason"
    );
    let mut before = None;
    for limit in [64, 96, 128, 192, 256, 384, 512, 768, 1024] {
        let Some(group) = Cgroup::new("limits", limit * MIB) else { return };
        evict(&files);
        let broker = Broker::start().await;
        let watch = Watch::start(&broker).await;
        let setup = setup(&group, files.clone(), "min_context = 512", 60);
        let node = Node::start(&broker, &Setup { context: 2048, sequences: 4, ..setup });
        let settled = |document: &Value| document["state"] == "ready" || document["state"] == "unavailable";
        let document = watch.until_model("main", settled).await;
        let mut device = Device::connect(&broker, "dev").await;
        let reply = device.answer("generate", json!({ "id": "1", "prompt": "Count.", "max_tokens": 8 })).await;
        let shape = format!("{} x {}, {}", document["sequences"], document["context"], document["kv_type"]);
        let memory = &document["memory"];
        eprintln!(
            "{limit} | {} | {shape} | {} / {} | {} | {}",
            document["strategy"],
            mebibytes(&memory["estimate"]),
            mebibytes(&memory["real"]),
            group.peak() / MIB,
            document["reason"]
        );
        if document["state"] == "ready" {
            assert_eq!(reply["event"], "result", "{reply} of {document}");
        } else {
            assert_eq!(reply["code"], "memory_headroom", "{reply} of {document}");
            assert!(reply["retry_after_ms"].is_u64(), "{reply}");
        }
        assert_eq!(group.kills(), 0, "the kernel had to help at {limit} MiB: {}", node.log());
        assert!(group.peak() <= limit * MIB);
        let place = place(&document);
        assert!(before.is_none_or(|before| place <= before), "{limit} MiB: {place:?} after {before:?}");
        before = Some(place);
    }
    assert_eq!(before.map(|place| place.0), Some(0), "the largest limit has room for the best");
}

#[tokio::test]
async fn a_hog_takes_the_memory_and_gives_it_back() {
    let Some(group) = Cgroup::new("hog", 1024 * MIB) else { return };
    let (_folder, files) = uncached(&precisions());
    let broker = Broker::start().await;
    let watch = Watch::start(&broker).await;
    let node = Node::ready(&broker, setup(&group, files, "", 3)).await;
    let first = watch.until_model("main", |document| document["state"] == "ready").await;
    assert_eq!(place(&first), (0, false, -8, -1024), "{first}");
    let load = Load::start(&broker, 8, 24).await;
    until("answers", || (load.tally().results.len() >= 16).then_some(())).await;

    let mut hog = Hog::start(&group);
    let start = Instant::now();
    let samples = Arc::<Mutex<Vec<Sample>>>::default();
    let mut marks = vec![(0.0, "the hog comes".to_owned())];
    let mut mark = |name: &str| marks.push((start.elapsed().as_secs_f64(), name.to_owned()));
    let recorder = async {
        let mut turn = tokio::time::interval(Duration::from_millis(200));
        turn.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            turn.tick().await;
            let document = watch.model("main");
            let available = group.available(node.mapped_files());
            samples.lock().unwrap().push(Sample { at: Instant::now(), available, place: place(&document) });
        }
    };
    let story = async {
        hog.tighten(&group, &node, || watch.model("main")["state"] != "ready").await;
        mark("it stops");
        let event = watch.until_event("main", "stepped_down", 1).await;
        mark("stepped down");
        eprintln!("stepped down: {event}, the hog holds {} MiB", hog.held() / MIB);
        let smaller = watch.until_model("main", |document| document["state"] == "ready").await;
        assert!(place(&smaller) > place(&first), "{smaller}");
        let answered = load.tally().results.len();
        until("answers beside the hog", || (load.tally().results.len() >= answered + 16).then_some(())).await;
        assert_eq!(watch.events("main").iter().filter(|event| event["event"] == "stepped_up").count(), 0);
        hog.end();
        mark("the hog goes");
        let gone = Instant::now();
        let event = watch.until_event("main", "stepped_up", 1).await;
        mark("stepped up");
        eprintln!("stepped up {:.1} s after the hog had gone: {event}", gone.elapsed().as_secs_f64());
        let took = Duration::from_millis(event["took_ms"].as_u64().unwrap());
        assert!(took < gone.elapsed(), "{event}: the decision fell after the hog had gone");
        let again = watch.until_model("main", |document| place(document) == place(&first)).await;
        assert_eq!((&again["state"], &again["rejected"]), (&json!("ready"), &Value::Null), "{again}");
        let answered = load.tally().results.len();
        until("answers as before", || (load.tally().results.len() >= answered + 16).then_some(())).await;
    };
    tokio::select! {
        () = story => {}
        () = recorder => {}
    }
    let tally = load.finish().await;
    let path = plot::write("a_hog_takes_the_memory", &panels(&samples.lock().unwrap(), start, &tally.results), &marks);
    eprintln!("{} answers, {} refusals; see {}", tally.results.len(), tally.refused.len(), path.display());
    assert!(tally.others.is_empty(), "{:?}", tally.others);
    assert!(!tally.refused.is_empty(), "new work is refused under pressure");
    assert_eq!(group.kills(), 0);
}

struct Sample {
    at: Instant,
    available: u64,
    place: (usize, bool, i64, i64),
}

/// The samples as curves; tokens are spread over the second before their answer.
fn panels(samples: &[Sample], start: Instant, answers: &[Answer]) -> Vec<Panel> {
    let points = |value: &dyn Fn(&Sample) -> f64| {
        samples.iter().map(|sample| ((sample.at - start).as_secs_f64(), value(sample))).collect()
    };
    let tokens = |sample: &Sample| {
        let lately =
            |answer: &&Answer| answer.at <= sample.at && sample.at.duration_since(answer.at) < Duration::from_secs(1);
        answers.iter().filter(lately).map(|answer| answer.tokens as f64).sum()
    };
    let names = STRATEGIES.iter().chain(&["none"]).map(|name| (*name).to_owned()).collect();
    vec![
        Panel {
            title: "available memory (MiB)",
            points: points(&|sample| (sample.available / MIB) as f64),
            names: Vec::new(),
        },
        Panel { title: "strategy", points: points(&|sample| sample.place.0 as f64), names },
        Panel {
            title: "context of all sequences (tokens)",
            points: points(&|sample| (sample.place.2 * sample.place.3) as f64),
            names: Vec::new(),
        },
        Panel { title: "tokens per second", points: points(&tokens), names: Vec::new() },
    ]
}

#[tokio::test]
async fn a_step_down_is_quick() {
    let Some(group) = Cgroup::new("quick", 512 * MIB) else { return };
    let (_folder, files) = uncached(&precisions());
    let broker = Broker::start().await;
    let watch = Watch::start(&broker).await;
    // One shape only: what is worse is another precision.
    let setup = setup(&group, files, "kv_type = \"q8_0\"\nmin_context = 1024", 2);
    let node = Node::ready(&broker, Setup { sequences: 1, ..setup }).await;
    let first = watch.until_model("main", |document| document["state"] == "ready").await;
    assert_eq!(first["strategy"], "cpu:f16", "{first}");
    let load = Load::start(&broker, 3, 100).await;
    until("answers", || (!load.tally().results.is_empty()).then_some(())).await;
    let mut hog = Hog::start(&group);
    hog.tighten(&group, &node, || watch.model("main")["state"] != "ready").await;
    let event = watch.until_event("main", "stepped_down", 1).await;
    eprintln!("a step down took {} ms: {event}", event["took_ms"]);
    assert_eq!((&event["from"], &event["to"]), (&json!("cpu:f16"), &json!("cpu:int8")), "{event}");
    assert!(event["took_ms"].is_u64(), "{event}");
    until("an answer by it", || load.tally().results.iter().any(|answer| answer.strategy == "cpu:int8").then_some(()))
        .await;
    hog.end();
    // What fitted at first fits again, although the page cache is full of files by now.
    let event = watch.until_event("main", "stepped_up", 1).await;
    assert_eq!(event["to"], "cpu:f16", "{event}");
    let tally = load.finish().await;
    assert!(tally.others.is_empty(), "{:?}", tally.others);
    assert_eq!(group.kills(), 0);
}
