//! Which message makes the broker end connections.
//!
//! A broker closes the connection over a message that it does not like. Sent again after each reconnect, such a message
//! would take the node down for ever. So what was in flight when a broker ended the connection is sent again one by
//! one, and what was alone in flight too often is dropped.

use super::fault::Blame;

/// A message is guilty with so many points: 3 each time that the broker said that something was wrong, 2 each time that
/// it only closed the connection, which has other causes too.
const POINTS_MAX: u8 = 6;

/// What speaks against one message.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Suspicion {
    suspect: bool,
    points: u8,
}

impl Suspicion {
    /// Whether it has to be alone in flight.
    pub fn is_suspect(self) -> bool {
        self.suspect
    }

    pub fn is_guilty(self) -> bool {
        self.points >= POINTS_MAX
    }

    /// A connection ended while it was in flight, `alone` or not.
    pub fn add(&mut self, blame: Blame, alone: bool) {
        let points = match blame {
            Blame::None => return,
            Blame::Perhaps => 2,
            Blame::Certain => 3,
        };
        self.suspect = true;
        if alone {
            self.points += points;
        }
    }
}
