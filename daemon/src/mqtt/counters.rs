//! What the link has done so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start of the link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages received.
    pub received: u64,
    /// Of these, messages that the broker marked as sent again.
    pub redelivered: u64,
    /// Messages received at QoS 0 and dropped, because the driver was behind.
    pub dropped_qos0: u64,
    /// Messages received at QoS 1 and left to the broker to send again, because it sent more than it was told.
    pub deferred: u64,
    /// Messages at QoS 1 that the broker has taken, retained documents included.
    pub published: u64,
    /// Of these, how many had no subscriber. Retained documents do not count.
    pub undelivered: u64,
    /// Messages at QoS 1 that the broker refused or would have refused. They are dropped.
    pub refused: u64,
    /// Messages at QoS 0 that were not sent.
    pub dropped_transients: u64,
    /// Connections after the first.
    pub reconnects: u64,
}

macro_rules! tallies {
    ($($field:ident),*) => {
        /// [`Counters`] while they count.
        #[derive(Debug, Default)]
        pub(super) struct Tallies {
            $(pub $field: Tally,)*
        }

        impl Tallies {
            pub fn read(&self) -> Counters {
                Counters { $($field: self.$field.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

tallies!(
    received,
    redelivered,
    dropped_qos0,
    deferred,
    published,
    undelivered,
    refused,
    dropped_transients,
    reconnects
);

/// One of them.
#[derive(Debug, Default)]
pub(super) struct Tally(AtomicU64);

impl Tally {
    pub fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub fn one(&self) {
        self.add(1);
    }
}
