//! Lower precisions made from a higher one, and what interrupts that.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use promptd::engine::derive::{DeriveSpec, DiskLimits, derive};
use promptd::engine::{EngineError, ModelFile};
use promptd::job::{ModelName, Precision};
use promptd::plan::Bytes;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Disk, files, model, promptd, signal_pid, until};

/// Bytes after which a derivation counts as being in the middle.
const MIDDLE: u64 = 2 * 1024 * 1024;

fn quantize(input: &Path, output: &Path, to: &str) -> Command {
    let mut command = promptd();
    command.arg("quantize").args([input, output]).args(["--to", to, "--threads", "1"]);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Quantizes and gives the report.
fn made(command: &mut Command) -> Value {
    let output = command.arg("--json").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

/// A derivation into a folder whose child was stopped in the middle.
struct Stopped {
    process: Child,
    engine: u32,
}

impl Stopped {
    async fn start(folder: &Path, to: &str) -> Self {
        let mut command = quantize(&files::f16(), folder, to);
        let process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        until("the file grows", || {
            let mut files = fs::read_dir(folder).unwrap().filter_map(|entry| entry.unwrap().metadata().ok());
            files.any(|metadata| metadata.len() > MIDDLE).then_some(())
        })
        .await;
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", process.id())).unwrap();
        let engine = children.trim().parse().unwrap_or_else(|_| panic!("it was too fast: {:?}", names(folder)));
        signal_pid(engine, Signal::STOP);
        assert!(names(folder).iter().any(|name| name.ends_with(".gguf.partial")), "{:?}", names(folder));
        Self { process, engine }
    }

    fn signal(&self, signal: Signal) {
        signal_pid(self.process.id(), signal);
    }

    /// Waits for the end of both processes.
    async fn ended(mut self) -> (Option<i32>, String) {
        until("the command ends", || self.process.try_wait().unwrap()).await;
        let engine = PathBuf::from(format!("/proc/{}", self.engine));
        until("its child is gone", || (!engine.exists()).then_some(())).await;
        let output = self.process.wait_with_output().unwrap();
        (output.status.code(), stderr(&output))
    }
}

#[test]
fn each_precision_is_made_and_computes() {
    let folder = tempfile::tempdir().unwrap();
    for (to, file_type) in [("int8", "Q8_0"), ("int4", "Q4_0")] {
        let file = folder.path().join(format!("{to}.gguf"));
        let report = made(&mut quantize(&files::f16(), &file, to));
        assert_eq!(report["output"]["file_type"], file_type, "{report}");
        let size = fs::metadata(&file).unwrap().len();
        assert_eq!(report["output"]["size"], size);
        let estimate = report["estimate"]["size"].as_u64().unwrap();
        assert!(size <= estimate && estimate < size / 100 * 110, "{report}");
        let output = promptd().args(["fit", "--json"]).arg(&file).output().unwrap();
        let fit: Value = serde_json::from_slice(&output.stdout).unwrap();
        let described = &fit["files"][0];
        assert_eq!((&described["rung"], &described["file_type"]), (&json!(to), &json!(file_type)), "{fit}");
        // The engine answers only after its golden prompt.
        let arguments =
            ["--streams", "1", "--prompts", "1", "--rounds", "1", "--answers", "1", "--tokens", "2", "--threads", "1"];
        let output = promptd().args(["bench", "--model"]).arg(&file).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(names(folder.path()), ["int4.gguf", "int8.gguf"]);
}

#[test]
fn quantize_replaces_nothing_and_goes_only_down_unless_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.gguf");
    let output = quantize(&model(), &file, "int8").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("int8 cannot be derived from a model of int4"), "{output:?}");
    fs::write(&file, "precious").unwrap();
    let output = quantize(&files::f16(), &file, "int8").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("exists already"), "{output:?}");
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    let output = quantize(&file, &folder.path().join("other.gguf"), "int8").output().unwrap();
    assert_eq!(output.status.code(), Some(65), "not a model: {output:?}");
    let output = quantize(&files::f16(), &file, "int8").arg("--force").output().unwrap();
    assert!(output.status.success() && stderr(&output).contains('%'), "progress without a terminal: {output:?}");
    assert_eq!(names(folder.path()), ["out.gguf"]);
}

#[tokio::test]
async fn the_child_stays_within_its_memory_and_gives_way() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("int4.gguf");
    let process = quantize(&files::f16(), &file, "int4").arg("--json").stdout(Stdio::piped()).spawn().unwrap();
    let children = PathBuf::from(format!("/proc/{0}/task/{0}/children", process.id()));
    let child = until("a child", || {
        let pid = fs::read_to_string(&children).ok()?;
        (!pid.trim().is_empty()).then(|| PathBuf::from(format!("/proc/{}", pid.trim())))
    })
    .await;
    let (mut peak, mut nice) = (0, 0);
    until("the child ends", || {
        let Ok(status) = fs::read_to_string(child.join("status")) else { return Some(()) };
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap());
        peak = peak.max(kib * 1024);
        // Each thread has its own; the one that computes counts.
        let threads = fs::read_dir(child.join("task")).into_iter().flatten().filter_map(Result::ok);
        let lines = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
        let niceness = lines.filter_map(|stat| stat.rsplit_once(") ")?.1.split(' ').nth(16)?.parse::<i32>().ok());
        nice = nice.max(niceness.max().unwrap_or_default());
        None
    })
    .await;
    let output = process.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let bound = report["estimate"]["memory"].as_u64().unwrap();
    eprintln!("peak of the child's own memory {peak}, bound {bound}");
    assert!(peak > 0 && peak <= bound, "{peak} of {bound}");
    assert_eq!(nice, 10);
}

