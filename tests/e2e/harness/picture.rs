//! A picture of a terminal's screen.

use std::fmt::Write;

/// Size of a cell in pixels.
const CELL: (usize, usize) = (8, 17);

const MARGIN: usize = 10;
const PAPER: &str = "#1b1f24";
const INK: &str = "#d5dae0";

/// The terminal's palette, as far as promptd uses it: black, red, green, yellow, blue, magenta, cyan, white, grey.
const COLOURS: [&str; 9] =
    ["#1b1f24", "#ff6b68", "#62c073", "#e5b84b", "#6ca4f8", "#c586d9", "#4fc1d0", "#d5dae0", "#8b949e"];

/// The screen as SVG.
pub fn svg(screen: &vt100::Screen) -> String {
    let (lines, columns) = screen.size();
    let (lines, columns) = (lines.get(), columns.get());
    let (width, height) = (usize::from(columns) * CELL.0 + 2 * MARGIN, usize::from(lines) * CELL.1 + 2 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"ui-monospace, 'DejaVu \
         Sans Mono', Menlo, Consolas, monospace\" font-size=\"13\">\n<rect width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"{PAPER}\"/>\n"
    );
    for line in 0..lines {
        let mut column = 0;
        while column < columns {
            let end = (column + 1..columns).find(|next| look(screen, line, *next) != look(screen, line, column));
            let end = end.unwrap_or(columns);
            run(&mut svg, screen, line, column..end);
            column = end;
        }
    }
    svg + "</svg>\n"
}

type Look = (vt100::Color, bool, bool);

fn look(screen: &vt100::Screen, line: u16, column: u16) -> Option<Look> {
    screen.cell(line, column).map(|cell| (cell.fgcolor(), cell.bold(), cell.inverse()))
}

/// Neighbours that look the same.
fn run(svg: &mut String, screen: &vt100::Screen, line: u16, columns: std::ops::Range<u16>) {
    let Some((colour, bold, inverse)) = look(screen, line, columns.start) else { return };
    let cells = columns.clone().filter_map(|column| screen.cell(line, column));
    let text: String = cells.map(|cell| if cell.has_contents() { cell.contents() } else { " " }).collect();
    let (x, y) = (MARGIN + usize::from(columns.start) * CELL.0, MARGIN + usize::from(line) * CELL.1);
    let colour = match colour {
        vt100::Color::Idx(index) => COLOURS.get(usize::from(index)).copied().unwrap_or(INK),
        _ => INK,
    };
    let wide = columns.len() * CELL.0;
    if inverse {
        writeln!(svg, "<rect x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{}\" fill=\"{colour}\"/>", CELL.1).unwrap();
    }
    if text.trim().is_empty() {
        return;
    }
    let ink = if inverse { PAPER } else { colour };
    let weight = if bold { " font-weight=\"bold\"" } else { "" };
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let baseline = y + CELL.1 - 5;
    writeln!(
        svg,
        "<text x=\"{x}\" y=\"{baseline}\" textLength=\"{wide}\" fill=\"{ink}\"{weight} xml:space=\"preserve\">{text}</text>"
    )
    .unwrap();
}
