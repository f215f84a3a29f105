//! What is fastest on this machine is found and taken.

use std::fs;

use serde_json::Value;

use crate::harness::{Broker, Node, Setup, Watch, files, model, promptd};

fn report(arguments: &[&str], more: impl FnOnce(&mut std::process::Command)) -> Value {
    let mut command = promptd();
    command.args(["tune", "--json", "--tokens", "32", "--sequences", "2"]).args(arguments);
    more(&mut command);
    let output = command.output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

#[test]
fn quality_is_that_beside_the_most_exact_file() {
    let found = report(&["--as-is", "--threads", "2"], |command| {
        command.arg(model()).arg(files::int8()).arg(files::f16());
    });
    let files = found["files"].as_array().unwrap();
    let kinds: Vec<&str> = files.iter().map(|file| file["precision"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["F16", "Q8_0", "Q4_1"], "the most exact first");
    assert!(files[0]["quality"].is_null(), "{found}");
    let divergence = |file: usize| files[file]["quality"]["kl_divergence"].as_f64().unwrap();
    let agreement = |file: usize| files[file]["quality"]["top1_agreement"].as_f64().unwrap();
    // The three are one model: the file of 4 bits was there first, and the others hold what it holds.
    for file in [1, 2] {
        assert!((0.0..0.05).contains(&divergence(file)), "{found}");
        assert!((0.9..=1.0).contains(&agreement(file)), "{found}");
    }
    for file in files {
        for figure in ["prompt_tokens_per_second", "answer_tokens_per_second", "together_tokens_per_second"] {
            assert!(file["best"][figure].as_f64().unwrap() > 0.0, "{figure}: {found}");
        }
    }
}

#[tokio::test]
async fn the_daemon_takes_what_was_found() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 1, ..Setup::default() }).await;
    let tuned_folder = node.folder().join("tuned");
    assert!(!tuned_folder.exists());
    let found = report(&["--threads", "1", "main", "--config"], |command| {
        command.arg(node.config());
    });
    let file = &found["files"][0];
    // Attention, repacking and mapping; there is one number of threads, and no size of steps below so short a prompt.
    assert_eq!(file["tried"].as_array().unwrap().len(), 3, "{found}");
    let kept = tuned_folder.join(format!("{}.json", file["sha256"].as_str().unwrap()));
    // What was found depends on the machine; for the rest of the way it is something that no machine begins with.
    let mut tuned: Value = serde_json::from_slice(&fs::read(&kept).unwrap()).unwrap();
    assert_eq!(tuned["tuning"], file["best"]["tuning"]);
    tuned["tuning"]["batch"] = 192.into();
    fs::write(&kept, tuned.to_string()).unwrap();
    let watch = Watch::start(&broker).await;
    let output = promptd().args(["reload", "main", "--config"]).arg(node.config()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let document = watch.until_model("main", |document| document["tuning"]["batch"] == 192).await;
    assert_eq!(document["state"], "ready", "{document}");
}
