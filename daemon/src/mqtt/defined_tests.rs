//! Requests of tasks that are data.

use serde_json::json;

use super::Accepted;
use super::request_tests::{accept, reject};
use crate::job::{ErrorCode, ModelName, Role, Task, TaskName};
use crate::task::{Defaults, Definition, Parts};

/// A task that is data.
pub(super) fn repeat() -> Definition {
    let input = json!({
        "type": "object", "required": ["input", "times"],
        "properties": { "input": { "type": "string" }, "times": { "type": "integer", "maximum": 9 } },
    });
    let defaults = Defaults {
        model: Some(ModelName::new("small").unwrap()),
        max_tokens: Some(2000),
        temperature: Some(0.5),
        stop: vec!["END".to_owned()],
        ..Defaults::default()
    };
    let prompt = "Say {{ input }}{% if times is defined %} {{ times }} times{% endif %}.".to_owned();
    let (name, description, system) = (TaskName::new("repeat").unwrap(), String::new(), Some("Be brief.".to_owned()));
    Definition::new(Parts { name, description, system, prompt, input, defaults, long: None }).unwrap()
}

#[test]
fn a_task_that_is_data_becomes_a_conversation() {
    let asked = r#"{"id":"a","input":"hi","times":3,"temperature":0.25,"x_a":1}"#;
    let Accepted { request, reply, .. } = accept("repeat", asked);
    let Task::Chat { messages } = &request.task else { panic!("no chat") };
    let said: Vec<_> = messages.iter().map(|message| (message.role, message.content.as_str())).collect();
    assert_eq!(said, [(Role::System, "Be brief."), (Role::User, "Say hi 3 times.")]);
    assert_eq!((request.task_name(), request.model.as_ref().unwrap().as_str()), ("repeat", "small"));
    assert_eq!(request.sampling.temperature.to_string(), "0.25");
    assert_eq!(request.output.stop, ["END"]);
    assert_eq!(request.output.max_tokens, 1024, "the cap");
    assert_eq!(reply.echo["x_a"], 1);
    let other = accept("repeat", asked.replace("hi", "ho"));
    assert_ne!(other.fingerprint, accept("repeat", asked).fingerprint);
    for (payload, expected) in [
        (r#"{"input":"hi"}"#, r#""times" is a required property"#),
        ("hi", r#""times" is a required property"#),
        (r#"{"input":"hi","times":10}"#, r#"field "times": value is greater than the maximum of 9"#),
        (r#"{"input":"hi","times":1,"tmies":1}"#, r#"unknown field "tmies""#),
        (r#"{"input":"hi","times":1,"messages":[]}"#, r#"the task "repeat" has no field "messages""#),
        (r#"{"input":"hi","times":1,"temperature":-1}"#, r#"field "temperature" is -1; allowed are 0 to 100"#),
    ] {
        assert_eq!(reject("repeat", payload), (ErrorCode::InvalidRequest, expected.to_owned()), "{payload}");
    }
    let (code, message) = reject("other", "hi");
    assert!(code == ErrorCode::UnknownTask && message.ends_with("pipeline, repeat"), "{message}");
    assert_eq!(accept("generate", "hi").request.task_name(), "generate");
}
