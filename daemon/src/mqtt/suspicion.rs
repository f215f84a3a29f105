//! Which message makes the broker end connections.
//!
//! A broker closes the connection over a message that it does not like. Sent again after each reconnect, such a message
//! would take the node down for ever. So what was in flight when a broker ended the connection is sent again one by
//! one, without deltas in between, and what was in flight then too often is dropped.

use super::fault::Blame;

/// A message is guilty with so many points: 3 each time that the broker said that something was wrong, 2 each time that
/// it only closed the connection, which has other causes too.
const POINTS_MAX: u8 = 6;

/// Whether a suspect is in flight, with nothing else sent since it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Trial {
    Yes,
    #[default]
    No,
}

impl Trial {
    pub fn of(suspicion: Suspicion) -> Self {
        if suspicion.suspect { Self::Yes } else { Self::No }
    }
}

/// What speaks against one message.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Suspicion {
    suspect: bool,
    points: u8,
    /// Which part of it was in flight last, of those that go out in parts.
    part: u16,
}

impl Suspicion {
    pub fn is_guilty(self) -> bool {
        self.points >= POINTS_MAX
    }

    /// A connection ended while it was in flight, on trial or among others. `part` is 0 of what goes out whole. Where earlier parts
    /// were taken, the broker likes the topic and what each begins with: so another part than the last time is no proof.
    pub fn add(&mut self, blame: Blame, trial: Trial, part: u16) {
        let points = match blame {
            Blame::None => return,
            Blame::Perhaps => 2,
            Blame::Certain => 3,
        };
        self.suspect = true;
        if trial == Trial::Yes && (part == 0 || part == self.part) {
            self.points += points;
        }
        self.part = part;
    }
}
