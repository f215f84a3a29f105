//! From what a request asks for to a grammar as llguidance reads it.

use llguidance::api::TopLevelGrammar;
use serde_json::{Value, json};

use super::GrammarError;
use crate::engine::child::spans::{ENTITIES_MAX, ENTITY, NEXT};
use crate::job::Constraint;

/// What a grammar is made of.
#[derive(Clone)]
pub enum Recipe {
    /// A request's constraint.
    Constraint(Constraint),
    /// Parts of a text, each with one of the types.
    Entities {
        /// The text.
        input: String,
        /// The types, at least one.
        types: Vec<String>,
    },
    /// A part of a text, or null.
    Part(String),
}

impl Recipe {
    /// Whether it is made of a text to search, and not of a constraint.
    pub(super) fn searches(&self) -> bool {
        !matches!(self, Self::Constraint(_))
    }

    /// The grammar.
    pub(super) fn grammar(&self) -> Result<TopLevelGrammar, GrammarError> {
        match self {
            Self::Constraint(Constraint::Schema(text)) => schema(text),
            Self::Constraint(Constraint::Regex(expression)) => Ok(TopLevelGrammar::from_regex(expression)),
            Self::Constraint(Constraint::Choices(choices)) => {
                let choices: Vec<String> = choices.iter().map(|choice| regex::escape(choice)).collect();
                Ok(TopLevelGrammar::from_regex(&choices.join("|")))
            }
            Self::Entities { input, types } => Ok(entities(input, types)),
            Self::Part(text) => {
                let start = r#"start: "null" | "\"" PART "\"""#;
                Ok(TopLevelGrammar::from_lark(format!("{start}\n{}", part(text))))
            }
        }
    }
}

/// A value on one line, as most texts write it. Blanks elsewhere are left out: a small model fills an answer with them.
fn schema(text: &str) -> Result<TopLevelGrammar, GrammarError> {
    let unusable = || GrammarError::Unusable("the schema is no JSON object".to_owned());
    let mut schema: Value = serde_json::from_str(text).map_err(|_| unusable())?;
    let style = json!({ "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": " });
    schema.as_object_mut().ok_or_else(unusable)?.insert("x-guidance".to_owned(), style);
    Ok(TopLevelGrammar::from_json_schema(schema))
}

/// An array of objects with a part of the text and a type.
fn entities(input: &str, types: &[String]) -> TopLevelGrammar {
    let [before, between, after] = ENTITY;
    let [before, between] = [quoted(&format!("{before}\"")), quoted(&format!("\"{between}"))];
    let types: Vec<String> = types.iter().map(|kind| quoted(&format!("{}{after}", quoted(kind)))).collect();
    let (types, next, more) = (types.join(" | "), quoted(NEXT), ENTITIES_MAX - 1);
    TopLevelGrammar::from_lark(format!(
        "start: \"[\" (entity ({next} entity){{0,{more}}})? \"]\"\nentity: {before} PART {between} TYPE\nTYPE: {types}\n{}",
        part(input)
    ))
}

/// Any part of a text that is not empty, as it stands in a JSON string: a chunk is one character, so that none is cut.
fn part(text: &str) -> String {
    let chunk = |character: char| {
        let quoted = quoted(character.encode_utf8(&mut [0; 4]));
        quoted[1..quoted.len() - 1].to_owned()
    };
    let chunks: Vec<String> = text.chars().map(chunk).collect();
    format!("PART: ANY & /(?s:.+)/\nANY: %regex {}", json!({ "substring_chunks": chunks }))
}

/// A JSON string, which is what a grammar's literals are, too.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
