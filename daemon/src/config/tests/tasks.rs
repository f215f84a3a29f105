//! Tasks that are data.

use std::fs;

use super::*;
use crate::config::{Change, Step};
use crate::job::Constraint;
use crate::plan::Profile;
use crate::task::{BUILT_IN, Definition, Form};

const TRIAGE: &str = r#"
description = "Sorts alarms."
system = "You sort alarms."
prompt = "Alarm of {{ machine }}: {{ input }}"
max_tokens = 20
temperature = 0.5
repeat_penalty = 1
stop = ["\n"]
[input]
type = "object"
required = ["input", "machine"]
[input.properties]
input = { type = "string" }
machine = { type = "string", enum = ["press", "lathe"] }
limit = { type = "number", maximum = 0.5 }
"#;

/// The configuration of a folder with these files in tasks.d.
fn with(files: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("promptd.toml");
    fs::write(&main, "").unwrap();
    fs::create_dir(folder.path().join("tasks.d")).unwrap();
    for (name, text) in files {
        fs::write(folder.path().join("tasks.d").join(name), text).unwrap();
    }
    Config::load(&main, &Profile::default()).map(|loaded| loaded.config)
}

fn task<'a>(config: &'a Config, name: &str) -> &'a Definition {
    config.tasks.iter().find(|task| task.name().as_str() == name).unwrap()
}

/// What is wrong with a file, without its folder.
fn wrong(text: &str) -> String {
    let error = with(&[("bad.toml", text)]).unwrap_err();
    let problems = error.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].split_once("tasks.d/").unwrap().1.to_owned()
}

#[test]
fn built_in_ones_are_always_there() {
    let config = with(&[]).unwrap();
    let names: Vec<&str> = config.tasks.iter().map(|task| task.name().as_str()).collect();
    assert_eq!(names, BUILT_IN.map(|(name, _)| name));
    assert!(config.tasks.iter().all(|task| !task.parts().description.is_empty()));
}

#[test]
fn a_file_defines_the_task_of_its_name() {
    let config = with(&[("triage.toml", TRIAGE), (".hidden.toml", "not toml")]).unwrap();
    let parts = task(&config, "triage").parts();
    assert_eq!(parts.prompt, "Alarm of {{ machine }}: {{ input }}");
    assert_eq!((parts.defaults.max_tokens, parts.defaults.temperature), (Some(20), Some(0.5)));
    assert_eq!((parts.defaults.repeat_penalty, parts.defaults.stop.len()), (Some(1.0), 1));
    assert_eq!(parts.input["properties"]["limit"]["maximum"], 0.5);
    assert_eq!(task(&config, "triage").fields(), ["input", "limit", "machine"]);
    let config = with(&[("echo.toml", "prompt = 'Say {{ input }}.'")]).unwrap();
    assert_eq!(task(&config, "echo").fields(), ["input"], "one text, where nothing else is said");
}

