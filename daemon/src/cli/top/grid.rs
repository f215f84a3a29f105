//! What is on a terminal's screen, cell by cell; and what has to be sent so that the terminal shows it.

use std::io::{self, Write};

use crossterm::cursor::MoveTo;
use crossterm::queue;
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{Clear, ClearType};
use unicode_width::UnicodeWidthChar;

/// Most columns and most lines that are drawn, whatever a terminal says it has.
const SIDE_MAX: u16 = 1000;

/// Colour of a text, of the terminal's own palette.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tint {
    #[default]
    Plain,
    Red,
    Yellow,
    Green,
    Cyan,
    Grey,
}

/// How a text looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    pub tint: Tint,
    pub weight: Weight,
}

/// How much a text stands out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Weight {
    #[default]
    Normal,
    Bold,
    Reversed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    /// The character; none in the second cell of a wide one.
    glyph: Option<char>,
    style: Style,
}

const BLANK: Cell = Cell { glyph: Some(' '), style: Style { tint: Tint::Plain, weight: Weight::Normal } };

/// A screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    width: usize,
    height: usize,
    cells: Vec<Cell>,
}

impl Style {
    /// In a colour.
    pub fn tinted(tint: Tint) -> Self {
        Self { tint, ..Self::default() }
    }

    /// The same, standing out so.
    pub fn weighing(self, weight: Weight) -> Self {
        Self { weight, ..self }
    }
}

/// How many cells a text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

