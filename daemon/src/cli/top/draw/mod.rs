//! The screen: from what is known and what the operator looks at to what stands in each cell. Pure.

mod curve;
mod node;
mod table;
#[cfg(test)]
mod tests;

use std::time::Instant;

use super::condition::Level;
use super::fleet::{Fleet, Line, NODES_MAX, Row, Summary, summary};
use super::grid::{Grid, Style, Tint, Weight};
use super::view::{Page, View};

/// What stands on every page.
const KEYS: &str = "q quit  ? keys";

/// Screens with fewer lines have no line for the reason, and then no headings.
const WITH_REASON: usize = 8;
const WITH_HEADING: usize = 4;

/// Draws one moment. `notice` is what else the operator has to know.
pub fn draw(fleet: &Fleet, view: &mut View, notice: Option<&str>, now: Instant, size: (u16, u16)) -> Grid {
    let mut grid = Grid::new(size.0, size.1);
    let rows = fleet.rows(now);
    top_line(&mut grid, fleet, &summary(&rows));
    let bottom = grid.height().saturating_sub(1);
    let page = view.page.clone();
    match page {
        Page::List => {
            let rows = view.arrange(rows);
            table::draw(&mut grid, view, &rows);
        }
        Page::Node { name, first } => {
            let first = node::draw(&mut grid, &name, fleet.row(&name, now).as_ref(), first);
            view.page = Page::Node { name, first };
        }
    }
    if bottom > 0 {
        bottom_line(&mut grid, view, notice, bottom);
    }
    grid
}

/// Lines of the list that a screen of this height has.
pub fn list_height(height: usize) -> usize {
    let others = 2 + usize::from(height >= WITH_HEADING) + usize::from(height >= WITH_REASON);
    height.saturating_sub(others)
}

/// How the fleet is, or that nobody knows.
fn top_line(grid: &mut Grid, fleet: &Fleet, summary: &Summary) {
    let end = grid.width();
    if let Line::Down(reason) = fleet.line() {
        let text = format!("NOT CONNECTED, trying again; this is what was known. {}", super::text::plain(reason));
        grid.put(0, 0, end, &text, Style::tinted(Tint::Red).weighing(Weight::Bold));
        return;
    }
    let bold = Style::default().weighing(Weight::Bold);
    let more = if fleet.has_more() { format!(" (more than {NODES_MAX}: the rest is left out)") } else { String::new() };
    let Summary { nodes, online, conditions, tokens_per_s, jobs_running, jobs_waiting } = summary;
    let mut x = grid.put(0, 0, end, &format!("{online}/{nodes} online{more}"), bold);
    let sums = format!("{tokens_per_s:.0} tok/s  jobs {jobs_running}+{jobs_waiting}");
    x = grid.put(x + 2, 0, end, &sums, Style::default());
    for (word, level, count) in conditions {
        x = grid.put(x + 2, 0, end, &format!("{count} {word}"), style(*level));
    }
}

fn bottom_line(grid: &mut Grid, view: &View, notice: Option<&str>, y: usize) {
    let list = view.page == Page::List;
    let text = match (view.typing, notice) {
        (true, _) => format!("/{}_   Enter keeps the filter, Esc removes it", view.filter),
        (false, Some(notice)) => super::text::plain(notice),
        (false, None) if view.help && list => {
            "q quit  ↑↓ PgUp PgDn move  Enter node  / filter  by: s state n name t tokens/s c heat m memory".to_owned()
        }
        (false, None) if view.help => "q quit  Esc list  ↑↓ PgUp PgDn scroll".to_owned(),
        (false, None) if list && view.filter.is_empty() => format!("{KEYS}  by {}", view.sort.as_str()),
        (false, None) if list => format!("{KEYS}  by {}  filter {:?}, Esc removes it", view.sort.as_str(), view.filter),
        (false, None) => format!("{KEYS}  Esc list"),
    };
    let tint = if notice.is_some() { Tint::Yellow } else { Tint::Grey };
    grid.put(0, y, grid.width(), &text, Style::tinted(tint));
}

fn style(level: Level) -> Style {
    Style::tinted(match level {
        Level::Bad => Tint::Red,
        Level::Doubtful => Tint::Yellow,
        Level::Busy => Tint::Cyan,
        Level::Gone => Tint::Grey,
        Level::Good => Tint::Green,
    })
}

/// A row's own style.
fn row_style(row: &Row<'_>) -> Style {
    style(row.condition.level())
}
