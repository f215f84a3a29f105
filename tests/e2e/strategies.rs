//! Files that are not what they should be: the next strategy serves, and everybody sees why.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Broker, Device, Fleet, Node, Setup, files, model};

const LADDER: &str = "ladder = [\"cpu:f16\", \"cpu:int8\", \"cpu:int4\"]";

/// One model with these files; a hash where one is asked for.
fn setup(files: &[(PathBuf, Option<&str>)]) -> Setup {
    let file = |(path, sha256): &(PathBuf, Option<&str>)| match sha256 {
        Some(sha256) => format!("{{ path = \"{}\", sha256 = {sha256:?} }}", path.display()),
        None => format!("{{ path = \"{}\" }}", path.display()),
    };
    let files = files.iter().map(file).collect::<Vec<_>>().join(", ");
    let sizes = "sequences = 2\ncontext = 512\nthreads = 1";
    let tables = format!("[[model]]\nname = \"main\"\nfiles = [{files}]\n{sizes}\n{LADDER}\n");
    Setup { with_model: false, tables, ..Setup::default() }
}

/// A copy of the file in 16 bits that nobody else has.
fn copy(folder: &Path) -> PathBuf {
    let path = folder.join("better.gguf");
    fs::copy(files::f16(), &path).unwrap();
    path
}

/// Overwrites the second quarter, which holds weights, with noise.
fn damage(path: &Path) {
    let size = fs::metadata(path).unwrap().len();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let mut noise = vec![0; 1 << 20];
    for offset in (size / 4..size / 2).step_by(noise.len()) {
        random.fill(&mut noise);
        file.write_all_at(&noise, offset).unwrap();
    }
}

/// Another architecture of as many letters, wherever the header names it.
fn of_an_unknown_architecture(path: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut header = vec![0; 64 * 1024];
    file.read_exact_at(&mut header, 0).unwrap();
    let name = b"llama";
    let places: Vec<usize> = (0..header.len() - name.len()).filter(|&at| header[at..].starts_with(name)).collect();
    assert!(places.len() > 5, "{places:?}");
    for at in places {
        file.write_all_at(b"lhama", at as u64).unwrap();
    }
}

async fn answer(device: &mut Device, id: &str) -> Value {
    device.answer("generate", json!({ "id": id, "prompt": "Hi", "max_tokens": 2, "ignore_eos": true })).await
}

/// The other file serves, and the documents say what is wrong with this one.
async fn the_next_one_serves(file: (PathBuf, Option<&str>), reason: &str) {
    let broker = Broker::start().await;
    let mut fleet = Fleet::watch(&broker).await;
    let folder = file.0.parent().unwrap().to_owned();
    let _node = Node::start(&broker, &setup(&[file, (files::int8(), None)]));
    let document = fleet.model("main", |model| model["state"] == "ready").await;
    assert_eq!(document["strategy"], "cpu:int8", "{document}");
    let status = fleet.status(|seen| seen["state"] != "loading" && seen["state"] != "starting").await;
    let told = status["reasons"].to_string();
    assert_eq!(status["state"], "degraded", "{status}");
    for (seen, text) in [("status", &told), ("model/main", &document.to_string())] {
        assert!(text.contains("better.gguf") || text.contains("cpu:f16"), "{seen} names it: {text}");
        assert!(text.contains(reason), "{seen} says {reason:?}: {text}");
        assert!(!text.contains(folder.to_str().unwrap()), "{seen} shows no folders: {text}");
    }
    let mut device = Device::connect(&broker, "dev").await;
    let reply = answer(&mut device, "a").await;
    assert_eq!((&reply["event"], &reply["strategy"]), (&json!("result"), &json!("cpu:int8")), "{reply}");
}

#[tokio::test]
async fn a_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    the_next_one_serves((folder.path().join("better.gguf"), None), "No such file").await;
}

#[tokio::test]
async fn a_truncated_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = copy(folder.path());
    let half = fs::metadata(&path).unwrap().len() / 2;
    OpenOptions::new().write(true).open(&path).unwrap().set_len(half).unwrap();
    the_next_one_serves((path, None), "not a usable GGUF file").await;
}

#[tokio::test]
async fn a_file_of_an_unknown_architecture() {
    let folder = tempfile::tempdir().unwrap();
    let path = copy(folder.path());
    of_an_unknown_architecture(&path);
    the_next_one_serves((path, None), "cannot load the model").await;
}

#[tokio::test]
async fn a_file_with_another_hash() {
    let folder = tempfile::tempdir().unwrap();
    the_next_one_serves((copy(folder.path()), Some(&"0".repeat(64))), "SHA-256").await;
}

