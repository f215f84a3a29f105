//! The columns of the table of nodes.

use promptd::job::ModelName;

use super::fleet::Row;
use super::node::Model;
use super::text::{UNKNOWN, duration, or_unknown, size};

/// A column.
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// Its cells on a screen; 0 is what is left.
    pub width: usize,
    /// Whether its text stands to the right.
    pub right: bool,
    /// Which columns a narrow screen has: those with the smallest numbers.
    pub order: u8,
    /// What stands in it.
    pub cell: fn(&Row<'_>) -> String,
}

/// All columns, as they stand beside each other.
pub const COLUMNS: [Column; 11] = [
    Column { title: "NODE", width: 16, right: false, order: 0, cell: |row| row.name.to_string() },
    Column { title: "STATE", width: 13, right: false, order: 1, cell: |row| row.condition.as_str().to_owned() },
    Column { title: "MODEL", width: 12, right: false, order: 8, cell: model },
    Column { title: "STRATEGY", width: 12, right: false, order: 6, cell: strategy },
    Column { title: "TOK/S", width: 6, right: true, order: 2, cell: tokens },
    Column { title: "JOBS", width: 7, right: true, order: 3, cell: jobs },
    Column { title: "MEMORY", width: 9, right: true, order: 5, cell: memory },
    Column { title: "°C", width: 5, right: true, order: 4, cell: heat },
    Column { title: "THR", width: 3, right: false, order: 7, cell: throttled },
    Column { title: "UP", width: 4, right: true, order: 9, cell: uptime },
    Column { title: "REASON", width: 0, right: false, order: 10, cell: reason },
];

/// The first model that is not ready, else the first one: what an operator has to look at.
fn main_model<'a>(row: &Row<'a>) -> Option<(&'a ModelName, &'a Model)> {
    let mut models = row.node.models.iter().map(|(name, kept)| (name, &kept.value));
    let first = models.clone().next();
    models.find(|(_, model)| model.state.as_deref() != Some("ready")).or(first)
}

fn model(row: &Row<'_>) -> String {
    match (main_model(row), row.node.models.len()) {
        (None, _) => UNKNOWN.to_owned(),
        (Some((name, _)), 1) => name.to_string(),
        (Some((name, _)), models) => format!("{name} +{}", models - 1),
    }
}

fn strategy(row: &Row<'_>) -> String {
    let model = main_model(row).map(|(_, model)| model);
    or_unknown(model.and_then(|model| model.strategy.clone().or_else(|| model.state.clone())))
}

fn tokens(row: &Row<'_>) -> String {
    or_unknown(row.numbers.tokens_per_s.map(|rate| format!("{rate:.1}")))
}

/// Running and waiting.
fn jobs(row: &Row<'_>) -> String {
    let (running, waiting) = (row.numbers.jobs_running, row.numbers.jobs_waiting);
    or_unknown(running.zip(waiting).map(|(running, waiting)| format!("{running}+{waiting}")))
}

/// Available, of all.
pub fn memory(row: &Row<'_>) -> String {
    let (available, total) = (row.numbers.memory_available, row.numbers.memory_total);
    or_unknown(available.zip(total).map(|(available, total)| format!("{}/{}", size(available), size(total))))
}

fn heat(row: &Row<'_>) -> String {
    or_unknown(row.numbers.celsius.map(|celsius| format!("{celsius:.1}")))
}

fn throttled(row: &Row<'_>) -> String {
    or_unknown(row.numbers.throttled.map(|is_so| if is_so { "yes" } else { "no" }.to_owned()))
}

fn uptime(row: &Row<'_>) -> String {
    or_unknown(row.numbers.uptime.map(duration))
}

/// Why the node is not better, else why a model is not.
pub fn reason(row: &Row<'_>) -> String {
    let status = row.node.status.iter().flat_map(|status| &status.reasons);
    let models = row.node.models.values().filter_map(|kept| kept.value.reason.as_ref());
    status.chain(models).next().cloned().unwrap_or_default()
}
