//! What prompts begin with whatever a request says: the text before the first tag of their templates.

use serde_json::{Map, Value};

use crate::job::{Message, Role};

/// What a conversation begins with whose messages are these templates: those that are no more than text, and what is text at
/// the beginning of the first other one.
pub(super) fn opening<'a>(templates: impl IntoIterator<Item = (Role, &'a str)>) -> Vec<Message> {
    let mut messages = Vec::new();
    for (role, source) in templates {
        let (text, is_all) = head(source);
        messages.push(Message { role, content: text.to_owned() });
        if !is_all {
            break;
        }
    }
    messages
}

/// The same for the fields of a step of a pipeline, if it has a prompt or a conversation of its own.
pub(super) fn of_step(task: &str, fields: &Map<String, Value>) -> Vec<Message> {
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    match task {
        "generate" => opening(text("prompt").or_else(|| text("input")).map(|source| (Role::User, source))),
        "chat" => {
            let messages = fields.get("messages").and_then(Value::as_array);
            opening(messages.into_iter().flatten().map_while(message))
        }
        _ => Vec::new(),
    }
}

fn message(value: &Value) -> Option<(Role, &str)> {
    let role = match value.get("role")?.as_str()? {
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => return None,
    };
    Some((role, value.get("content")?.as_str()?))
}

/// The text before the first tag of a template, and whether there is none.
fn head(source: &str) -> (&str, bool) {
    let tags = ["{{", "{%", "{#"].into_iter().filter_map(|tag| source.find(tag));
    let Some(at) = tags.min() else { return (source, true) };
    let text = &source[..at];
    // Such a tag takes the blanks before it away.
    (if source[at + 2..].starts_with('-') { text.trim_end() } else { text }, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(messages: &[Message]) -> Vec<&str> {
        messages.iter().map(|message| message.content.as_str()).collect()
    }

    #[test]
    fn ends_with_what_a_request_decides() {
        let templates = [(Role::System, "Be brief."), (Role::User, "Translate {{ input }}."), (Role::User, "More.")];
        assert_eq!(texts(&opening(templates)), ["Be brief.", "Translate "]);
        let templates = [(Role::System, "{% if a %}Be brief.{% endif %}"), (Role::User, "Hi")];
        assert_eq!(texts(&opening(templates)), [""]);
        assert_eq!(texts(&opening([(Role::User, "a {#- b -#} c {{ d }}")])), ["a"]);
        assert_eq!(texts(&opening([(Role::User, "a { b }")])), ["a { b }"]);
    }

    #[test]
    fn a_step_has_one_if_it_has_a_prompt_of_its_own() {
        let of = |task: &str, fields: Value| of_step(task, fields.as_object().unwrap());
        assert_eq!(texts(&of("generate", json!({ "prompt": "Say {{ input }}" }))), ["Say "]);
        let chat = json!({ "messages": [
            { "role": "system", "content": "Be kind." }, { "role": "user", "content": "Say {{ a }}" }, { "role": "user" },
        ] });
        assert_eq!(texts(&of("chat", chat)), ["Be kind.", "Say "]);
        for (task, fields) in [
            ("translate", json!({ "input": "a" })),
            ("generate", json!({})),
            ("chat", json!({ "messages": "{{ a }}" })),
        ] {
            assert!(of(task, fields).is_empty());
        }
    }
}
