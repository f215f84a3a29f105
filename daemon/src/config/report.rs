//! Collects what is wrong while the sections are read.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use super::error::{ConfigError, Problem};
use super::source::Source;
use super::tree::At;

/// The problems so far, and which keys exist.
pub(super) struct Report<'s> {
    sources: &'s [Source],
    problems: Vec<(Option<At>, Problem)>,
    keys: BTreeMap<String, Option<At>>,
}

impl<'s> Report<'s> {
    /// Nothing is wrong yet.
    pub(super) fn new(sources: &'s [Source]) -> Self {
        Self { sources, problems: Vec::new(), keys: BTreeMap::new() }
    }

    /// Notes that a key exists, and where a file sets it, if any does.
    pub(super) fn know(&mut self, key: String, at: Option<At>) {
        self.keys.insert(key, at);
    }

    /// Every key that was looked for, and where a file sets it.
    #[cfg(test)]
    pub(super) fn keys(&self) -> &BTreeMap<String, Option<At>> {
        &self.keys
    }

    /// Adds a problem.
    pub(super) fn problem(&mut self, at: Option<At>, key: &str, value: Option<String>, reason: impl Into<String>) {
        let problem = Problem { place: None, key: key.to_owned(), value, reason: reason.into() };
        self.problems.push((at, problem));
    }

    /// Whether something is wrong with this key.
    fn doubts(&self, key: &str) -> bool {
        self.problems.iter().any(|(_, problem)| problem.key == key)
    }

    /// The folder of the file in which a position lies.
    pub(super) fn folder(&self, at: At) -> &'s Path {
        self.sources[at.source].folder()
    }

    /// Demands that one key's value is less than another's.
    pub(super) fn below<T: Copy + PartialOrd + Display>(&mut self, low: (&str, T), high: (&str, T)) {
        if low.1 >= high.1 {
            self.order(low, "below", high);
        }
    }

    /// Demands that one key's value is not more than another's.
    pub(super) fn at_most<T: Copy + PartialOrd + Display>(&mut self, low: (&str, T), high: (&str, T)) {
        if low.1 > high.1 {
            self.order(low, "at most", high);
        }
    }

    fn order<T: Copy + Display>(&mut self, low: (&str, T), relation: &str, high: (&str, T)) {
        // A value that was refused has been replaced by the default, which nobody wrote.
        if self.doubts(low.0) || self.doubts(high.0) {
            return;
        }
        let (low_at, high_at) = (self.at(low.0), self.at(high.0));
        let origin = |at: Option<At>| if at.is_none() { " (the default)" } else { "" };
        let value = format!("{}{}", low.1, origin(low_at));
        let reason = format!("must be {relation} {} = {}{}", high.0, high.1, origin(high_at));
        self.problem(low_at.or(high_at), low.0, Some(value), reason);
    }

    /// A problem with the value of a key that was read before.
    pub(super) fn blame(&mut self, key: &str, value: String, reason: impl Into<String>) {
        self.problem(self.at(key), key, Some(value), reason);
    }

    fn at(&self, key: &str) -> Option<At> {
        self.keys.get(key).copied().flatten()
    }

    /// All problems in the order in which the files are read; none if nothing was wrong.
    pub(super) fn finish(mut self) -> Option<ConfigError> {
        self.problems.sort_by_key(|(at, _)| *at);
        let place = |at: At| self.sources[at.source].place(at.offset);
        let placed = self.problems.into_iter().map(|(at, problem)| Problem { place: at.map(place), ..problem });
        let placed: Vec<Problem> = placed.collect();
        (!placed.is_empty()).then_some(ConfigError::Invalid(placed))
    }
}
