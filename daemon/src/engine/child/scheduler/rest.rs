//! Rests between steps: the machine is too hot for more.

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use super::Scheduler;
use crate::engine::child::link::IDLE_TURN;
use crate::engine::protocol::Phase;

impl Scheduler {
    /// Rests after work of this length for as long as the duty wants, or until there are no jobs. What comes in meanwhile is
    /// dealt with at once, and heartbeats tell of turns, so that a pause is no stall.
    pub(super) fn rest(&mut self, worked: Duration) {
        let begin = Instant::now();
        while self.slots.iter().any(Option::is_some) {
            let left = match self.duty.rest_after(worked) {
                Some(rest) => rest.saturating_sub(begin.elapsed()),
                None => IDLE_TURN,
            };
            if left.is_zero() {
                return;
            }
            self.link.shared.enter(Phase::Resting);
            match self.link.inbox.recv_timeout(left.min(IDLE_TURN)) {
                Ok(message) => self.handle(message),
                Err(RecvTimeoutError::Timeout) => {}
                // The daemon is gone, and this process as good as that.
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}
