//! Reads one table of the configuration, one call a key.
//!
//! Each call names the key, its default and its bounds. A value that cannot be used becomes a problem of the report
//! and the default takes its place, so that reading goes on; keys that no call has named are reported at the end.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use crate::plan::{Percent, Reserve};

use super::nearest::nearest;
use super::report::Report;
use super::tree::{At, Entry, Item, Table, Value, find};
use super::unit::{Size, Span};
use super::value;

/// A table, or the lack of it, while it is read.
pub(super) struct Section<'r, 's, 't> {
    /// Collects what is wrong.
    pub(super) report: &'r mut Report<'s>,
    path: String,
    at: Option<At>,
    table: Option<&'t Table>,
    known: Vec<&'static str>,
}

/// Reads the top level.
pub(super) fn read<'s, T>(
    table: &Table,
    report: &mut Report<'s>,
    read: impl FnOnce(&mut Section<'_, 's, '_>) -> T,
) -> T {
    run(report, String::new(), None, Some(table), read)
}

/// Reads one table and reports the keys in it that the reader did not ask for.
fn run<'s, 't, T>(
    report: &mut Report<'s>,
    path: String,
    at: Option<At>,
    table: Option<&'t Table>,
    read: impl FnOnce(&mut Section<'_, 's, 't>) -> T,
) -> T {
    let mut section = Section { report, path, at, table, known: Vec::new() };
    let value = read(&mut section);
    section.report_unknown();
    value
}

impl<'s, 't> Section<'_, 's, 't> {
    /// The path of a key of this section.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The folder of the file that sets a key.
    pub(super) fn folder_of(&self, key: &str) -> Option<&'s Path> {
        let entry = self.table.and_then(|table| find(table, key))?;
        Some(self.report.folder(entry.item.at))
    }

    /// Whether a file sets a key, rightly or wrongly.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.table.is_some_and(|table| find(table, key).is_some())
    }

    /// How many entries an array has. None if the key is not set, or to something else.
    pub(super) fn array_len(&self, key: &str) -> Option<usize> {
        match &find(self.table?, key)?.item.value {
            Value::Array(items) => Some(items.len()),
            _ => None,
        }
    }

    /// A problem of the section itself: a key that it lacks.
    pub(super) fn problem(&mut self, key: &str, reason: impl Into<String>) {
        let path = self.path_of(key);
        self.report.problem(self.at, &path, None, reason);
    }

    /// Where it stands.
    pub(super) fn at(&self) -> Option<At> {
        self.at
    }

    /// All of its keys, whatever they are.
    pub(super) fn everything(&mut self) -> Option<&'t Table> {
        for entry in self.table.into_iter().flatten() {
            self.report.know(self.path_of(&entry.quote_key()), Some(entry.item.at));
        }
        self.table.take()
    }

    /// A problem at some place of the section.
    pub(super) fn blame_at(&mut self, at: Option<At>, key: &str, reason: impl Into<String>) {
        let path = self.path_of(key);
        self.report.problem(at, &path, None, reason);
    }

    /// A problem of the section as a whole.
    pub(super) fn blame_all(&mut self, reason: impl Into<String>) {
        self.report.problem(self.at, &self.path, None, reason);
    }

    /// Any value, through a function that says what is wrong with it. None if it is not set or cannot be used.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let item = self.take(key)?;
        match parse(&item.value) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.blame(key, item, reason);
                None
            }
        }
    }

    /// As [`Section::optional`], but a key that is not set is a problem.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        if !self.is_set(key) {
            self.problem(key, "is missing");
        }
        self.optional(key, parse)
    }

    /// A whole number.
    pub(super) fn number<T>(&mut self, key: &'static str, default: T, range: RangeInclusive<T>) -> T
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        self.optional(key, |value| value::number(value, &range)).unwrap_or(default)
    }

    /// A size.
    pub(super) fn size(&mut self, key: &'static str, default: Size, range: RangeInclusive<Size>) -> Size {
        self.optional(key, |value| value::size(value, &range)).unwrap_or(default)
    }

    /// A share of a whole.
    pub(super) fn percent(&mut self, key: &'static str, default: Percent, range: RangeInclusive<Percent>) -> Percent {
        self.optional(key, |value| value::percent(value, &range)).unwrap_or(default)
    }

    /// What stays free of something: a share of it or a size. The default is a share.
    pub(super) fn reserve(
        &mut self,
        key: &'static str,
        default: Percent,
        shares: RangeInclusive<Percent>,
        sizes: RangeInclusive<Size>,
    ) -> Reserve {
        self.optional(key, |value| value::reserve(value, &shares, &sizes)).unwrap_or(Reserve::Percent(default))
    }

    /// A time.
    pub(super) fn span(&mut self, key: &'static str, default: Span, range: RangeInclusive<Span>) -> Duration {
        self.optional(key, |value| value::span(value, &range)).unwrap_or(default).0
    }

    /// A time that MQTT counts in seconds.
    pub(super) fn seconds(&mut self, key: &'static str, default: Span, range: RangeInclusive<Span>) -> Duration {
        self.optional(key, |value| value::seconds(value, &range)).unwrap_or(default).0
    }

    /// A time, or never. None is never, which is also the default.
    pub(super) fn span_or_never(&mut self, key: &'static str, range: RangeInclusive<Span>) -> Option<Duration> {
        self.optional(key, |value| value::span_or_never(value, &range)).flatten().map(|span| span.0)
    }

    /// A boolean.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.optional(key, value::flag).unwrap_or(default)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, default: T, words: &[(&str, T)]) -> T {
        self.optional(key, |value| value::choice(value, words)).unwrap_or(default)
    }

    /// A table below this one. One that is not set is read as an empty one, for its defaults.
    pub(super) fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_, 's, 't>) -> T) -> T {
        let (at, table) = match self.take(key) {
            Some(Item { at, value: Value::Table(table) }) => (Some(*at), Some(table)),
            Some(item) => {
                self.blame(key, item, format!("must be a table: write [{}]", self.path_of(key)));
                (None, None)
            }
            None => (None, None),
        };
        run(self.report, self.path_of(key), at, table, read)
    }

    /// An array of tables below this one. Each has its name or number in its path: `model[main]`.
    pub(super) fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_, 's, 't>) -> T,
    ) -> Vec<T> {
        let header = without_labels(&self.path_of(key));
        let items = self.array(key, &format!("must be an array of tables: write [[{header}]]"));
        let mut values = Vec::new();
        for (index, item) in items.iter().enumerate() {
            if let Value::Table(table) = &item.value {
                let path = format!("{}[{}]", self.path_of(key), label(table, index));
                values.push(run(self.report, path, Some(item.at), Some(table), &mut read));
            } else {
                self.blame(key, item, "must be a table");
            }
        }
        values
    }

    /// A table of names that the operator chooses and their values.
    pub(super) fn entries(&mut self, key: &'static str) -> &'t [Entry] {
        match self.take(key) {
            Some(Item { value: Value::Table(table), .. }) => table,
            Some(item) => {
                self.blame(key, item, "must be a table, such as { room = \"cellar\" }");
                &[]
            }
            None => &[],
        }
    }

    /// An array of values, each through a function that says what is wrong with it.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        at_most: usize,
        mut parse: impl FnMut(&Value) -> Result<T, String>,
    ) -> Vec<T> {
        let items = self.array(key, "must be an array: write [\"…\", \"…\"]");
        let mut values = Vec::new();
        for item in items {
            match parse(&item.value) {
                Ok(value) => values.push(value),
                Err(reason) => self.blame(key, item, reason),
            }
        }
        if let Some(excess) = items.get(at_most) {
            self.blame(key, excess, format!("is entry {} of at most {at_most}", at_most + 1));
        }
        values
    }

    /// A problem with an item of this section.
    pub(super) fn blame(&mut self, key: &str, item: &Item, reason: impl Into<String>) {
        let path = self.path_of(key);
        self.report.problem(Some(item.at), &path, Some(item.value.quote()), reason);
    }

    /// A problem with the value of a key of this section.
    pub(super) fn blame_key(&mut self, key: &str, reason: impl Into<String>) {
        if let Some(entry) = self.table.and_then(|table| find(table, key)) {
            self.blame(key, &entry.item, reason);
        }
    }

    fn array(&mut self, key: &'static str, reason: &str) -> &'t [Item] {
        match self.take(key) {
            Some(Item { value: Value::Array(items), .. }) => items,
            Some(item) => {
                self.blame(key, item, reason);
                &[]
            }
            None => &[],
        }
    }

    /// Looks a key up and remembers that it exists.
    fn take(&mut self, key: &'static str) -> Option<&'t Item> {
        self.known.push(key);
        let item = self.table.and_then(|table| find(table, key)).map(|entry| &entry.item);
        self.report.know(self.path_of(key), item.map(|item| item.at));
        item
    }

    fn report_unknown(&mut self) {
        for entry in self.table.into_iter().flatten().filter(|entry| !self.known.contains(&entry.key.as_str())) {
            let hint = match nearest(&entry.key, &self.known) {
                Some(key) => format!("did you mean \"{key}\"?"),
                None => format!("known are {}", self.known.join(", ")),
            };
            let path = self.path_of(&entry.quote_key());
            self.report.problem(Some(entry.at), &path, None, format!("unknown key; {hint}"));
        }
    }
}

/// The name of a table in an array if it is fit for a path, else its number.
fn label(table: &Table, index: usize) -> String {
    let named = |text: &str| {
        (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
    };
    match find(table, "name").map(|entry| &entry.item.value) {
        Some(Value::Text(name)) if named(name) => name.clone(),
        _ => format!("#{}", index + 1),
    }
}

/// `model[main].files` as TOML writes it: `model.files`.
fn without_labels(path: &str) -> String {
    path.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect()
}
