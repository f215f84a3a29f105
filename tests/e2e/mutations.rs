//! Requests and model files that were right before something was done to them: nothing of that harms a node.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;

use fastrand::Rng;
use serde_json::json;

use crate::harness::{Broker, CAPITAL, Device, MIB, Node, Send, Setup, model, mutate, process_status, promptd, until};

/// Requests in all, and on their way at once.
const REQUESTS: u32 = 2000;
const AT_ONCE: u32 = 100;

/// Model files that the reader accepts and a child is given.
const FILES: u32 = 40;

/// What starts the sequence of mutations: the same ones at each run.
const SEED: u64 = 20_261_128;

/// Task and payload of each request that fuzzing starts from.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/request");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let seed = |path| {
        let bytes = fs::read(path).unwrap();
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let task = head.strip_prefix("request/")?.split(['/', '\n']).next()?.to_owned();
        Some((task, bytes[end + 2..].to_vec()))
    };
    paths.into_iter().filter_map(seed).filter(|(task, _)| task != "fetch").collect()
}

#[tokio::test]
async fn every_mutated_request_ends_once_and_the_node_goes_on() {
    eprintln!("seed {SEED}");
    let broker = Broker::start().await;
    let tables = "[limits]\nmax_tokens = 3\nmax_tokens_cap = 6\ndeadline = \"60s\"\n".to_owned();
    let node = Node::ready(&broker, Setup { context: 512, tables, ..Setup::default() }).await;
    let boot = node.operator_json(&["status"])["boot"].clone();
    let (daemon, engines) = (node.pid(), node.engines());
    let mut device = Device::connect(&broker, "dev").await;
    let (seeds, mut random) = (seeds(), Rng::with_seed(SEED));
    let mut codes: BTreeMap<String, u32> = BTreeMap::new();
    let mut memory = 0;
    for first in (0..REQUESTS).step_by(AT_ONCE as usize) {
        let mut open: Vec<u32> = (first..first + AT_ONCE).collect();
        for number in open.clone() {
            let (task, payload) = &seeds[random.usize(..seeds.len())];
            // Its own id, or two of them would be one request.
            let id = format!("{:016x}", Rng::with_seed(number.into()).u64(..));
            let payload = String::from_utf8_lossy(payload).replace("\"id\":\"7\"", &format!("\"id\":\"{id}\""));
            let mut payload = payload.into_bytes();
            let end = payload.len();
            mutate(&mut random, &mut payload, end, false);
            let topic = format!("promptd/gw/request/{task}/dev");
            let mut message = Send::new(&topic, payload);
            message.properties.correlation_data = Some(number.to_string().into());
            device.send(message).await;
        }
        while !open.is_empty() {
            let reply = device.next().await;
            if ["accepted", "delta", "progress"].iter().any(|event| reply.json["event"] == *event) {
                continue;
            }
            let Some(data) = &reply.correlation else { continue };
            let number: u32 = std::str::from_utf8(data).unwrap().parse().unwrap();
            let place = open.iter().position(|open| *open == number);
            open.swap_remove(place.unwrap_or_else(|| panic!("request {number} ends twice: {}", reply.json)));
            let text = reply.payload.strip_prefix(b"error: ").map(|code| String::from_utf8_lossy(code).into_owned());
            let code = reply.json["code"].as_str().map(str::to_owned).or(text).unwrap_or_else(|| "answered".to_owned());
            *codes.entry(code).or_default() += 1;
        }
        if first == 2 * AT_ONCE {
            memory = process_status(daemon, "VmRSS").unwrap();
        }
    }
    eprintln!("{codes:?}");
    assert!(codes["answered"] > REQUESTS / 50 && codes["invalid_request"] > REQUESTS / 20, "{codes:?}");
    assert!(!codes.contains_key("internal") && !codes.contains_key("quarantined"), "{codes:?}");
    let grown = process_status(daemon, "VmRSS").unwrap().saturating_sub(memory);
    assert!(grown < 32 * MIB, "the daemon has grown by {grown} bytes");
    assert_eq!((node.pid(), node.engines()), (daemon, engines), "{}", node.log());
    assert_eq!(node.operator_json(&["status"])["boot"], boot);
    let reply = device.answer("generate", json!({ "id": "good", "prompt": CAPITAL, "max_tokens": 6 })).await;
    assert_eq!(reply["event"], "result", "{reply}");
}

/// The header of the model is the file up to its first tensor, which is the vocabulary's for the most part: most changes are put before
/// or after that.
#[tokio::test]
async fn a_child_that_gets_a_mutated_model_ends() {
    eprintln!("seed {SEED}");
    let good = fs::read(model()).unwrap();
    let find = |text: &[u8]| good.windows(text.len()).position(|window| window == text).unwrap();
    let (tokens, table) = (find(b"tokenizer.ggml.tokens"), find(b"token_embd.weight"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mutated.gguf");
    fs::copy(model(), &path).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let mut random = Rng::with_seed(SEED);
    let mut codes: BTreeMap<Option<i32>, u32> = BTreeMap::new();
    let mut given = 0;
    while given < FILES {
        let (from, to) = if random.bool() { (24, tokens) } else { (table, table + 4096) };
        let mut part = good[from..to].to_vec();
        mutate(&mut random, &mut part, to - from, true);
        file.write_all_at(&part, from as u64).unwrap();
        if fit(&path, true).await == Some(0) {
            given += 1;
            *codes.entry(fit(&path, false).await).or_default() += 1;
        }
        file.write_all_at(&good[from..to], from as u64).unwrap();
    }
    eprintln!("{codes:?}");
    // Fits, is refused, or can't be loaded: never a crash of the parent.
    assert!(codes.keys().all(|code| matches!(code, Some(0 | 1 | 65 | 69))), "{codes:?}");
    assert_eq!(fit(&path, false).await, Some(0), "the file as it was");
}

/// The exit code of `promptd fit`, none if it was killed by a signal, with a dry run in a child or by the header alone.
async fn fit(path: &Path, quick: bool) -> Option<i32> {
    let mut command = promptd();
    command.args(["fit", "--json"]).args(quick.then_some("--quick")).arg(path);
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("promptd fit ends", || process.try_wait().unwrap()).await.code()
}
