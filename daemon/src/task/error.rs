//! What can be wrong with a definition.

use thiserror::Error;

/// Why a definition cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DefinitionError {
    /// A template is wrong.
    #[error("{reason}")]
    Template {
        /// The key that holds it.
        key: &'static str,
        /// What is wrong, with the line.
        reason: String,
    },
    /// The schema is none, or not one of a request.
    #[error("{0}")]
    Schema(String),
    /// The long text is none of a request.
    #[error("{0}")]
    Long(String),
}

impl DefinitionError {
    /// The key that is to blame.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Template { key, .. } => key,
            Self::Schema(_) => "input",
            Self::Long(_) => "long",
        }
    }
}
