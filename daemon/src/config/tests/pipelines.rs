//! Pipelines that have names, and the examples.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::config::{Change, Step, read_pipeline};
use crate::job::{Entity, Output, Pipeline, PipelineStep};
use crate::plan::Profile;
use crate::task::{Bounds, Next, Plan, Run, What, read_step};

const TWO: &str = r#"
description = "Does two things."
output = "{{ steps.b.output }}"
[[steps]]
name = "a"
task = "classify"
input = "{{ input }}"
[[steps]]
name = "b"
task = "generate"
input = "{{ steps.a.output[0].label }}"
max_tokens = 5
on_error = "default"
default = "none"
"#;

fn with(name: &str, text: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("promptd.toml");
    fs::write(&main, "").unwrap();
    fs::create_dir(folder.path().join("pipelines.d")).unwrap();
    fs::write(folder.path().join("pipelines.d").join(name), text).unwrap();
    Config::load(&main, &Profile::default()).map(|loaded| loaded.config)
}

#[test]
fn a_file_defines_the_pipeline_of_its_name() {
    let config = with("two.toml", TWO).unwrap();
    let [two] = config.pipelines.as_slice() else { panic!("{:?}", config.pipelines) };
    assert_eq!((two.name().as_str(), two.fields()), ("two", ["input".to_owned()].as_slice()));
    let tasks: Vec<_> = two.parts().steps.iter().map(|step| step.task.as_str()).collect();
    assert_eq!(tasks, ["classify", "generate"]);
    assert_eq!(two.parts().steps[1].fields["max_tokens"], 5);
    let before = with("two.toml", &TWO.replace("two", "three")).unwrap();
    let Change { keys, steps, .. } = Change::between(&before, with("two.toml", &TWO.replace('5', "6")).unwrap());
    assert_eq!((keys, steps), (vec!["pipeline[two]".to_owned()], vec![Step::Requests]));
}

#[test]
fn what_is_wrong_has_its_line() {
    for (from, to, expected) in [
        (
            "task = \"classify\"",
            "task = \"haiku\"",
            "two.toml:4:1: pipeline[two].steps[a]: names the task \"haiku\", which is none",
        ),
        (
            "steps.a.output[0]",
            "steps.c.output[0]",
            "two.toml:8:1: pipeline[two].steps: step \"b\": looks at \"steps.c\"",
        ),
        (
            "steps.a.output[0].label",
            "steps.b.output",
            "two.toml:8:1: pipeline[two].steps: step \"b\": waits for itself",
        ),
        ("on_error = \"default\"", "", "two.toml:8:1: pipeline[two].steps[b]: a \"default\" needs"),
        ("description", "descripton", "two.toml:2:1: pipeline[two].descripton: unknown key"),
        ("{{ steps.b.output }}", "{{ stepz }}", "pipeline[two].steps: \"output\": looks at \"stepz\""),
    ] {
        let text = TWO.replacen(from, to, 1);
        let problems = with("two.toml", &text).unwrap_err().problems();
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:?}");
    }
    let taken = with("summarize.toml", TWO).unwrap_err().problems();
    assert!(taken[0].contains("is the name of another task, too"), "{taken:?}");
}

/// They are of tasks that this node may not have yet, but their steps are in order.
#[test]
fn the_examples_are_pipelines() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/pipelines");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = read_pipeline(&path).unwrap();
        let step = |step: &Value| read_step(step.as_object().unwrap().clone()).unwrap();
        let steps: Vec<PipelineStep> = file["steps"].as_array().unwrap().iter().map(step).collect();
        let fields: Vec<String> = file["input"]["properties"].as_object().unwrap().keys().cloned().collect();
        Plan::new(&steps, file.get("output"), &fields).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        count += 1;
    }
    assert_eq!(count, 3);
}

/// Whatever the model makes of it: it is given no name that was found.
#[test]
fn the_example_that_scrubs_leaves_out_what_was_found() {
    let notes = ["👩‍🚀 Zoë Müller of Köln called.", "The pump is fine.", "Bob"];
    let found = [&[("Zoë", "GIVEN_NAME"), ("Müller", "SURNAME"), ("Köln", "CITY")][..], &[], &[("Bob", "GIVEN_NAME")]];
    let file = read_pipeline(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config/pipelines/scrub.toml")).unwrap();
    let steps = file["steps"].as_array().unwrap().iter();
    let steps = steps.map(|step| read_step(step.as_object().unwrap().clone()).unwrap()).collect();
    let fields = json!({ "notes": notes }).as_object().unwrap().clone();
    let bounds = Bounds { texts: 10_000, outputs: 10_000, items: 8 };
    let mut run = Run::pipeline(&Pipeline { steps, output: None, fields }, bounds).unwrap();
    let mut searched = Vec::new();
    let input = loop {
        match run.step() {
            Next::Begin(order) if order.key.as_str() == "summary" => match order.what {
                What::Asked { fields, .. } => break fields["input"].clone(),
                What::Ready(_) => panic!("it is asked for by its fields"),
            },
            Next::Begin(order) => searched.push(order.key),
            Next::Wait => {
                let key = searched.remove(0);
                let place: usize = key.as_str().rsplit('/').next().unwrap().parse().unwrap();
                let entities = found[place].iter().map(|(text, kind)| {
                    let start = notes[place][..notes[place].find(text).unwrap()].chars().count();
                    let end = start + text.chars().count();
                    Entity { text: (*text).to_owned(), kind: (*kind).to_owned(), start, end, score: 1.0 }
                });
                let entities: Vec<Entity> = entities.collect();
                let value = json!(entities);
                run.ended(&key, Ok(Output::Entities(entities)), |_| value);
            }
            Next::End(end) => panic!("{end:?}"),
        }
    };
    assert_eq!(
        input.as_str().unwrap().trim(),
        "👩‍🚀 [GIVEN_NAME] [SURNAME] of [CITY] called.\n\nThe pump is fine.\n\n[GIVEN_NAME]"
    );
}
