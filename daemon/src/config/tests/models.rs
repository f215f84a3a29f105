//! What a model's table may say.

use super::super::{Classification, Config, Expect};
use super::*;
use crate::plan::Strategy;

fn model(keys: &str) -> String {
    format!("[[model]]\nname = 'a'\nfiles = [{{ path = '/m' }}]\n{keys}\n")
}

#[test]
fn every_key_is_read() {
    let digest = "00".repeat(31) + "ff";
    let config = good(&format!(
        "[[model]]
         name = 'a'
         files = [{{ path = '/f16.gguf' }}, {{ path = 'int8.gguf', sha256 = '{digest}' }}]
         pinned = true
         classification = 'multi_label'
         expect = 'gpu'
         ladder = ['gpu:f16', 'partial:int8', 'cpu:int4']
         derive = true
         context = 4096
         min_context = 1024"
    ));
    let [model] = config.models.as_slice() else { panic!("{config:?}") };
    let paths: Vec<&str> = model.files.iter().map(|file| file.path.to_str().unwrap()).collect();
    assert_eq!(paths, ["/f16.gguf", "/etc/promptd/int8.gguf"]);
    assert_eq!((model.files[0].sha256, model.files[1].sha256.unwrap()[31]), (None, 0xff));
    assert_eq!((model.pinned, model.expect, model.derive), (true, Expect::Gpu, true));
    assert_eq!(model.classification, Classification::MultiLabel);
    let ladder: Vec<String> = model.ladder.iter().flatten().map(Strategy::to_string).collect();
    assert_eq!(ladder, ["gpu:f16", "partial:int8", "cpu:int4"]);
    assert_eq!((model.context, model.min_context), (4096, 1024));
}

#[test]
fn a_ladder_may_name_every_strategy_once() {
    let all: Vec<String> = ["gpu", "partial", "cpu"]
        .iter()
        .flat_map(|place| ["f16", "int8", "int4"].map(|precision| format!("'{place}:{precision}'")))
        .collect();
    let config = good(&model(&format!("ladder = [{}]", all.join(", "))));
    assert_eq!(config.models[0].ladder.as_ref().unwrap().len(), 9);
    let found = problems(&[&model(&format!("ladder = [{}, 'cpu:int8']", all.join(", ")))]);
    let twice = r#"model[a].ladder = "cpu:int8": stands in the ladder already"#;
    assert!(found.len() == 2 && found[0].contains(twice), "{found:?}");
    assert!(found[1].contains("is entry 10 of at most 9"), "{found:?}");
}

#[test]
fn of_the_ladder() {
    for (keys, expected) in [
        ("ladder = []", "4:10: model[a].ladder = […]: is empty; name 1 to 9 strategies, or leave it out"),
        ("ladder = 'cpu:int8'", "4:10: model[a].ladder = \"cpu:int8\": must be an array: write [\"…\", \"…\"]"),
        ("ladder = [8]", "4:11: model[a].ladder = 8: must be a string"),
        (
            "ladder = ['cpu:int8', 'gpu:int3']",
            "4:23: model[a].ladder = \"gpu:int3\": write <placement>:<precision> of gpu, partial, cpu and f16, int8, int4",
        ),
        ("ladder = ['cpu:int8', 'cpu:int8']", "4:23: model[a].ladder = \"cpu:int8\": stands in the ladder already"),
        (
            "classification = 'many'",
            "4:18: model[a].classification = \"many\": allowed are \"single_label\", \"multi_label\"",
        ),
        ("expect = 'npu'", "4:10: model[a].expect = \"npu\": allowed are \"any\", \"gpu\""),
        (
            "expect = 'gpu'\nladder = ['cpu:int8']",
            "4:10: model[a].expect = \"gpu\": the ladder names only strategies on the CPU",
        ),
        // What was refused may have meant a GPU.
        ("expect = 'gpu'\nladder = ['cpu:int8', 'gup:int8']", "5:23: model[a].ladder = \"gup:int8\": write"),
        (
            "min_context = 4096",
            "4:15: model[a].min_context = 4096: must be at most model[a].context = 2048 (the default)",
        ),
        (
            "context = 1024\nmin_context = 1025",
            "5:15: model[a].min_context = 1025: must be at most model[a].context = 1024",
        ),
        // The context that counts then is nobody's wish.
        ("context = 1\nmin_context = 4096", "4:11: model[a].context = 1: allowed are 256 to 1048576"),
    ] {
        let found = problems(&[&model(keys)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("0.toml:{expected}")), "{}", found[0]);
    }
    for keys in [
        "expect = 'gpu'",
        "expect = 'any'\nladder = ['cpu:int8']",
        "expect = 'gpu'\nladder = ['cpu:int8', 'partial:int8']",
        "ladder = ['cpu:f16']",
    ] {
        good(&model(keys));
    }
}

