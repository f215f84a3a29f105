//! From what a request asks for to a grammar as llguidance reads it.

use llguidance::api::TopLevelGrammar;
use serde_json::{Value, json};

use super::GrammarError;
use crate::job::Constraint;

/// What a grammar is made of.
#[derive(Clone)]
pub enum Recipe {
    /// A request's constraint.
    Constraint(Constraint),
}

impl Recipe {
    /// The grammar.
    pub(super) fn grammar(&self) -> Result<TopLevelGrammar, GrammarError> {
        match self {
            Self::Constraint(Constraint::Schema(text)) => schema(text),
            Self::Constraint(Constraint::Regex(expression)) => Ok(TopLevelGrammar::from_regex(expression)),
            Self::Constraint(Constraint::Choices(choices)) => {
                let choices: Vec<String> = choices.iter().map(|choice| regex::escape(choice)).collect();
                Ok(TopLevelGrammar::from_regex(&choices.join("|")))
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
