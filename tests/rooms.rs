//! The rules of the house: who may import whom, and how long a file may be. See ARCHITECTURE.md.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and its floor. A room imports only from floors below its own.
const ROOMS: [(&str, u8); 17] = [
    ("job", 1),
    ("plan", 1),
    ("queue", 1),
    ("gguf", 1),
    ("task", 1),
    ("config", 2),
    ("journal", 3),
    ("mqtt", 3),
    ("engine", 3),
    ("health", 3),
    ("control", 3),
    ("web", 3),
    ("telemetry", 4),
    ("doctor", 4),
    ("contract", 5),
    ("service", 5),
    ("cli", 6),
];

/// `job` holds the words of the house: the other rooms of the first floor speak them.
const VOCABULARY: &str = "job";

/// A file is one thought.
const LINES_MAX: usize = 400;

/// Crates that only some rooms may name.
const CRATES: [(&str, &[&str]); 23] = [
    ("llguidance", &["engine/child"]),
    ("llama_cpp_2", &["engine/child"]),
    ("llama_cpp_sys_2", &["engine/child"]),
    ("rumqttc", &["mqtt"]),
    ("rustls", &["cli", "mqtt"]),
    ("rustls_native_certs", &["mqtt"]),
    ("x509_parser", &["mqtt"]),
    ("tokio", &["journal", "mqtt", "engine", "control", "web", "service", "cli"]),
    ("hyper_util", &["web"]),
    ("http_body_util", &["web"]),
    ("prometheus_client", &["telemetry"]),
    // The child looks for idle processors itself: it is another process, and must not wait to be told.
    ("sysinfo", &["health", "engine/child"]),
    ("nvml_wrapper", &["health"]),
    ("rusqlite", &["journal"]),
    ("toml", &["config"]),
    ("jsonschema", &["contract", "task"]),
    ("serde_saphyr", &["contract"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("anyhow", &["cli"]),
    ("crossterm", &["cli"]),
    ("sd_notify", &["service"]),
];

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("daemon/src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 50, "the sources lie elsewhere");
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Lines that are code: without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn rooms_import_only_from_below() {
    let floors: BTreeMap<&str, u8> = ROOMS.into();
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let Some(room) = file.split('/').next().filter(|room| floors.contains_key(room)) else {
            assert!(["lib.rs", "main.rs"].contains(&file.as_str()), "{file} is in no room; name the room here");
            continue;
        };
        for line in code(&text) {
            assert!(!line.contains("crate::{") && !line.contains("promptd::{"), "{file}: name one room a line: {line}");
            // The library's rooms are `crate::` for each other and `promptd::` for the binary.
            let named = line.split("crate::").skip(1).chain(line.split("promptd::").skip(1));
            for other in named.filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()) {
                let Some(floor) = floors.get(other) else { continue };
                let shared_words = other == VOCABULARY && floors[room] == 1;
                if other != room && *floor >= floors[room] && !shared_words {
                    wrong.push(format!("{file} names {other}: {}", line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn crates_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        for (name, rooms) in CRATES {
            let allowed = rooms.iter().any(|room| file.starts_with(&format!("{room}/"))) || file == "main.rs";
            let uses =
                code(&text).any(|line| line.contains(&format!("{name}::")) || line.contains(&format!("use {name};")));
            if uses && !allowed {
                wrong.push(format!("{file} names {name}; only {} may", rooms.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_daemon_never_calls_into_llama_and_unsafe_stays_in_the_child() {
    for (file, text) in sources() {
        let is_unsafe = code(&text).any(|line| line.contains("unsafe {") || line.contains("unsafe fn"));
        assert!(!is_unsafe || file.starts_with("engine/child/"), "{file} has unsafe code");
    }
}

#[test]
fn a_file_is_one_thought() {
    let mut tests = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut tests);
    let tests = tests.into_iter().map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap()));
    let long: Vec<String> = sources()
        .into_iter()
        .chain(tests)
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| format!("{file} has {lines} lines; {LINES_MAX} is the limit"))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}
