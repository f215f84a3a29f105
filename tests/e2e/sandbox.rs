//! What an engine child may not do, and that a build starts as it is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::harness::{Broker, Node, Setup};

#[tokio::test]
async fn an_engine_has_no_network_and_dies_first() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 1, ..Setup::default() }).await;
    let engine = node.engines()[0];
    let status = fs::read_to_string(format!("/proc/{engine}/status")).unwrap();
    assert!(status.contains("\nSeccomp:\t2\n"), "a filter is in force:\n{status}");
    let score = |pid| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse::<i32>().unwrap();
    assert!(score(engine) > score(node.pid()), "the kernel kills the engine before the daemon");
    let environment = fs::read(format!("/proc/{engine}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("HOME="), "nothing of the daemon's environment");
    // Sockets: the pair to the daemon and nothing else.
    let targets = fs::read_dir(format!("/proc/{engine}/fd")).unwrap().map(|entry| fs::read_link(entry.unwrap().path()));
    let targets = targets.filter_map(Result::ok).map(|target| target.to_string_lossy().into_owned());
    let sockets: BTreeSet<String> = targets.filter(|target| target.starts_with("socket:")).collect();
    assert_eq!(sockets.len(), 1, "{sockets:?}");
    let maps = fs::read_to_string(format!("/proc/{engine}/maps")).unwrap();
    let daemon_maps = fs::read_to_string(format!("/proc/{}/maps", node.pid())).unwrap();
    assert!(maps.contains("libggml-cpu-") && !daemon_maps.contains("libggml-cpu-"), "only the child computes");
}

/// llama.cpp's build script hard-links `lib*.so` into these folders and panics on its next run if they dangle.
#[test]
fn no_library_link_of_the_build_dangles() {
    let profile = Path::new(env!("CARGO_BIN_EXE_promptd")).parent().unwrap();
    let mut libraries = 0;
    for folder in [profile.to_path_buf(), profile.join("deps"), profile.join("examples")] {
        let entries = fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        for path in entries.filter(|path| path.to_string_lossy().ends_with(".so")) {
            let is_llama = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lib"));
            if is_llama && path.is_symlink() {
                libraries += 1;
                assert!(path.exists(), "{} dangles", path.display());
            }
        }
    }
    assert!(libraries >= 6, "the libraries lie elsewhere, so nothing was checked");
    assert!(profile.join("backends/cpu").read_dir().unwrap().count() > 1, "one back end for each kind of CPU");
}
