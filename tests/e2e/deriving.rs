//! A node that makes the lower precisions of its model itself.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Broker, Device, Disk, Node, Setup, alive, files, signal_pid, until};

/// Bytes after which a derivation counts as being in the middle.
const MIDDLE: u64 = 2 * 1024 * 1024;

const LADDER: &str = "derive = true\nladder = [\"cpu:f16\", \"cpu:int8\", \"cpu:int4\"]";

fn setup() -> Setup {
    Setup { sequences: 1, context: 512, files: vec![files::f16()], model: LADDER.to_owned(), ..Setup::default() }
}

fn derived(node: &Node) -> Vec<String> {
    let folder = fs::read_dir(node.folder().join("derived")).into_iter().flatten();
    let mut names: Vec<String> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Both models and what is known of each.
async fn all_derived(node: &Node) {
    until("both precisions are derived", || {
        let names = derived(node);
        (names.len() == 4 && !names.iter().any(|name| name.ends_with(".partial"))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_node_derives_what_its_ladder_lacks_and_steps_to_it() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, setup()).await;
    let mut device = Device::connect(&broker, "dev").await;
    let answer = device.answer("generate", json!({ "id": "a", "prompt": "Hi", "max_tokens": 1 })).await;
    assert_eq!(answer["strategy"], "cpu:f16", "it serves while it derives: {answer}");
    all_derived(&node).await;
    let switched = until("the derived file is known", || {
        let output = node.operator(&["switch", "main", "--strategy", "cpu:int8", "--json"]);
        output.status.success().then(|| serde_json::from_slice::<Value>(&output.stdout).unwrap())
    })
    .await;
    assert_eq!((&switched["strategy"], &switched["precision"]), (&json!("cpu:int8"), &json!("Q8_0")), "{switched}");
    let answer = device.answer("generate", json!({ "id": "b", "prompt": "Hi", "max_tokens": 1 })).await;
    assert_eq!(answer["strategy"], "cpu:int8", "{answer}");
}

#[tokio::test]
async fn a_power_cut_in_the_middle_of_a_derivation_leaves_nothing_behind() {
    let broker = Broker::start().await;
    let setup = setup();
    let mut node = Node::start(&broker, &setup);
    let engine = until("a derivation writes", || {
        let partial = derived(&node).into_iter().find(|name| name.ends_with(".partial"))?;
        let quantizer = node.engines().into_iter().find(|pid| writes(*pid))?;
        // Once it has written it is well past its start, and dies with its daemon even when it is stopped.
        let written = fs::metadata(node.folder().join("derived").join(partial)).ok()?.len();
        (written > MIDDLE).then_some(quantizer)
    })
    .await;
    signal_pid(engine, Signal::STOP);
    node.signal(Signal::KILL);
    // It dies with its daemon, and its lock with it: only then is the file abandoned.
    until("the quantizer is gone", || (!alive(engine)).then_some(())).await;
    node.restart(&setup);
    all_derived(&node).await;
    assert!(node.log().contains("which a derivation has left unfinished"), "{}", node.log());
    // A result that is cut off afterwards is not used, but made again.
    let cut = derived(&node).into_iter().find(|name| name.ends_with("int4.gguf")).unwrap();
    let cut = node.folder().join("derived").join(cut);
    let whole = fs::metadata(&cut).unwrap().len();
    fs::File::options().write(true).open(&cut).unwrap().set_len(whole / 2).unwrap();
    node.restart(&setup);
    until("the cut file is made again", || (fs::metadata(&cut).ok()?.len() == whole).then_some(())).await;
}

/// Whether a child of the node is the one that quantizes: its output is open.
fn writes(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/fd/5")).is_ok_and(|path| path.to_string_lossy().contains(".partial"))
}

#[tokio::test]
async fn a_full_disk_stops_derivations_and_not_the_node() {
    let Some(disk) = Disk::mount(64) else { return };
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { state_dir: Some(disk.path()), ..setup() }).await;
    until("the derivations are given up", || (node.log().matches("cannot derive").count() == 2).then_some(())).await;
    assert!(node.log().contains("reserve are needed") || node.log().contains("disk"), "{}", node.log());
    let left = fs::read_dir(disk.path().join("derived")).into_iter().flatten().count();
    assert_eq!(left, 0, "nothing is left of them");
    let mut device = Device::connect(&broker, "dev").await;
    let answer = device.answer("generate", json!({ "id": "a", "prompt": "Hi", "max_tokens": 1 })).await;
    assert_eq!(answer["event"], "result", "{answer}");
}
