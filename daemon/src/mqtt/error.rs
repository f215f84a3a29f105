//! Why a topic or a filter cannot be used.

use thiserror::Error;

use crate::job::InvalidName;

/// A topic, filter or name that breaks the rules.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TopicError {
    /// Empty, or longer than allowed.
    #[error("{what} has {length} bytes; allowed are 1 to {max}")]
    Length {
        /// Which kind of text.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// More levels than brokers take.
    #[error("{what} has {levels} levels; allowed are 1 to {max}")]
    Levels {
        /// Which kind of text.
        what: &'static str,
        /// Its number of levels.
        levels: usize,
        /// The limit.
        max: usize,
    },
    /// NUL, a control character or a Unicode non-character.
    #[error("{what} contains the character U+{code:04X}, which brokers refuse")]
    Character {
        /// Which kind of text.
        what: &'static str,
        /// The first such character.
        code: u32,
    },
    /// A wildcard in a topic.
    #[error("{what} contains a wildcard; '+' and '#' are for filters")]
    Wildcard {
        /// Which kind of text.
        what: &'static str,
    },
    /// A wildcard in the wrong place of a filter.
    #[error("the filter {filter:?} is not valid: '+' fills a whole level, '#' the whole last level")]
    Filter {
        /// The filter.
        filter: String,
    },
    /// A root with an empty level or with `$` in front.
    #[error("the root {root:?} is not valid: no level may be empty and it may not start with '$'")]
    Root {
        /// The root.
        root: String,
    },
    /// A segment that is no valid name.
    #[error(transparent)]
    Name(#[from] InvalidName),
}
