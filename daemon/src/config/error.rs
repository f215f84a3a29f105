//! What can be wrong with a configuration.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

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
    /// The copy of a good configuration cannot be saved.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable {
        /// Where it lies.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The copy of the last configuration that was good is none, or cannot stand in for one that is broken.
    #[error("no last good configuration can stand in for it: {}: {reason}", path.display())]
    NoLastGood {
        /// Where it lies.
        path: PathBuf,
        /// Why it is not used.
        reason: String,
    },
}

/// Most problems that are told one by one; a checker tells all of them.
const TOLD_MAX: usize = 50;

impl ConfigError {
    /// The problems one by one, for a log or an answer: the first 50, then how many more there are.
    pub fn problems(&self) -> Vec<String> {
        match self {
            Self::Syntax(errors) => told(errors),
            Self::Invalid(problems) => told(problems),
            other => vec![other.to_string()],
        }
    }

    /// In a few words: how many problems there are and where the first is. Quotes no value, and names files as
    /// `promptd.toml` and `conf.d/10-site.toml`, whatever folder they lie in.
    pub fn summary(&self) -> String {
        let place = |problem: &Problem| problem.place.as_ref().map_or_else(|| problem.key.clone(), Place::short);
        match self {
            Self::Unreadable { path, source } => format!("cannot read {}: {source}", short(path)),
            Self::Syntax(errors) => sum(errors, "syntax error", |error| error.place.short()),
            Self::Invalid(problems) => sum(problems, "problem", place),
            other => other.to_string(),
        }
    }
}

fn sum<T>(items: &[T], what: &str, place: impl Fn(&T) -> String) -> String {
    let relation = if items.len() == 1 { "" } else { ", the first" };
    let first = items.first().map(place).unwrap_or_default();
    format!("{}{relation} at {first}", count(items.len(), what))
}

fn told<T: fmt::Display>(problems: &[T]) -> Vec<String> {
    let more = problems.len().saturating_sub(TOLD_MAX);
    let rest = (more > 0).then(|| format!("and {more} more; `promptd check` tells all of them"));
    problems.iter().take(TOLD_MAX).map(ToString::to_string).chain(rest).collect()
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

impl Place {
    fn short(&self) -> String {
        format!("{}:{}:{}", short(&self.file), self.line, self.column)
    }
}

/// A file's name, behind that of its folder if it is a drop-in.
fn short(path: &Path) -> String {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match path.parent().filter(|folder| folder.file_name().is_some_and(|name| name == "conf.d" || name == "tasks.d")) {
        Some(folder) => format!("{}/{}", name(folder), name(path)),
        None => name(path),
    }
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