#[test]
fn an_output_has_at_most_one_form() {
    let form = |lines: &str| {
        let text = format!("prompt = '{{{{ input }}}}'\n[output]\n{lines}");
        task(&with(&[("f.toml", &text)]).unwrap(), "f").parts().defaults.form.clone()
    };
    let schema = |text: &str| Form::Fixed(Constraint::Schema(text.to_owned()));
    let sorted = schema(r#"{"items":{"type":"string"},"type":"array"}"#);
    assert_eq!(form("schema = { type = 'array', items = { type = 'string' } }"), sorted);
    let in_order = schema(r#"{"type":"array","items":{"type":"string"}}"#);
    assert_eq!(form(r#"schema = '{"type": "array", "items": {"type": "string"}}'"#), in_order);
    let choices = Constraint::Choices(vec!["yes".to_owned(), "no".to_owned()]);
    assert_eq!(form("choices = ['yes', 'no']"), Form::Fixed(choices));
    assert_eq!(form("regex = 'a+'"), Form::Fixed(Constraint::Regex("a+".to_owned())));
    assert_eq!((form("requested = true"), form("")), (Form::Requested, Form::Text));
    for (lines, expected) in [
        ("schema = { type = 'strnig' }", "bad.toml:3:10: task[bad].output.schema = {…}: is no JSON Schema at /type"),
        ("schema = 'x'", "bad.toml:3:10: task[bad].output.schema = \"x\": is no JSON"),
        ("schema = { '$ref' = 'https://example.org/a' }", "outside"),
        ("choices = ['a', 'a']", "bad.toml:3:17: task[bad].output.choices"),
        ("regex = ''", "bad.toml:3:9: task[bad].output.regex"),
        ("regex = '(oops'", "bad.toml:3:9: task[bad].output.regex = \"(oops\": is no regular expression"),
        (
            "schema = { multipleOf = 9999991 }",
            "bad.toml:3:10: task[bad].output.schema = {…}: uses \"multipleOf\": 9999991",
        ),
        ("regex = 'a'\nrequested = true", "only one of schema, choices, regex, requested may be set"),
        ("shema = {}", "unknown key; did you mean \"schema\"?"),
    ] {
        let text = wrong(&format!("prompt = '{{{{ input }}}}'\n[output]\n{lines}"));
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn one_of_a_built_in_name_is_laid_over_that() {
    let config = with(&[("translate.toml", "max_tokens = 7")]).unwrap();
    let (own, built_in) = (task(&config, "translate").parts().clone(), with(&[]).unwrap());
    let built_in = task(&built_in, "translate").parts().clone();
    assert_eq!((own.defaults.max_tokens, &own.prompt), (Some(7), &built_in.prompt));
    assert_ne!(own.defaults.max_tokens, built_in.defaults.max_tokens);
}

#[test]
fn what_is_wrong_has_its_line() {
    assert_eq!(wrong("description = 'x'"), "bad.toml:1:1: task[bad].prompt: is missing");
    let text = wrong("prompt = \"one\\n{% if %}\"");
    assert!(text.starts_with("bad.toml:1:10: task[bad].prompt = ") && text.contains("syntax error"), "{text}");
    let text = wrong("promt = 'x'\nprompt = 'x'");
    assert!(text.starts_with("bad.toml:1:1: task[bad].promt: unknown key; did you mean \"prompt\"?"), "{text}");
    let text = wrong("prompt = '{{ input }}'\n[input]\nproperties = { id = {} }");
    assert!(text.starts_with("bad.toml:2:1: task[bad].input = {…}: has \"id\" in input.properties"), "{text}");
    let text = wrong("prompt = '{{ input }}'\ntemperature = 1e9");
    assert!(text.starts_with("bad.toml:2:15: task[bad].temperature = 1e9: allowed are 0 to 100"), "{text}");
    let text = wrong("prompt = '{{ input }}'\ninput.properties.input.a.b.c.d.e.f = 1");
    assert!(text.contains("nests deeper"), "{text}");
    let error = with(&[("chat.toml", "prompt = 'x'")]).unwrap_err().problems().remove(0);
    assert!(error.contains("task[chat].name = \"chat\": is a task of the interface"), "{error}");
    let many: Vec<String> = (0..40).map(|number| format!("t{number}.toml")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "prompt = '{{ input }}'")).collect();
    let error = with(&many).unwrap_err().problems().remove(0);
    assert!(error.contains("is definition 33 of at most 32"), "{error}");
}

#[test]
fn a_change_of_one_is_a_change_of_how_requests_are_read() {
    let old = with(&[]).unwrap();
    let new = with(&[("triage.toml", TRIAGE), ("translate.toml", "max_tokens = 7")]).unwrap();
    let change = Change::between(&old, new.clone());
    assert_eq!(change.keys, ["task[translate]", "task[triage]"]);
    assert_eq!(change.steps, [Step::Requests]);
    assert_eq!(Change::between(&new, old).keys, ["task[translate]", "task[triage]"]);
}
