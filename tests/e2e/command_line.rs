//! What an operator types.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{Broker, CAPITAL, Node, Setup, model, promptd};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn run(arguments: &[&str]) -> Output {
    promptd().args(arguments).output().unwrap()
}

#[test]
fn starts_without_any_environment() {
    let output = run(&["--version"]);
    assert_eq!(text(&output.stdout), format!("promptd {}\n", env!("CARGO_PKG_VERSION")), "{output:?}");
    let help = text(&run(&["--help"]).stdout);
    let commands = [
        "run", "check", "ask", "status", "info", "models", "load", "unload", "switch", "reload", "model", "drain",
        "resume", "fit", "bench", "quantize", "tune", "top", "chat", "forget",
    ];
    for command in commands {
        assert!(help.contains(&format!("\n  {command}")), "{help}");
    }
    assert!(!help.contains("engine  "), "the child's command is nobody's business");
    let output = run(&["engine", "--model", "x", "--parent", "1"]);
    assert_eq!(output.status.code(), Some(70));
    assert!(text(&output.stderr).contains("started by the daemon only"), "{output:?}");
}

#[test]
fn check_reports_every_problem_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("promptd.toml");
    let bad = "[mqtt]\nkeep_alive = \"1s\"\nurll = 1\n[limits]\nqueue_jobs = 0\n[[model]]\nname = \"a b\"\n";
    fs::write(&file, bad).unwrap();
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let said = text(&output.stderr);
    for part in ["mqtt.keep_alive", "5s", "urll", "did you mean", "limits.queue_jobs", "a b", "files"] {
        assert!(said.contains(part), "{part:?} is missing in:\n{said}");
    }
    let output = run(&["check", "--json", "--config", file.to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.code() == Some(78) && report["problems"].as_array().unwrap().len() >= 5, "{report}");
    let output = promptd().args(["run", "--config"]).arg(&file).env("STATE_DIRECTORY", folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(78), "the daemon refuses it too");

    // What is wrong in the file and what is wrong with the files that it names, in one go.
    let both = "[mqtt]\nkeep_alive = \"1s\"\n[[model]]\nname = \"main\"\nfiles = [{ path = \"/nowhere.gguf\" }]\n";
    fs::write(&file, both).unwrap();
    let said = text(&run(&["check", "--config", file.to_str().unwrap()]).stderr);
    assert!(said.contains("mqtt.keep_alive") && said.contains("/nowhere.gguf"), "{said}");
    let output = run(&["ask", "--config", file.to_str().unwrap(), "Hi"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert_eq!(run(&["ask", "--url", "foo", "Hi"]).status.code(), Some(2));

    let missing = "[[model]]\nname = \"main\"\nfiles = [{ path = \"/nowhere.gguf\" }]\n";
    fs::write(&file, missing).unwrap();
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("/nowhere.gguf: No such file"), "{output:?}");

    fs::write(&file, format!("[[model]]\nname = \"main\"\nfiles = [{{ path = {:?} }}]\n", model())).unwrap();
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    assert!(output.status.success() && text(&output.stdout).contains("valid"), "{output:?}");
}

/// Runs `fit --json`.
fn fit(arguments: &[&str]) -> Value {
    let output = promptd().args(["fit", "--json"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

#[test]
fn fit_measures_what_a_file_needs() {
    let file = model();
    let file = file.to_str().unwrap();
    let report = fit(&[file]);
    let Value::Array(files) = &report["files"] else { panic!("{report}") };
    assert_eq!((&report["model"], &report["measured"], files.len()), (&Value::Null, &json!(true), 1));
    let header = &files[0];
    assert_eq!(
        (&header["path"], &header["file_type"], &header["rung"]),
        (&json!(file), &json!("Q4_1"), &json!("int4"))
    );
    assert_eq!(report["wanted"], json!({"context": 2048, "sequences": 4, "kv_type": "f16"}));
    let step = step(&report, "cpu:int4");
    assert_eq!((&step["context"], &step["sequences"], &step["squeezed"]), (&json!(2048), &json!(4), &json!(false)));
    // 30 layers, 3 heads of 64 for keys and for values, 2 bytes each, 4 sequences of 2048 tokens.
    assert_eq!(step["need"]["kv"], 30 * 2 * 3 * 64 * 2 * 4 * 2048);
    let total = step["total"].as_u64().unwrap();
    let parts: u64 = step["need"].as_object().unwrap().values().map(|part| part.as_u64().unwrap()).sum();
    assert_eq!((parts, &step["host"], &step["device"]), (total, &json!(total), &json!(0)));
    assert!(report["limits"]["available"].as_u64().unwrap() > total, "{report}");
    assert_eq!(report["limits"]["reserve"], "10%");

    let quick = fit(&["--quick", file]);
    assert_eq!((&quick["measured"], &quick["chosen"]), (&json!(false), &json!("cpu:int4")));
    let estimate = &quick["strategies"][0];
    assert_eq!((&estimate["need"]["kv"], &estimate["need"]["weights"]), (&step["need"]["kv"], &header["weights"]));
    let estimate = estimate["total"].as_u64().unwrap();
    assert!((total..total + total / 4).contains(&estimate), "{estimate} errs on the large side of {total}");
    assert_eq!(quick["estimates"]["contexts"][1]["totals"][1], json!({"sequences": 4, "total": estimate}));

    let text = text(&run(&["fit", file]).stdout);
    for part in ["would be used", "4 × 2048", "measured in a dry run", "16 sequences", "no budget is set", "10%"] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

fn step<'a>(report: &'a Value, strategy: &str) -> &'a Value {
    let steps = report["strategies"].as_array().unwrap();
    steps.iter().find(|step| step["strategy"] == strategy).unwrap_or_else(|| panic!("no {strategy}: {report}"))
}

#[test]
fn fit_refuses_what_is_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.gguf");
    let bytes = fs::read(model()).unwrap();
    fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    let config = folder.path().join("promptd.toml");
    let (config, broken) = (config.to_str().unwrap(), broken.to_str().unwrap());
    let both =
        format!("[[model]]\nname = \"main\"\nfiles = [{{ path = {broken:?} }}, {{ path = \"/nowhere.gguf\" }}]\n");
    fs::write(config, both).unwrap();
    for (arguments, expected) in [
        (&[broken][..], &["not a usable GGUF"][..]),
        (&["--quick", broken], &["not a usable GGUF"]),
        (&["--json", broken], &["not a usable GGUF"]),
        (&["/nowhere.gguf"], &["/nowhere.gguf is neither a file (No such file", "none is configured"]),
        (&["--config", config, "/nowhere.gguf"], &["known are: main"]),
        (&["--config", config, "/"], &["neither a file (not a regular one)"]),
        (&["--config", config, "main"], &["not a usable GGUF", "/nowhere.gguf: No such file"]),
        (&["--config", config, "--quick", "main"], &["not a usable GGUF", "/nowhere.gguf: No such file"]),
    ] {
        let output = promptd().arg("fit").args(arguments).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(65), String::new()), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(expected.iter().all(|part| said.contains(part)), "{expected:?} is missing in:\n{said}");
    }
    fs::write(config, "[memory]\nbudget = 1\n").unwrap();
    assert_eq!(run(&["fit", "--config", config, broken]).status.code(), Some(78));
}

#[test]
fn fit_chooses_for_a_configured_model_as_the_daemon_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("promptd.toml");
    let config = path.to_str().unwrap();
    let configure = |budget: &str| {
        let file = model().display().to_string();
        // On the CPU also where there is a GPU.
        let settings = "context = 1024\nsequences = 2\nladder = [\"cpu:int4\"]\n";
        let small = format!("[[model]]\nname = \"small\"\ndefault = true\nfiles = [{{ path = {file:?} }}]\n{settings}");
        let big = "[[model]]\nname = \"big\"\nfiles = [{ path = \"/nowhere.gguf\" }]\n";
        fs::write(&path, format!("{small}{big}[memory]\nbudget = \"{budget}\"\n")).unwrap();
    };
    configure("8GiB");
    let report = fit(&["--config", config, "small"]);
    assert_eq!((&report["model"], &report["chosen"]), (&json!("small"), &json!("cpu:int4")));
    assert_eq!(report["wanted"], json!({"context": 1024, "sequences": 2, "kv_type": "f16"}));
    assert_eq!(report["strategies"][0]["verdict"], "chosen");
    let needed = report["strategies"][0]["total"].as_u64().unwrap();
    let options = ["--context", "512", "--sequences", "1", "--kv-type", "q8_0"];
    let report = fit(&[&["--config", config, "small"], &options[..]].concat());
    assert_eq!(report["wanted"], json!({"context": 512, "sequences": 1, "kv_type": "q8_0"}));
    assert!(report["strategies"][0]["total"].as_u64().unwrap() < needed, "{report}");

    // A little less than it wants: a smaller context.
    configure(&format!("{}MiB", (needed >> 20) - 1));
    let report = fit(&["--config", config, "small"]);
    let step = &report["strategies"][0];
    assert_eq!((&step["verdict"], &step["squeezed"], &step["sequences"]), (&json!("chosen"), &json!(true), &json!(2)));
    assert!(step["context"].as_u64().unwrap() < 1024, "{report}");
    assert_eq!(report["limits"]["limit"], "memory.budget");

    // That nothing fits is an answer, too.
    configure("16MiB");
    let report = fit(&["--config", config, "small"]);
    let step = &report["strategies"][0];
    assert_eq!((&report["chosen"], &step["verdict"]), (&Value::Null, &json!("too_large")));
    assert_eq!((&step["available"], &step["limit"]), (&json!(16 << 20), &json!("memory.budget")));
    let output = run(&["fit", "--config", config, "small"]);
    let said = text(&output.stdout);
    assert!(output.status.success() && said.contains("nothing fits") && said.contains("of 16.0 MiB"), "{output:?}");

    // A file comes before a model of the same name.
    std::os::unix::fs::symlink(model(), folder.path().join("big")).unwrap();
    let here = |what: &str| {
        promptd().current_dir(folder.path()).args(["fit", "--quick", "-c", config, what]).output().unwrap()
    };
    assert!(here("big").status.success(), "the file");
    fs::create_dir(folder.path().join("small")).unwrap();
    assert!(here("small").status.success(), "a folder is no file");
}

