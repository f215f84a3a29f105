//! What a generative model is asked for tasks that are no conversation of the client's.

use crate::job::{Message, Role};

/// A text that says nothing: how likely a label is after it is how much the model likes the label itself.
pub const NO_CONTENT: &str = "N/A";

/// Asks which of the labels fits a text. They stand in an order of their own, so that a request's makes no difference.
pub fn classify(labels: &[String], text: &str) -> Vec<Message> {
    let mut labels: Vec<&String> = labels.iter().collect();
    labels.sort_unstable();
    let system = "You classify texts. You answer with the label that fits best, and nothing else.";
    let labels: Vec<String> = labels.into_iter().map(|label| format!("- {label}\n")).collect();
    ask(system, format!("Labels:\n{}\nText: {text}\n\nWhich label fits the text?", labels.concat()))
}

/// Asks for the parts of a text that name something of these types.
pub fn extract(types: &[String], text: &str) -> Vec<Message> {
    let system = "You find names and values in texts. You answer with a JSON array of objects that have \"text\", copied exactly \
                  from the text, and \"type\". You leave out what is not in the text.";
    ask(
        system,
        format!(
            "Types: {}\n\nText: {text}\n\nList everything in the text that is of one of the types.",
            types.join(", ")
        ),
    )
}

/// Asks for the part of a context that answers a question.
pub fn answer(question: &str, context: &str) -> Vec<Message> {
    let system = "You answer questions with the shortest part of a text that answers them, copied exactly, as a JSON string. You \
                  answer null if the text does not tell.";
    ask(system, format!("Text: {context}\n\nQuestion: {question}"))
}

fn ask(system: &str, user: String) -> Vec<Message> {
    vec![Message { role: Role::System, content: system.to_owned() }, Message { role: Role::User, content: user }]
}
