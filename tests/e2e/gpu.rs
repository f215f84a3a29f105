//! A GPU that is there, and one that goes away. The GPU is Mesa's software Vulkan device, which computes as one does, only
//! slowly; llama.cpp takes it when its number is named.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Broker, Device, Node, Setup, signal_pid};

/// Mesa's software driver, as a file of our own that can be taken away.
fn driver(folder: &Path) -> PathBuf {
    let backends = Path::new(env!("CARGO_BIN_EXE_promptd")).parent().unwrap().join("backends/vulkan");
    assert!(backends.is_dir(), "no Vulkan back end at {}; run `make vulkan`", backends.display());
    let drivers = fs::read_dir("/usr/share/vulkan/icd.d").expect("Mesa's Vulkan drivers; run `make vulkan`");
    let drivers = drivers.map(|entry| entry.unwrap().path());
    let software = drivers.filter(|path| path.to_string_lossy().contains("/lvp_icd.")).last().expect("lavapipe");
    let copy = folder.join("driver.json");
    fs::copy(software, &copy).unwrap();
    copy
}

#[tokio::test]
async fn a_model_whose_gpu_goes_away_steps_down_to_the_cpu_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let driver = driver(folder.path());
    // Pipelines are compiled once.
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shaders");
    fs::create_dir_all(&cache).unwrap();
    let broker = Broker::start().await;
    let setup = Setup {
        // A step on this device takes seconds.
        tables: "[engine]\nheartbeat_timeout = \"5m\"".to_owned(),
        context: 256,
        model: "expect = \"gpu\"\nmin_context = 256".to_owned(),
        environment: vec![
            ("GGML_VK_VISIBLE_DEVICES", "0".to_owned()),
            ("VK_ICD_FILENAMES", driver.display().to_string()),
            ("MESA_SHADER_CACHE_DIR", cache.display().to_string()),
        ],
        ..Setup::default()
    };
    let node = Node::ready(&broker, setup).await;
    let mut device = Device::connect(&broker, "dev").await;
    let request = |id: &str| json!({ "id": id, "prompt": "Hi", "max_tokens": 2, "ignore_eos": true });

    let models = node.operator_json(&["models"]);
    assert_eq!((&models[0]["strategy"], &models[0]["rejected"]), (&json!("gpu:int4"), &json!(null)), "{models}");
    let devices = models[0]["devices"].as_array().unwrap();
    assert!(devices.contains(&json!("Vulkan0")), "{devices:?}");
    let answer = device.answer("generate", request("gpu")).await;
    assert_eq!(
        (&answer["strategy"], &answer["usage"]["generated_tokens"]),
        (&json!("gpu:int4"), &json!(2)),
        "{answer}"
    );

    fs::remove_file(&driver).unwrap();
    signal_pid(node.engines()[0], Signal::KILL);
    let answer = device.answer("generate", request("cpu")).await;
    assert_eq!((&answer["event"], &answer["strategy"]), (&json!("result"), &json!("cpu:int4")), "{answer}");
    let status = node.operator_json(&["status"]);
    assert_eq!(status["state"], "degraded", "{status}");
    let reasons = status["reasons"].to_string();
    assert!(
        reasons.contains("runs as cpu:int4, expected is a GPU") && reasons.contains("no GPU was found"),
        "{reasons}"
    );
    let models = node.operator_json(&["models"]);
    let rejected: Vec<&str> =
        models[0]["rejected"].as_array().unwrap().iter().map(|r| r["strategy"].as_str().unwrap()).collect();
    assert_eq!(rejected, ["gpu:int4", "partial:int4"], "{models}");
}

#[tokio::test]
async fn a_child_for_the_cpu_wakes_no_gpu() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup::default()).await;
    let maps = fs::read_to_string(format!("/proc/{}/maps", node.engines()[0])).unwrap();
    assert!(maps.contains("libggml-cpu-") && !maps.contains("vulkan"), "{maps}");
}

#[tokio::test]
async fn a_gpu_that_was_never_there_is_no_silent_cpu() {
    let broker = Broker::start().await;
    let setup = Setup { model: "expect = \"gpu\"".to_owned(), ..Setup::default() };
    let node = Node::start(&broker, &setup);
    let status = node.wait_for_state(&broker, "degraded").await;
    assert!(status["reasons"][0].as_str().unwrap().contains("expected is a GPU"), "{status}");
    let mut device = Device::connect(&broker, "dev").await;
    let answer = device.answer("generate", json!({ "id": "a", "prompt": "Hi", "max_tokens": 1 })).await;
    assert_eq!(answer["strategy"], "cpu:int4", "{answer}");
}