/// In a mount namespace of its own, as on machines whose kernel or container shows less.
#[test]
fn fit_says_what_it_cannot_see() {
    let hidden = |hide: &str| {
        let script = format!("{hide} && exec \"$0\" fit --json \"$1\"");
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", &script, env!("CARGO_BIN_EXE_promptd")]).arg(model());
        let output = command.output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    };
    let without_cgroups = "mount -t tmpfs none /sys/fs/cgroup";
    let report = hidden(without_cgroups);
    assert_eq!(report["limits"]["limit"], "host");
    assert!(report["limits"]["available"].as_u64().unwrap() > 0 && report["chosen"].is_string(), "{report}");
    let report = hidden(&format!("{without_cgroups} && mount --bind /dev/null /proc/meminfo"));
    assert_eq!((&report["limits"]["available"], &report["limits"]["limit"]), (&Value::Null, &Value::Null));
    assert!(report["chosen"].is_string(), "enough is assumed: {report}");
}

#[tokio::test]
async fn ask_streams_an_answer_and_tells_errors_by_its_exit_code() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 1, ..Setup::default() }).await;
    let config = node.config();
    let ask = |arguments: &[&str]| promptd().args(["ask", "--config"]).arg(&config).args(arguments).output().unwrap();
    let output = ask(&[CAPITAL]);
    assert!(output.status.success() && text(&output.stdout).contains("Paris"), "{output:?}");
    assert!(text(&output.stderr).contains("cpu:int4"), "the timings: {output:?}");

    let output = ask(&["--json", "--max-tokens", "3", "--system", "Be brief.", "Hi"]);
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["event"], &result["task"]), (&json!("result"), &json!("chat")));

    let output = ask(&["--model", "none", "Hi"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("unknown_model"), "{output:?}");

    let output = run(&["ask", "--url", "mqtt://127.0.0.1:1", "Hi"]);
    assert_eq!(output.status.code(), Some(69), "nobody listens there: {output:?}");
}

