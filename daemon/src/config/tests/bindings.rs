//! What bindings may say, and which loops are found.

use super::*;
use crate::config::{Change, OnBusy, Step};
use crate::job::ReplyFormat;
use std::time::Duration;

fn binding(name: &str, subscribe: &str, publish: &str, keys: &str) -> String {
    format!(
        "[[binding]]\nname = '{name}'\nsubscribe = '{subscribe}'\ntask = 'summarize'\npublish = '{publish}'\n{keys}\n"
    )
}

#[test]
fn every_key_is_read() {
    let keys = "params = { max_tokens = 8, labels = ['a', 'b'], nested = { x = 1.5 } }\npointer = '/a/0'\nreply = 'json'\n\
                errors = true\nmax_age = '30s'\non_busy = 'latest'";
    let config = good(&binding("doors", "door/+/#", "out/{2}", keys));
    let [binding] = config.bindings.as_slice() else { panic!("{config:?}") };
    assert_eq!((binding.name.as_str(), binding.task.as_str()), ("doors", "summarize"));
    assert_eq!(binding.client().as_str(), "binding.doors");
    assert_eq!((binding.subscribe.as_str(), binding.publish.as_str()), ("door/+/#", "out/{2}"));
    assert_eq!(
        serde_json::Value::Object(binding.params.clone()),
        serde_json::json!({
            "max_tokens": 8, "labels": ["a", "b"], "nested": { "x": 1.5 }
        })
    );
    assert_eq!((binding.pointer.as_deref(), binding.reply, binding.errors), (Some("/a/0"), ReplyFormat::Json, true));
    assert_eq!((binding.max_age, binding.on_busy), (Some(Duration::from_secs(30)), OnBusy::Latest));
    let config = good(BINDING);
    let [plain] = config.bindings.as_slice() else { panic!("{config:?}") };
    assert_eq!((plain.params.len(), &plain.pointer, plain.reply, plain.errors), (0, &None, ReplyFormat::Text, false));
    assert_eq!((plain.max_age, plain.on_busy), (None, OnBusy::Queue));
}

#[test]
fn loops_are_refused_with_their_place() {
    let root = "[mqtt]\nroot = 'site/promptd'\n";
    for (text, expected) in [
        (
            binding("a", "x/+", "x/{1}", ""),
            "0.toml:5:11: binding[a].publish = \"x/{1}\": would be a message for binding[a]",
        ),
        (
            binding("a", "x/+", "y/{1}", "") + &binding("b", "y/1", "z", ""),
            "binding[a].publish = \"y/{1}\": would be a message for binding[b]",
        ),
        (binding("a", "x/#", "y/{1}", "") + &binding("b", "y/+/z", "w", ""), "binding[a].publish"),
        (root.to_owned() + &binding("a", "x", "site/promptd/n/request/chat/a", ""), "may be below \"site/promptd\""),
        (root.to_owned() + &binding("a", "+/x", "{1}/promptd", ""), "may be below \"site/promptd\""),
        (root.to_owned() + &binding("a", "#", "out", ""), "would take messages below \"site/promptd\""),
        (root.to_owned() + &binding("a", "site/+/+/status", "out", ""), "would take messages below"),
        (
            binding("a", "x/+", "out/a", "") + &binding("b", "x/1", "out/b", ""),
            "binding[b].subscribe = \"x/1\": has topics in common with binding[a]",
        ),
        (binding("a", "$share/g/x", "out", ""), "must not start with '$'"),
        (binding("a", "$SYS/#", "out", ""), "must not start with '$'"),
        (binding("a", "x/+", "out/{2}", ""), "{2} is none of the 1 wildcards"),
    ] {
        let found = problems(&[&text]);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:?}");
    }
    good(&(binding("a", "x/+", "y/{1}", "") + &binding("b", "x/+/z", "y", "")));
}

#[test]
fn say_what_is_wrong() {
    for (keys, expected) in [
        ("pointer = 'a'", "binding[b].pointer = \"a\": must start with '/'"),
        ("params = { id = 'x' }", "must not have \"id\""),
        ("params = 3", "must be a table"),
        ("on_busy = 'wait'", "binding[b].on_busy"),
        ("reply = 'xml'", "binding[b].reply"),
        ("max_age = '2h'", "binding[b].max_age = 2h: must be at most limits.deadline_cap = 1h"),
        ("retain = true", "binding[b].retain: unknown key"),
    ] {
        let found = problems(&[&format!("{BINDING}{keys}\n")]);
        assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
    }
    let found = problems(&["[[binding]]\nname = 'x'\n"]);
    assert_eq!(found.len(), 3, "{found:?}");
    let long = "x".repeat(57);
    assert!(problems(&[&binding(&long, "a", "b", "")])[0].contains("has 57 bytes; allowed are 1 to 56"));
    let twice = binding("b", "a", "out", "") + &binding("b", "c", "out", "");
    assert!(problems(&[&twice])[0].contains("is the name of an earlier binding"));
    let many: String = (0..65).map(|index| binding(&format!("b{index}"), &format!("in/{index}"), "out", "")).collect();
    assert!(problems(&[&many])[0].contains("there are 65 bindings; allowed are 0 to 64"));
}

#[test]
fn a_change_takes_a_connection_only_where_other_topics_are_subscribed() {
    let old = good(&(binding("a", "x", "out", "") + &binding("b", "y", "out", "")));
    let steps = |text: &str| {
        let Change { keys, steps, .. } = Change::between(&old, good(text));
        (keys, steps)
    };
    let (keys, changed) = steps(&(binding("a", "x", "other", "") + &binding("b", "y", "out", "")));
    assert_eq!((keys, changed), (vec!["binding[a]".to_owned()], vec![Step::Requests]));
    let (keys, gone) = steps(&binding("a", "x", "out", ""));
    assert_eq!((keys, gone), (vec!["binding[b]".to_owned()], vec![Step::Requests, Step::Reconnect]));
}
