//! TOML as a tree in which every value knows where it stands. The only file that knows the parser.

use std::thread;

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, SyntaxError};
use super::source::Source;

/// Deeper than any key of the configuration. What lies deeper is cut off, so that nothing here recurses far.
const DEPTH_MAX: usize = 8;

/// The parser accepts a few thousand levels of nesting and frees them by recursion; this is room for all of them.
const PARSER_STACK: usize = 64 * 1024 * 1024;

/// How much of a value or line a message quotes.
const QUOTE_MAX: usize = 80;

/// A position: which source, which byte in it. Sorts in the order in which a human reads the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    /// Index of the source.
    pub(super) source: usize,
    /// Byte in it.
    pub(super) offset: usize,
}

/// A value and its position.
#[derive(Debug)]
pub(super) struct Item {
    /// Where it stands.
    pub(super) at: At,
    /// What it is.
    pub(super) value: Value,
}

/// A key of a table and its value.
#[derive(Debug)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// Where the key stands.
    pub(super) at: At,
    /// The value.
    pub(super) item: Item,
}

/// A TOML table.
pub(super) type Table = Vec<Entry>;

/// A TOML value, as far as the configuration has a use for it.
#[derive(Debug)]
pub(super) enum Value {
    /// A string.
    Text(String),
    /// An integer, and as it was written. None is outside of 64 bits.
    Integer(Option<i64>, String),
    /// A boolean.
    Flag(bool),
    /// An array, also an array of tables.
    Array(Vec<Item>),
    /// A table.
    Table(Table),
    /// A float or a date, as it was written.
    Other(String),
}

impl Entry {
    /// The key as a message quotes it.
    pub(super) fn quote_key(&self) -> String {
        shorten(&self.key).escape_debug().to_string()
    }
}

impl Value {
    /// The value as a message quotes it: short, on one line, without a password that stands in a URL.
    pub(super) fn quote(&self) -> String {
        match self {
            Self::Text(text) => format!("{:?}", shorten(&without_password(text))),
            Self::Integer(_, text) | Self::Other(text) => shorten(text),
            Self::Flag(flag) => flag.to_string(),
            Self::Array(_) => "[…]".to_owned(),
            Self::Table(_) => "{…}".to_owned(),
        }
    }
}

/// Looks a key up.
pub(super) fn find<'a>(table: &'a Table, key: &str) -> Option<&'a Entry> {
    table.iter().find(|entry| entry.key == key)
}

/// Parses every source, or lists the syntax errors of all of them: the first one of each line, because what follows
/// on the same line is mostly its echo.
pub(super) fn parse_all(sources: &[Source]) -> Result<Vec<Table>, ConfigError> {
    let mut tables = Vec::new();
    let mut errors = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let (table, found) = with_large_stack(|| parse(index, source))
            .map_err(|error| ConfigError::Unreadable { path: source.path.clone(), source: error })?;
        tables.push(match source.definition() {
            Some(kind_and_name) => definition(index, kind_and_name, table),
            None => table,
        });
        errors.extend(found);
    }
    if errors.is_empty() { Ok(tables) } else { Err(ConfigError::Syntax(errors)) }
}

/// The file of a task or pipeline as if its keys stood below `[[task]]` or `[[pipeline]]`, with its name.
fn definition(source: usize, (kind, name): (&str, &str), mut keys: Table) -> Table {
    let at = At { source, offset: 0 };
    let entry = |key: &str, value| Entry { key: key.to_owned(), at, item: Item { at, value } };
    keys.insert(0, entry("name", Value::Text(name.to_owned())));
    vec![entry(kind, Value::Array(vec![Item { at, value: Value::Table(keys) }]))]
}

fn with_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().stack_size(PARSER_STACK).spawn_scoped(scope, work)?;
        worker.join().map_err(|_| std::io::Error::other("the TOML parser failed on it"))
    })
}

fn parse(index: usize, source: &Source) -> (Table, Vec<SyntaxError>) {
    let (document, errors) = DeTable::parse_recoverable(&source.text);
    let mut found: Vec<SyntaxError> = errors
        .iter()
        .map(|error| {
            let place = source.place(error.span().map_or(0, |span| span.start));
            let line = source.text.lines().nth(place.line - 1).unwrap_or_default();
            let snippet = shorten(&without_password(line)).escape_debug().to_string().replace("\\\"", "\"");
            SyntaxError { place, message: error.message().to_owned(), snippet }
        })
        .collect();
    found.sort_by_key(|error| (error.place.line, error.place.column));
    found.dedup_by_key(|error| error.place.line);
    (table(index, document.get_ref(), 0), found)
}

fn table(source: usize, table: &DeTable<'_>, depth: usize) -> Table {
    table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            at: At { source, offset: key.span().start },
            item: item(source, value, depth + 1),
        })
        .collect()
}

fn item(source: usize, value: &toml::Spanned<DeValue<'_>>, depth: usize) -> Item {
    let at = At { source, offset: value.span().start };
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok(), number.to_string())
        }
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Float(number) => Value::Other(number.to_string()),
        DeValue::Datetime(time) => Value::Other(time.to_string()),
        DeValue::Array(_) | DeValue::Table(_) if depth >= DEPTH_MAX => Value::Other("…".to_owned()),
        DeValue::Array(items) => Value::Array(items.iter().map(|value| item(source, value, depth + 1)).collect()),
        DeValue::Table(inner) => Value::Table(table(source, inner, depth)),
    };
    Item { at, value }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(QUOTE_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Operators paste URLs with a password in them, and messages end up in logs.
fn without_password(text: &str) -> String {
    match text.find("://").map(|scheme| scheme + "://".len()) {
        Some(start) => match text[start..].rfind('@') {
            Some(end) => format!("{}***{}", &text[..start], &text[start + end..]),
            None => text.to_owned(),
        },
        None => text.to_owned(),
    }
}