#[tokio::test]
async fn bench_measures_the_engine_and_the_way_over_mqtt() {
    let file = model();
    let folder = tempfile::tempdir().unwrap();
    let (page, before) = (folder.path().join("page.html"), folder.path().join("before.json"));
    let arguments = [
        "bench",
        "--json",
        "--streams",
        "1,2",
        "--prompts",
        "4",
        "--rounds",
        "1",
        "--answers",
        "1",
        "--tokens",
        "4",
        "--threads",
        "1",
    ];
    let run = || {
        let mut command = promptd();
        command.args(arguments).arg("--model").arg(&file);
        command
    };
    fs::write(&before, run().output().unwrap().stdout).unwrap();
    let output = run().arg("--report").arg(&page).arg("--with").arg(&before).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    let measured = &report["measured"][0];
    assert_eq!(measured["streams"][1]["streams"], 2);
    assert!(measured["streams"][0]["decode_tokens_per_second"].as_f64().unwrap() > 0.0, "{report}");
    assert!(measured["prompts"][0]["time_to_first_token_ms"]["p50"].as_f64().unwrap() > 0.0, "{report}");
    assert!(measured["peak_memory_bytes"].as_u64().unwrap() > 90_000_000, "{report}");
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("Q4_1.gguf (1)") && html.contains("Q4_1.gguf (2)"), "both runs are shown: {html}");

    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 1, ..Setup::default() }).await;
    let output =
        promptd().args(["bench", "--json", "--mqtt", "--requests", "5", "--config"]).arg(node.config()).output();
    let output = output.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!(report["mqtt"]["requests"], 5);
    assert!(report["mqtt"]["added_ms"]["p50"].as_f64().unwrap() > 0.0, "{report}");
}
