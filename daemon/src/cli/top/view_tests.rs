//! Keys, and what the operator then looks at.

use std::time::Instant;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use promptd::mqtt::NodeTopic;

use super::example::{fleet, tell};
use super::fleet::Fleet;
use super::view::{Page, Sort, Step, View};

const HEIGHT: usize = 3;

/// An operator at a fleet.
struct Desk {
    fleet: Fleet,
    view: View,
    now: Instant,
}

impl Desk {
    fn new() -> Self {
        let now = Instant::now();
        Self { fleet: fleet(now), view: View::new(None), now }
    }

    fn press(&mut self, code: KeyCode) -> Step {
        let rows = self.view.arrange(self.fleet.rows(self.now));
        self.view.settle(&rows, HEIGHT);
        self.view.key(KeyEvent::new(code, KeyModifiers::NONE), &rows, HEIGHT)
    }

    fn write(&mut self, text: &str) {
        for c in text.chars() {
            assert_eq!(self.press(KeyCode::Char(c)), Step::Stay);
        }
    }

    fn names(&self) -> Vec<String> {
        self.view.arrange(self.fleet.rows(self.now)).iter().map(|row| row.name.to_string()).collect()
    }

    /// The node under the cursor, and the first that is shown.
    fn cursor(&mut self) -> (String, String) {
        let rows = self.view.arrange(self.fleet.rows(self.now));
        let (first, cursor) = self.view.settle(&rows, HEIGHT);
        (rows[cursor].name.to_string(), rows[first].name.to_string())
    }
}

#[test]
fn each_order_has_its_key_and_the_unknown_comes_last() {
    let mut desk = Desk::new();
    assert_eq!(desk.names(), ["dead", "hot", "mute", "ready"], "the worst first");
    for (key, sort, expected) in [
        ('n', Sort::Name, ["dead", "hot", "mute", "ready"]),
        ('t', Sort::Tokens, ["ready", "hot", "dead", "mute"]),
        ('c', Sort::Heat, ["hot", "ready", "dead", "mute"]),
        ('m', Sort::Memory, ["ready", "hot", "dead", "mute"]),
        ('s', Sort::State, ["dead", "hot", "mute", "ready"]),
    ] {
        desk.press(KeyCode::Char(key));
        assert_eq!((desk.view.sort, desk.names()), (sort, expected.map(str::to_owned).to_vec()));
    }
}

#[test]
fn the_cursor_stays_with_its_node_and_the_window_with_the_cursor() {
    let mut desk = Desk::new();
    let at = |cursor: &str, first: &str| (cursor.to_owned(), first.to_owned());
    desk.press(KeyCode::Up);
    assert_eq!(desk.cursor(), at("dead", "dead"));
    desk.press(KeyCode::End);
    assert_eq!(desk.cursor(), at("ready", "hot"));
    desk.press(KeyCode::Char('t'));
    assert_eq!(desk.cursor(), at("ready", "ready"), "now it is the first");
    desk.press(KeyCode::Char('s'));
    assert_eq!(desk.cursor(), at("ready", "hot"));
    // It goes; the cursor stays where it was.
    for topic in [NodeTopic::Availability, NodeTopic::Status] {
        tell(&mut desk.fleet, "ready", topic, "", desk.now);
    }
    assert_eq!(desk.cursor(), at("mute", "dead"));
    desk.press(KeyCode::PageUp);
    assert_eq!(desk.cursor(), at("dead", "dead"));
    // Whoever becomes the worst is under a cursor at the top.
    tell(&mut desk.fleet, "abc", NodeTopic::Availability, "offline", desk.now);
    assert_eq!(desk.cursor(), at("abc", "abc"));
    desk.fleet = Fleet::new(desk.now);
    for code in [KeyCode::Down, KeyCode::Enter, KeyCode::End, KeyCode::PageDown] {
        assert_eq!(desk.press(code), Step::Stay);
    }
    assert_eq!(desk.view.page, Page::List, "there is no node to open");
}

#[test]
fn a_filter_is_typed_and_removed() {
    let mut desk = Desk::new();
    desk.write("/EAq");
    assert_eq!(desk.names(), [""; 0], "q is a letter while it is typed");
    desk.press(KeyCode::Backspace);
    assert_eq!(desk.names(), ["dead", "ready"]);
    desk.press(KeyCode::Enter);
    desk.write("t");
    assert_eq!(desk.names(), ["ready", "dead"], "keys are keys again");
    assert_eq!(desk.press(KeyCode::Esc), Step::Stay);
    assert_eq!(desk.names().len(), 4);
    desk.write("/ready");
    desk.press(KeyCode::Esc);
    assert_eq!((desk.names().len(), desk.view.typing), (4, false));
    desk.write(&format!("/{}", "x".repeat(1000)));
    assert_eq!(desk.view.filter.len(), 64);
}

#[test]
fn a_node_is_opened_and_left_and_then_the_program() {
    let mut desk = Desk::new();
    desk.press(KeyCode::Down);
    desk.press(KeyCode::Enter);
    assert_eq!(desk.view.watched().map(ToString::to_string).as_deref(), Some("hot"));
    desk.press(KeyCode::PageDown);
    assert!(matches!(desk.view.page, Page::Node { first: HEIGHT, .. }));
    desk.write("t/");
    assert!(!desk.view.typing && desk.view.sort == Sort::State, "those keys are for the list");
    assert_eq!(desk.press(KeyCode::Esc), Step::Stay);
    assert_eq!(desk.view.watched(), None);
    assert_eq!(desk.cursor().0, "hot");
    desk.write("?");
    assert_eq!((desk.press(KeyCode::Esc), desk.view.help), (Step::Stay, false));
    assert_eq!(desk.press(KeyCode::Esc), Step::Quit);
    assert_eq!(desk.press(KeyCode::Char('q')), Step::Quit);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(desk.view.key(control_c, &[], 0), Step::Quit);
    let released = KeyEvent { kind: KeyEventKind::Release, ..control_c };
    assert_eq!(desk.view.key(released, &[], 0), Step::Stay);
}
