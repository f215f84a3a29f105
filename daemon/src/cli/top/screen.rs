//! The terminal: its keys, its size, and that it is left as it was found.

use std::io::{self, Write, stdout};
use std::panic;
use std::pin::pin;
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, Show};
use crossterm::event::{Event, EventStream, KeyEvent};
use crossterm::execute;
use crossterm::terminal::{self, EnterAlternateScreen, LeaveAlternateScreen};
use futures_util::StreamExt;
use promptd::job::NodeName;
use tokio::time::sleep_until;

use super::draw::{draw, list_height};
use super::feed::{Feed, FeedEvent};
use super::fleet::Fleet;
use super::grid::Grid;
use super::view::{Step, View};
use crate::cli::signals;

/// Shortest time between two pictures of what nodes tell. Keys are answered at once.
const PICTURE_MIN: Duration = Duration::from_millis(250);

/// Longest time between two pictures: nodes become silent while nothing comes.
const PICTURE_MAX: Duration = Duration::from_secs(1);

/// Most events that are taken before keys have their turn again.
const BATCH_MAX: usize = 256;

/// Shows what comes until the operator has seen enough.
pub async fn run(mut feed: Feed, node: Option<NodeName>) -> io::Result<()> {
    let mut ended = pin!(signals::any());
    let mut screen = Screen::enter()?;
    let mut keys = EventStream::new();
    let mut shown = Shown::new(node);
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut due = tokio::time::Instant::now();
    loop {
        tokio::select! {
            biased;
            end = &mut ended => return end,
            event = keys.next() => match event {
                Some(Ok(Event::Key(key))) => {
                    if shown.key(key, screen.size) == Step::Quit {
                        return Ok(());
                    }
                    due = tokio::time::Instant::now();
                }
                Some(Ok(Event::Resize(width, height))) => {
                    screen.size = (width, height);
                    due = tokio::time::Instant::now();
                }
                Some(Ok(_)) => {}
                Some(Err(e)) => return Err(e),
                // The terminal is gone.
                None => return Ok(()),
            },
            () = sleep_until(due) => {
                screen.show(shown.draw(screen.size))?;
                feed.watch(shown.watch());
                due = tokio::time::Instant::now() + PICTURE_MAX;
            }
            count = feed.events.recv_many(&mut batch, BATCH_MAX) => {
                if count == 0 {
                    return Ok(());
                }
                batch.drain(..).for_each(|event| shown.take(event));
                due = due.min(screen.last + PICTURE_MIN);
            }
        }
    }
}

/// What is known, and what of it is looked at.
struct Shown {
    fleet: Fleet,
    view: View,
    /// What the broker refuses.
    notice: Option<String>,
    watched: Option<NodeName>,
}

impl Shown {
    fn new(node: Option<NodeName>) -> Self {
        Self { fleet: Fleet::new(Instant::now()), view: View::new(node), notice: None, watched: None }
    }

    fn take(&mut self, event: FeedEvent) {
        match event {
            FeedEvent::Refused { filter, reason } => {
                self.notice = Some(format!("the broker refuses {filter}: {reason}"));
            }
            FeedEvent::Up => {
                self.notice = None;
                self.fleet.connected(Instant::now());
            }
            event => event.tell(&mut self.fleet, Instant::now()),
        }
    }

    fn key(&mut self, key: KeyEvent, size: (u16, u16)) -> Step {
        let rows = self.view.arrange(self.fleet.rows(Instant::now()));
        self.view.key(key, &rows, list_height(size.1.into()))
    }

    fn draw(&mut self, size: (u16, u16)) -> Grid {
        draw(&self.fleet, &mut self.view, self.notice.as_deref(), Instant::now(), size)
    }

    /// The node whose sensors are looked at. Those of the last one are forgotten: they would be told no longer.
    fn watch(&mut self) -> Option<&NodeName> {
        let watched = self.view.watched();
        if let Some(old) = self.watched.take_if(|old| Some(&*old) != watched) {
            self.fleet.forget_health(&old);
        }
        self.watched = watched.cloned();
        self.watched.as_ref()
    }
}

/// The terminal while it is ours.
struct Screen {
    size: (u16, u16),
    grid: Option<Grid>,
    last: tokio::time::Instant,
}

impl Screen {
    /// From now on a panic, too, gives the terminal back before it tells anything.
    fn enter() -> io::Result<Self> {
        let size = terminal::size()?;
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            leave();
            hook(panic);
        }));
        terminal::enable_raw_mode()?;
        let screen = Self { size, grid: None, last: tokio::time::Instant::now() };
        execute!(stdout(), EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    fn show(&mut self, grid: Grid) -> io::Result<()> {
        let mut bytes = Vec::new();
        grid.show(self.grid.as_ref(), &mut bytes)?;
        let mut out = stdout().lock();
        out.write_all(&bytes)?;
        out.flush()?;
        self.grid = Some(grid);
        self.last = tokio::time::Instant::now();
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Whatever fails here, there is nobody who could be told.
fn leave() {
    let _ = execute!(stdout(), Show, LeaveAlternateScreen);
    let _ = terminal::disable_raw_mode();
}