#[test]
fn of_the_files() {
    for (files, expected) in [
        (
            "[{ path = '/m' }, { path = '/m' }]",
            "3:36: model[a].files[#2].path = \"/m\": is the path of an earlier file",
        ),
        // The same file in other words, the second as one that starts from the folder.
        (
            "[{ path = '/etc/promptd/m' }, { path = './m' }]",
            "3:48: model[a].files[#2].path = \"./m\": is the path of an earlier file",
        ),
        ("[]", "3:9: model[a].files = […]: there are 0 files; allowed are 1 to 8"),
        (
            "[{ path = '/m', precision = 'f16' }]",
            "3:25: model[a].files[#1].precision: unknown key; known are path, sha256",
        ),
        ("[{ path = '/m' }, {}]", "3:27: model[a].files[#2].path: is missing"),
    ] {
        let found = problems(&[&format!("[[model]]\nname = 'a'\nfiles = {files}\n")]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("0.toml:{expected}")), "{}", found[0]);
    }
    // Two models may share a file.
    good(&(model("default = true") + "[[model]]\nname = 'b'\nfiles = [{ path = '/m' }]"));
}

/// A checker goes on with what could be read.
#[test]
fn keep_what_can_be_used() {
    let text = "[[model]]\nname = 'a'\nfiles = [{ path = '' }, { path = '/n' }]\nladder = ['gpu:int3', 'cpu:int8']";
    let (config, invalid) = Config::read_sources(&sources(&[text]), &machine()).unwrap();
    assert!(matches!(&invalid, Some(ConfigError::Invalid(problems)) if problems.len() == 2), "{invalid:?}");
    let [model] = config.models.as_slice() else { panic!("{config:?}") };
    assert_eq!((model.files.len(), model.ladder.as_ref().unwrap().len()), (1, 1));
}

#[test]
fn say_what_is_wrong() {
    let file = "files = [{ path = '/m' }]\n";
    for (text, expected) in [
        ("[[model]]\n".to_owned() + file, vec!["0.toml:1:1: model[#1].name: is missing"]),
        (
            "[[model]]\nname = 'a'".to_owned(),
            vec!["0.toml:1:1: model[a].files: is missing: write files = [{ path = \"/path/to/model.gguf\" }]"],
        ),
        ("[[model]]\nname = 'a'\nfiles = ['/m']".to_owned(), vec!["model[a].files = \"/m\": must be a table"]),
        (
            "[[model]]\nname = 'a'\nfiles = '/m'".to_owned(),
            vec!["model[a].files = \"/m\": must be an array of tables: write [[model.files]]"],
        ),
        (
            "[[model]]\nname = 'a'\nfiles = [{ sha256 = 'x' }]".to_owned(),
            vec!["model[a].files[#1].path: is missing", "sha256 = \"x\": must be 64 hexadecimal digits"],
        ),
        (
            format!("[[model]]\nname = 'a'\n{file}[[model]]\nname = 'b'\n{file}"),
            vec!["0.toml:1:1: model = […]: there are 2 models and none has default = true; one must"],
        ),
        (
            format!("[[model]]\nname = 'a'\ndefault = true\n{file}[[model]]\nname = 'a'\ndefault = true\n{file}"),
            vec![
                "0.toml:6:8: model[a].name = \"a\": is the name of an earlier model",
                "0.toml:7:11: model[a].default = true: an earlier model is the default already; only one can be",
            ],
        ),
        (
            format!("{MODEL}golden_expect = 'x'"),
            vec!["0.toml:4:17: model[main].golden_expect = \"x\": needs golden_prompt beside it"],
        ),
        (format!("{MODEL}golden_prompt = \"a\\u0000\""), vec!["contains a NUL character"]),
        (format!("{MODEL}kv_type = 'f32'"), vec!["allowed are \"f16\", \"q8_0\", \"q4_0\""]),
    ] {
        let found = problems(&[&text]);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (problem, expected) in found.iter().zip(expected) {
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
