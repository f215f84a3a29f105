//! What can be wrong with a configuration.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why there is no configuration. Its text names everything that has to be changed.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Some files are not TOML. Their keys have not been looked at.
    #[error("{} in the configuration:{}", count(.0.len(), "syntax error"), lines(.0))]
    Syntax(Vec<SyntaxError>),
    /// Keys or values that promptd cannot use.
    #[error("{} in the configuration:{}", count(.0.len(), "problem"), lines(.0))]
    Invalid(Vec<Problem>),
    /// A secret that the configuration names cannot be had now.
    #[error("{key}: {reason}")]
    Credential {
        /// The key that names it.
        key: &'static str,
        /// What is wrong with it. Never quotes the secret.
        reason: String,
    },
}

/// A place in a file. Line and column count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// Text that is not TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where.
    pub place: Place,
    /// What the parser expected.
    pub message: String,
    /// The line as it stands there.
    pub snippet: String,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    {} | {}", self.place, self.message, self.place.line, self.snippet)
    }
}

/// One key that has to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the value stands, or the key if there is no value to blame. None if no file says anything about it.
    pub place: Option<Place>,
    /// The key's path, such as `limits.request` or `model[main].context`.
    pub key: String,
    /// The value as it was written, shortened.
    pub value: Option<String>,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        match &self.value {
            Some(value) => write!(f, "{} = {value}: {}", self.key, self.reason),
            None => write!(f, "{}: {}", self.key, self.reason),
        }
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn lines<T: fmt::Display>(items: &[T]) -> String {
    items.iter().fold(String::new(), |text, item| text + "\n  " + &item.to_string())
}
