//! The page of one node: everything that is known of it.

use promptd::job::NodeName;
use promptd::plan::Bytes;

use super::super::columns::{COLUMNS, Column};
use super::super::fleet::Row;
use super::super::grid::{Grid, Style, Tint, Weight, width};
use super::super::node::{Model, Rejected};
use super::super::text::{UNKNOWN, or_unknown};
use super::curve::curve;
use super::row_style;

/// Cells for the names of what is told.
const NAMES: usize = 20;

/// A line: its parts, one after the other.
type Text = Vec<(String, Style)>;

/// Draws between the first and the last line, from line `first` of the page on; gives from where it really is.
pub fn draw(grid: &mut Grid, name: &NodeName, row: Option<&Row<'_>>, first: usize) -> usize {
    let room = grid.height().saturating_sub(2);
    let text = match row {
        Some(row) => page(row, grid.width()),
        None => vec![vec![(format!("{name} has told nothing"), Style::tinted(Tint::Yellow))]],
    };
    let first = first.min(text.len().saturating_sub(room));
    for (line, y) in text.iter().skip(first).take(room).zip(1..) {
        let mut x = 0;
        for (part, style) in line {
            x = grid.put(x, y, grid.width(), part, *style);
        }
    }
    first
}

fn page(row: &Row<'_>, width: usize) -> Vec<Text> {
    let bold = Style::default().weighing(Weight::Bold);
    let status = row.node.status.as_ref();
    let since = status.and_then(|status| status.since.as_ref()).map(|since| format!(" since {since}"));
    let mut lines = vec![vec![
        (format!("{} ", row.name), bold),
        (row.condition.as_str().to_owned(), row_style(row).weighing(Weight::Bold)),
        (since.unwrap_or_default(), Style::default()),
    ]];
    for reason in status.iter().flat_map(|status| &status.reasons) {
        lines.extend(wrapped("", reason, width, row_style(row)));
    }
    lines.push(Vec::new());
    lines.extend(COLUMNS.iter().filter(|column| is_number(column)).map(|column| number(column, row)));
    let history: Vec<f64> = row.node.history.iter().copied().collect();
    let bars = curve(&history, width.saturating_sub(NAMES));
    lines.push(vec![named("tokens/s, curve"), (bars, Style::tinted(Tint::Cyan))]);
    for (name, kept) in &row.node.models {
        lines.push(Vec::new());
        lines.extend(model(name.as_str(), &kept.value, width));
    }
    let sensors = row.node.health.iter().flat_map(|health| &health.lines);
    lines.push(Vec::new());
    lines.extend(sensors.map(|[name, said]| vec![named(name), (said.clone(), Style::default())]));
    lines
}

/// What of the table is told here as well, by its number.
fn is_number(column: &Column) -> bool {
    ["TOK/S", "JOBS", "MEMORY", "°C", "THR", "UP"].contains(&column.title)
}

fn number(column: &Column, row: &Row<'_>) -> Text {
    let name = match column.title {
        "TOK/S" => "tokens/s",
        "JOBS" => "jobs, and waiting",
        "MEMORY" => "memory left",
        "°C" => "hottest °C",
        "THR" => "throttled",
        _ => "up",
    };
    vec![named(name), ((column.cell)(row), Style::default())]
}

fn named(name: &str) -> (String, Style) {
    let fill = " ".repeat(NAMES.saturating_sub(width(name)).max(1));
    (format!("{name}{fill}"), Style::tinted(Tint::Grey))
}

fn model(name: &str, model: &Model, width: usize) -> Vec<Text> {
    let is_ready = model.state.as_deref() == Some("ready");
    let state = Style::tinted(if is_ready { Tint::Green } else { Tint::Yellow });
    let mut lines = vec![vec![
        (format!("model {name} "), Style::default().weighing(Weight::Bold)),
        (or_unknown(model.state.clone()), state),
        (format!("  {}", model.strategy.as_deref().unwrap_or(UNKNOWN)), Style::default()),
    ]];
    if let Some(reason) = &model.reason {
        lines.extend(wrapped("  ", reason, width, state));
    }
    for rejected in &model.rejected {
        lines.extend(wrapped("  ", &rejection(rejected), width, Style::default()));
    }
    lines
}

fn rejection(rejected: &Rejected) -> String {
    let size = |bytes: Option<u64>| bytes.map(|bytes| Bytes(bytes).to_string());
    let numbers = match (size(rejected.need), size(rejected.headroom)) {
        (Some(need), Some(headroom)) => format!(" (needs {need} of {headroom})"),
        (Some(need), None) => format!(" (needs {need})"),
        _ => String::new(),
    };
    let strategy = rejected.strategy.as_deref().unwrap_or(UNKNOWN);
    format!("not {strategy}{numbers}: {}", rejected.reason.as_deref().unwrap_or(UNKNOWN))
}

/// A text in lines of this width at the most, broken between words where that can be, each after `indent`.
fn wrapped(indent: &str, text: &str, room: usize, style: Style) -> Vec<Text> {
    let mut lines = vec![indent.to_owned()];
    let mut used = indent.len();
    for word in text.split_inclusive(' ') {
        let needed = width(word.trim_end());
        if used + needed > room && used > indent.len() {
            lines.push(indent.to_owned());
            used = indent.len();
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(word);
        }
        used += width(word);
    }
    lines.into_iter().map(|line| vec![(line, style)]).collect()
}
