//! The table of nodes.

use super::super::columns::{COLUMNS, Column, reason};
use super::super::fleet::Row;
use super::super::grid::{Grid, Style, Tint, Weight, width};
use super::super::view::View;
use super::{WITH_HEADING, WITH_REASON, list_height, row_style};

/// Cells between two columns.
const GAP: usize = 1;

/// Least cells for a column that takes what is left.
const REST_MIN: usize = 16;

/// A column and its cells on this screen.
struct Placed {
    column: &'static Column,
    x: usize,
    end: usize,
}

/// Draws between the first and the last line.
pub fn draw(grid: &mut Grid, view: &mut View, rows: &[Row<'_>]) {
    let heading = grid.height() >= WITH_HEADING;
    let height = list_height(grid.height());
    let (first, cursor) = view.settle(rows, height);
    let columns = place(grid.width());
    let top = 1 + usize::from(heading);
    if heading {
        let style = Style::tinted(Tint::Grey).weighing(Weight::Bold);
        for placed in &columns {
            put(grid, placed, 1, placed.column.title, style);
        }
    }
    for (place, row) in rows.iter().enumerate().skip(first).take(height) {
        let y = top + place - first;
        for placed in &columns {
            let coloured = placed.column.title == "STATE" || !row.condition.is_live();
            let style = if coloured { row_style(row) } else { Style::default() };
            put(grid, placed, y, &(placed.column.cell)(row), style);
        }
        if place == cursor {
            grid.mark(y);
        }
    }
    if let Some(row) = rows.get(cursor).filter(|_| grid.height() >= WITH_REASON) {
        let y = grid.height() - 2;
        let x = grid.put(0, y, grid.width(), row.name.as_str(), Style::default().weighing(Weight::Bold));
        grid.put(x + 1, y, grid.width(), &reason(row), row_style(row));
    }
}

/// The columns that this width has room for; the last takes the rest.
fn place(width: usize) -> Vec<Placed> {
    let mut by_order: Vec<&'static Column> = COLUMNS.iter().collect();
    by_order.sort_by_key(|column| column.order);
    let mut left = width;
    let mut chosen = Vec::new();
    for column in by_order {
        let needed = if column.width == 0 { REST_MIN } else { column.width } + GAP;
        // A screen that has not even room for the first one shows what it can of it.
        if needed > left && !chosen.is_empty() {
            break;
        }
        left = left.saturating_sub(needed);
        chosen.push(column.order);
    }
    let mut x = 0;
    let chosen = COLUMNS.iter().filter(|column| chosen.contains(&column.order));
    let placed = chosen.map(|column| {
        let start = x;
        let end = if column.width == 0 { width } else { start + column.width };
        x = end + GAP;
        Placed { column, x: start, end }
    });
    placed.collect()
}

fn put(grid: &mut Grid, placed: &Placed, y: usize, text: &str, style: Style) {
    let room = placed.end - placed.x;
    let x = if placed.column.right { placed.end - width(text).min(room) } else { placed.x };
    if width(text) > room && room > 1 {
        let x = grid.put(x, y, placed.end - 1, text, style);
        grid.put(x, y, placed.end, "…", style);
    } else {
        grid.put(x, y, placed.end, text, style);
    }
}