#[tokio::test]
async fn damaged_weights_fail_once_and_are_remembered_until_they_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let damaged = copy(folder.path());
    damage(&damaged);
    let broker = Broker::start().await;
    let mut fleet = Fleet::watch(&broker).await;
    let setup = setup(&[(damaged, None), (files::int8(), None)]);
    let mut node = Node::start(&broker, &setup);
    let serves = |model: &Value| model["state"] == "ready";
    let rejected = |model: &Value| model["rejected"][0]["reason"].as_str().unwrap_or_default().to_owned();
    // Each failure is told once at this level.
    let failures = |node: &Node| {
        let log = node.log();
        log.lines().filter(|line| line.contains("ERROR") && line.contains("the golden prompt failed")).count()
    };

    let model = fleet.model("main", serves).await;
    assert_eq!((&model["strategy"], &model["rejected"][0]["strategy"]), (&json!("cpu:int8"), &json!("cpu:f16")));
    assert!(rejected(&model).contains("golden prompt failed"), "{model}");
    assert!(fleet.event("failed").await["reason"].to_string().contains("golden prompt failed"));
    fleet.status(|status| status["state"] == "degraded" && status["reasons"].to_string().contains("golden")).await;
    let failed = failures(&node);
    assert!(failed > 0);

    // The next start does not walk into the same wall first.
    fleet.forget();
    node.restart(&setup);
    let model = fleet.model("main", serves).await;
    assert_eq!(model["strategy"], "cpu:int8", "{model}");
    assert!(rejected(&model).contains("failed in an earlier run"), "{model}");
    fleet.status(|status| status["state"] == "degraded" && status["reasons"].to_string().contains("earlier")).await;
    assert_eq!(node.log().matches("loading cpu:f16").count(), 1, "the second start did not try it");
    assert_eq!(failures(&node), failed);

    // Forgotten, it is tried again, and is what it was; what serves goes on.
    assert_eq!(node.operator_json(&["models", "--forget", "main"]), json!({ "forgotten": 1 }));
    fleet.forget();
    let output = node.operator(&["reload", "main"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cpu:f16") && said.contains("golden prompt failed"), "{said}");
    assert!(failures(&node) > failed, "it was tried again");
    let model = fleet.model("main", |model| rejected(model).contains("golden prompt failed")).await;
    assert_eq!((&model["state"], &model["strategy"]), (&json!("ready"), &json!("cpu:int8")), "{model}");
    let status = node.operator_json(&["status"]);
    assert_eq!(status["state"], "degraded", "{status}");
    let mut device = Device::connect(&broker, "dev").await;
    assert_eq!(answer(&mut device, "a").await["strategy"], "cpu:int8");
}

#[tokio::test]
async fn a_model_without_a_usable_file_comes_up_when_it_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let broker = Broker::start().await;
    let mut fleet = Fleet::watch(&broker).await;
    let node = Node::start(&broker, &setup(&[(path.clone(), None)]));
    let mut device = Device::connect(&broker, "dev").await;
    let refused = async |device: &mut Device, id: &str, reason: &str| {
        // While it is being tried again, nobody knows when the next time is.
        let reply = loop {
            let reply = answer(device, id).await;
            let text = reply["message"].as_str().unwrap_or_default();
            if reply["retry_after_ms"].is_u64() && text.contains(reason) {
                break reply;
            }
            assert_eq!(reply["code"], "model_unavailable", "{reply}");
        };
        assert_eq!((&reply["code"], &reply["retryable"]), (&json!("model_unavailable"), &json!(true)), "{reply}");
        assert!(!reply.to_string().contains(folder.path().to_str().unwrap()), "{reply}");
    };
    let status = fleet.status(|status| status["state"] == "degraded").await;
    assert!(status["reasons"][0].as_str().unwrap().contains("model.gguf"), "{status}");
    refused(&mut device, "missing", "No such file").await;

    // There now, but useless.
    let damaged = copy(folder.path());
    damage(&damaged);
    symlink(&damaged, &path).unwrap();
    fleet.status(|status| status["reasons"].to_string().contains("golden prompt failed")).await;
    refused(&mut device, "damaged", "golden prompt failed").await;

    // Replaced as a careful operator does it.
    let good = folder.path().join("good");
    symlink(model(), &good).unwrap();
    fs::rename(&good, &path).unwrap();
    fleet.status(|status| status["state"] == "ready" && status["reasons"] == json!([])).await;
    let model = fleet.model("main", |model| model["state"] == "ready").await;
    assert_eq!((&model["strategy"], &model["rejected"]), (&json!("cpu:int4"), &json!(null)), "{model}");
    assert_eq!(answer(&mut device, "a").await["strategy"], "cpu:int4");
    assert!(Path::new(&format!("/proc/{}", node.pid())).exists());
}