impl Grid {
    /// An empty screen.
    pub fn new(width: u16, height: u16) -> Self {
        let (width, height) = (usize::from(width.min(SIDE_MAX)), usize::from(height.min(SIDE_MAX)));
        Self { width, height, cells: vec![BLANK; width * height] }
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Lines.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Writes a text, as far as there is room for it before `end`; gives where it has ended. A character without a width
    /// of its own is left out.
    pub fn put(&mut self, x: usize, y: usize, end: usize, text: &str, style: Style) -> usize {
        let end = if y < self.height { end.min(self.width) } else { 0 };
        let mut x = x;
        for c in text.chars() {
            let wide = c.width().unwrap_or(0);
            if wide == 0 {
                continue;
            }
            if x + wide > end {
                break;
            }
            let line = &mut self.cells[y * self.width..][..self.width];
            // A wide character that loses one half loses the other, too.
            if x > 0 && line[x].glyph.is_none() {
                line[x - 1].glyph = Some(' ');
            }
            if let Some(Cell { glyph: glyph @ None, .. }) = line.get_mut(x + wide) {
                *glyph = Some(' ');
            }
            line[x..x + wide].fill(Cell { glyph: None, style });
            line[x].glyph = Some(c);
            x += wide;
        }
        x
    }

    /// Marks all of a line.
    pub fn mark(&mut self, y: usize) {
        let style = Style::default().weighing(Weight::Reversed);
        if y < self.height {
            self.cells[y * self.width..][..self.width].iter_mut().for_each(|cell| cell.style = style);
        }
    }

    /// Sends what is different from what the terminal shows; all of it if that is not known or of another size.
    pub fn show(&self, before: Option<&Self>, out: &mut impl Write) -> io::Result<()> {
        let before = before.filter(|before| (before.width, before.height) == (self.width, self.height));
        if before.is_none() {
            queue!(out, ResetColor, SetAttribute(Attribute::Reset), Clear(ClearType::All))?;
        }
        let blank = vec![BLANK; self.width];
        for y in 0..self.height {
            let line = &self.cells[y * self.width..][..self.width];
            let old = before.map_or(&*blank, |before| &before.cells[y * self.width..][..self.width]);
            let changed = difference(line, old);
            if !changed.is_empty() {
                queue!(out, MoveTo(column(changed.start), column(y)))?;
                show_cells(&line[changed], out)?;
            }
        }
        Ok(())
    }

    /// The lines as text.
    #[cfg(test)]
    pub fn lines(&self) -> Vec<String> {
        let line =
            |cells: &[Cell]| cells.iter().filter_map(|cell| cell.glyph).collect::<String>().trim_end().to_owned();
        (0..self.height).map(|y| line(&self.cells[y * self.width..][..self.width])).collect()
    }

    /// The style of a cell.
    #[cfg(test)]
    pub fn style(&self, x: usize, y: usize) -> Style {
        self.cells[y * self.width + x].style
    }
}

fn column(place: usize) -> u16 {
    u16::try_from(place).unwrap_or(SIDE_MAX)
}

/// From the first to the last cell that is different, with all of the wide characters there.
fn difference(new: &[Cell], old: &[Cell]) -> std::ops::Range<usize> {
    let differs = |place: &usize| new[*place] != old[*place];
    let (Some(first), Some(last)) = ((0..new.len()).find(differs), (0..new.len()).rfind(differs)) else { return 0..0 };
    let begins = |place: &usize| new[*place].glyph.is_some() && old[*place].glyph.is_some();
    let first = (0..=first).rfind(begins).unwrap_or(0);
    let end = (last + 1..new.len()).find(begins).unwrap_or(new.len());
    first..end
}

fn show_cells(cells: &[Cell], out: &mut impl Write) -> io::Result<()> {
    let mut style = None;
    for cell in cells {
        let Some(glyph) = cell.glyph else { continue };
        if style != Some(cell.style) {
            show_style(cell.style, out)?;
            style = Some(cell.style);
        }
        queue!(out, Print(glyph))?;
    }
    queue!(out, SetAttribute(Attribute::Reset))
}

fn show_style(style: Style, out: &mut impl Write) -> io::Result<()> {
    queue!(out, SetAttribute(Attribute::Reset))?;
    match style.weight {
        Weight::Normal => {}
        Weight::Bold => queue!(out, SetAttribute(Attribute::Bold))?,
        Weight::Reversed => queue!(out, SetAttribute(Attribute::Reverse))?,
    }
    let color = match style.tint {
        Tint::Plain => return Ok(()),
        Tint::Red => Color::DarkRed,
        Tint::Yellow => Color::DarkYellow,
        Tint::Green => Color::DarkGreen,
        Tint::Cyan => Color::DarkCyan,
        Tint::Grey => Color::DarkGrey,
    };
    queue!(out, SetForegroundColor(color))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a real terminal shows after these bytes.
    fn terminal(grids: &[&Grid]) -> (String, usize) {
        let size = |side: usize| u16::try_from(side).unwrap().try_into().unwrap();
        let mut parser = vt100::Parser::new(size(grids[0].height), size(grids[0].width), 0);
        let (mut before, mut last) = (None, 0);
        for grid in grids {
            let mut bytes = Vec::new();
            grid.show(before, &mut bytes).unwrap();
            parser.process(&bytes);
            (before, last) = (Some(*grid), bytes.len());
        }
        (parser.screen().contents(), last)
    }

    #[test]
    fn a_terminal_shows_what_is_in_the_grid_and_gets_only_what_is_new() {
        let mut first = Grid::new(20, 3);
        assert_eq!(first.put(2, 0, 20, "漢字 a", Style::tinted(Tint::Red)), 8);
        first.put(0, 2, 20, "bottom", Style::default());
        first.mark(2);
        let mut second = first.clone();
        second.put(3, 0, 20, "x", Style::default());
        second.put(0, 2, 20, "button", Style::default().weighing(Weight::Reversed));
        assert_eq!(terminal(&[&first]).0.trim_end(), "  漢字 a\n\nbottom");
        let (shown, bytes) = terminal(&[&first, &second]);
        // The wide character lost its second half.
        assert!(shown.trim_end().ends_with("字 a\n\nbutton"), "{shown}");
        assert!(bytes < 80, "{bytes} bytes");
        assert_eq!(terminal(&[&second, &second]).1, 0);
    }

    #[test]
    fn nothing_is_written_outside_or_without_a_width() {
        let mut grid = Grid::new(4, 1);
        assert_eq!(grid.put(0, 0, 3, "abcdef", Style::default()), 3);
        assert_eq!(grid.put(3, 0, 4, "漢", Style::default()), 3, "half of it has no room");
        assert_eq!(grid.put(9, 0, 20, "x", Style::default()), 9);
        assert_eq!(grid.put(0, 7, 20, "x", Style::default()), 0);
        assert_eq!(grid.put(0, 0, 4, "\u{1b}\u{301}\u{200b}Q", Style::default()), 1);
        assert_eq!(grid.lines(), ["Qbc"]);
        let mut none = Grid::new(0, 0);
        none.put(0, 0, 1, "x", Style::default());
        none.mark(0);
        none.show(None, &mut Vec::new()).unwrap();
    }
}