#[tokio::test]
async fn a_killed_child_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = Stopped::start(folder.path(), "int8").await;
    signal_pid(run.engine, Signal::KILL);
    let (code, said) = run.ended().await;
    assert!(code == Some(1) && said.contains("was killed"), "{code:?} {said}");
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn an_interrupt_leaves_nothing() {
    for signal in [Signal::INT, Signal::TERM] {
        let folder = tempfile::tempdir().unwrap();
        let run = Stopped::start(folder.path(), "int8").await;
        run.signal(signal);
        let (code, said) = run.ended().await;
        assert!(code == Some(1) && said.contains("interrupted"), "{code:?} {said}");
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }
}

#[tokio::test]
async fn what_a_killed_parent_leaves_is_removed_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let run = Stopped::start(folder.path(), "int8").await;
    run.signal(Signal::KILL);
    run.ended().await;
    let left = names(folder.path());
    assert!(left.len() == 1 && left[0].ends_with("-int8.gguf.partial"), "{left:?}");
    let output = quantize(&files::f16(), folder.path(), "int8").output().unwrap();
    assert!(output.status.success() && stderr(&output).contains("removed"), "{output:?}");
    let stem = left[0].trim_end_matches(".gguf.partial");
    assert_eq!(names(folder.path()), [format!("{stem}.gguf"), format!("{stem}.json")]);
}

#[tokio::test]
async fn two_runs_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let first = Stopped::start(folder.path(), "int8").await;
    let output = quantize(&files::f16(), folder.path(), "int8").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("another promptd is writing"), "{output:?}");
    signal_pid(first.engine, Signal::CONT);
    assert_eq!(first.ended().await.0, Some(0));
    assert_eq!(names(folder.path()).len(), 2);
}

#[test]
fn a_whole_result_is_used_again_and_a_damaged_one_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = || made(&mut quantize(&files::f16(), folder.path(), "int8"));
    let first = run();
    assert_eq!(first["new"], true);
    let path = first["output"]["path"].as_str().unwrap().to_owned();
    let origin: Value = serde_json::from_slice(&fs::read(Path::new(&path).with_extension("json")).unwrap()).unwrap();
    let expected = json!({
        "source_sha256": first["input"]["sha256"], "precision": "int8", "file_type": "Q8_0",
        "sha256": first["output"]["sha256"], "size": first["output"]["size"],
        "promptd": env!("CARGO_PKG_VERSION"), "llama": origin["llama"],
    });
    assert_eq!(origin, expected);
    assert_eq!(run()["new"], false);

    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(first["output"]["size"].as_u64().unwrap() / 2).unwrap();
    let again = run();
    assert_eq!((&again["new"], &again["output"]), (&json!(true), &first["output"]), "truncated");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"damaged", first["output"]["size"].as_u64().unwrap() / 2).unwrap();
    let again = run();
    assert_eq!((&again["new"], &again["output"]), (&json!(true), &first["output"]), "damaged");
    assert_eq!(names(folder.path()).len(), 2);
}

#[tokio::test]
async fn limits_of_the_disk_are_looked_at_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let source = Arc::new(ModelFile::open(&files::f16(), None).unwrap());
    let refusal = async |reserve: u64, derived_max: u64| {
        let disk = DiskLimits { reserve: Bytes(reserve), derived_max: Bytes(derived_max) };
        let (model, folder) = (ModelName::new("main").unwrap(), folder.path().join("derived"));
        let spec = DeriveSpec { model, source: Arc::clone(&source), to: Precision::Int8, folder, threads: 1, disk };
        match derive(spec, |_| {}).await {
            Err(EngineError::Derive(error)) if error.is_storage() => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let said = refusal(0, 100 << 20).await;
    assert!(said.contains("exceed the limit of 100.0 MiB"), "{said}");
    let said = refusal(1 << 50, u64::MAX).await;
    assert!(said.contains("1.0 PiB of reserve are needed"), "{said}");
    assert_eq!(names(&folder.path().join("derived")), Vec::<String>::new());
}

#[tokio::test]
async fn a_disk_that_runs_full_is_an_error_and_nothing_is_left() {
    let Some(disk) = Disk::mount(180) else { return };
    let run = Stopped::start(&disk.path(), "int8").await;
    disk.fill();
    signal_pid(run.engine, Signal::CONT);
    let (code, said) = run.ended().await;
    assert!(code == Some(1) && said.contains("the disk is full"), "{code:?} {said}");
    assert_eq!(names(&disk.path()), ["filler", "lost+found"]);

    // Now that it is known beforehand, nothing starts.
    let output = quantize(&files::f16(), &disk.path(), "int8").output().unwrap();
    assert!(output.status.code() == Some(1) && stderr(&output).contains("needed"), "{output:?}");
    fs::remove_file(disk.path().join("filler")).unwrap();
    assert_eq!(made(&mut quantize(&files::f16(), &disk.path(), "int8"))["new"], true);
}
