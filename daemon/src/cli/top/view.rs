//! What the operator looks at: order, filter, cursor, page. Pure; keys change it.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use promptd::job::NodeName;

use super::fleet::Row;

/// Longest filter: the longest name.
const FILTER_MAX: usize = 64;

/// By what nodes are in order. Within the same they are by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// The worst state first.
    #[default]
    State,
    /// The name.
    Name,
    /// The most tokens a second first.
    Tokens,
    /// The hottest first.
    Heat,
    /// The least memory left first, as a share.
    Memory,
}

/// What fills the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// All nodes.
    List,
    /// One node, from this line on.
    Node { name: NodeName, first: usize },
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Stay,
    Quit,
}

/// What the operator looks at.
#[derive(Debug)]
pub struct View {
    pub sort: Sort,
    pub filter: String,
    /// The filter is being typed.
    pub typing: bool,
    pub help: bool,
    pub page: Page,
    /// The node under the cursor, and where it was last: if it goes, the cursor stays there.
    cursor: Option<NodeName>,
    place: usize,
    /// The first node of the list that is shown.
    first: usize,
}

impl View {
    /// The list, or one node.
    pub fn new(node: Option<NodeName>) -> Self {
        Self {
            sort: Sort::default(),
            filter: String::new(),
            typing: false,
            help: false,
            page: node.map_or(Page::List, |name| Page::Node { name, first: 0 }),
            cursor: None,
            place: 0,
            first: 0,
        }
    }

    /// The rows that match the filter, in order.
    pub fn arrange<'a>(&self, mut rows: Vec<Row<'a>>) -> Vec<Row<'a>> {
        let wanted = self.filter.to_lowercase();
        rows.retain(|row| row.name.as_str().to_lowercase().contains(&wanted));
        // They come by name, and a stable sort keeps that. What is not known comes last.
        let highest = |number: Option<f64>| number.map_or(f64::INFINITY, |number| -number);
        match self.sort {
            Sort::Name => {}
            Sort::State => rows.sort_by_key(|row| row.condition.rank()),
            Sort::Tokens => sort_by(&mut rows, |row| highest(row.numbers.tokens_per_s)),
            Sort::Heat => sort_by(&mut rows, |row| highest(row.numbers.celsius)),
            Sort::Memory => sort_by(&mut rows, |row| row.numbers.memory_share().unwrap_or(f64::INFINITY)),
        }
        rows
    }

    /// Puts the cursor on a row, where it was, and the window around it; gives the first row that is shown, and the
    /// cursor's. `height` rows are shown.
    pub fn settle(&mut self, rows: &[Row<'_>], height: usize) -> (usize, usize) {
        let found = rows.iter().position(|row| Some(row.name) == self.cursor.as_ref());
        self.place = found.unwrap_or(self.place).min(rows.len().saturating_sub(1));
        // At the top it stays at the top: there the worst stands, whoever that is.
        if let Some(row) = rows.get(self.place).filter(|_| self.place > 0) {
            self.cursor = Some(row.name.clone());
        }
        let height = height.max(1);
        let last_first = rows.len().saturating_sub(height);
        let around = (self.place + 1).saturating_sub(height)..=self.place;
        self.first = self.first.clamp(*around.start(), *around.end()).min(last_first);
        (self.first, self.place)
    }

    /// The node whose sensors are to be told.
    pub fn watched(&self) -> Option<&NodeName> {
        if let Page::Node { name, .. } = &self.page { Some(name) } else { None }
    }

    /// A key was pressed. `rows` are those of the list, `height` of them are shown.
    pub fn key(&mut self, key: KeyEvent, rows: &[Row<'_>], height: usize) -> Step {
        if key.kind == KeyEventKind::Release {
            return Step::Stay;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if matches!(key.code, KeyCode::Char('c' | 'd')) { Step::Quit } else { Step::Stay };
        }
        if self.typing {
            self.type_filter(key.code);
            return Step::Stay;
        }
        match key.code {
            KeyCode::Char('q') => return Step::Quit,
            KeyCode::Esc => return self.escape(),
            KeyCode::Char('?') => self.help = !self.help,
            code => self.go(code, rows, height),
        }
        Step::Stay
    }

    /// Back, step by step.
    fn escape(&mut self) -> Step {
        if self.watched().is_some() {
            self.page = Page::List;
        } else if self.help {
            self.help = false;
        } else if self.filter.is_empty() {
            return Step::Quit;
        } else {
            self.filter.clear();
        }
        Step::Stay
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => _ = self.filter.pop(),
            KeyCode::Char(c) if c.is_ascii_graphic() && self.filter.len() < FILTER_MAX => self.filter.push(c),
            _ => {}
        }
    }

    fn go(&mut self, code: KeyCode, rows: &[Row<'_>], height: usize) {
        let page = height.max(1);
        let place = if let Page::Node { first, .. } = &mut self.page { first } else { &mut self.place };
        let before = *place;
        match code {
            KeyCode::Up | KeyCode::Char('k') => *place = before.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => *place = before.saturating_add(1),
            KeyCode::PageUp => *place = before.saturating_sub(page),
            KeyCode::PageDown => *place = before.saturating_add(page),
            KeyCode::Home => *place = 0,
            KeyCode::End => *place = usize::MAX,
            KeyCode::Enter | KeyCode::Right => return self.open(rows),
            KeyCode::Left => return self.page = Page::List,
            KeyCode::Char(c) => return self.choose(c),
            _ => return,
        }
        if self.page == Page::List {
            self.place = self.place.min(rows.len().saturating_sub(1));
            self.cursor = rows.get(self.place).map(|row| row.name.clone()).filter(|_| self.place > 0);
        }
    }

    fn open(&mut self, rows: &[Row<'_>]) {
        if let (Page::List, Some(row)) = (&self.page, rows.get(self.place)) {
            self.cursor = Some(row.name.clone());
            self.page = Page::Node { name: row.name.clone(), first: 0 };
        }
    }

    fn choose(&mut self, key: char) {
        if self.page != Page::List {
            return;
        }
        match key {
            's' => self.sort = Sort::State,
            'n' => self.sort = Sort::Name,
            't' => self.sort = Sort::Tokens,
            'c' => self.sort = Sort::Heat,
            'm' => self.sort = Sort::Memory,
            '/' => self.typing = true,
            _ => {}
        }
    }
}

impl Sort {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Name => "name",
            Self::Tokens => "tokens/s",
            Self::Heat => "heat",
            Self::Memory => "memory left",
        }
    }
}

fn sort_by(rows: &mut [Row<'_>], key: impl Fn(&Row<'_>) -> f64) {
    rows.sort_by(|a, b| key(a).total_cmp(&key(b)));
}
