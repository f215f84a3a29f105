//! The driver's side of the link.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::counters::Tallies;
use super::message::AckToken;
use super::outbox::{Outbox, fits};
use super::{Counters, LinkConfig, Publication, ShutdownEnd};

/// Most QoS 0 messages on their way out: a slow connection loses deltas, not memory.
const TRANSIENTS_MAX: usize = 256;

/// Gives messages to the link. Cheap to clone.
#[derive(Clone)]
pub struct LinkHandle {
    shared: Arc<Shared>,
}

/// A place in the outbox for one message that must not be lost. Dropped without a message, the place is free again.
#[must_use = "a slot is taken until it is used or dropped"]
pub struct Slot {
    permit: OwnedSemaphorePermit,
    shared: Arc<Shared>,
}

/// What the handles and the link have in common.
pub(super) struct Shared {
    pub tallies: Tallies,
    /// Something in `state` changed.
    pub wake: Notify,
    pub connected: AtomicBool,
    /// 0: the broker names no maximum.
    pub packet_max: AtomicU32,
    outbox_max: AtomicUsize,
    slots: Arc<Semaphore>,
    transients: Arc<Semaphore>,
    state: Mutex<State>,
}

/// Held for moments only, never across an await.
#[derive(Default)]
pub(super) struct State {
    pub outbox: Outbox,
    /// The current connection.
    pub epoch: u64,
    /// Tokens given back: no more than the broker sends ahead, because older ones are not taken.
    pub acks: Vec<AckToken>,
    pub closing: Option<Closing>,
    /// A new connection is wanted.
    pub renew: bool,
    /// With what the connection is to be made anew.
    pub renewal: Option<LinkConfig>,
    /// The link has ended.
    pub ended: bool,
}

/// A shutdown that is under way.
pub(super) struct Closing {
    pub deadline: Instant,
    pub done: oneshot::Sender<ShutdownEnd>,
}

impl Shared {
    pub fn new(outbox_max: usize) -> Self {
        let outbox_max = outbox_max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            outbox_max: AtomicUsize::new(outbox_max),
            tallies: Tallies::default(),
            wake: Notify::new(),
            connected: AtomicBool::new(false),
            packet_max: AtomicU32::new(0),
            slots: Arc::new(Semaphore::new(outbox_max)),
            transients: Arc::new(Semaphore::new(TRANSIENTS_MAX)),
            state: Mutex::default(),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock leaves it half changed when it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn packet_max(&self) -> Option<u32> {
        Some(self.packet_max.load(Ordering::Relaxed)).filter(|max| *max > 0)
    }
}

impl LinkHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// A place in the outbox, if there is one.
    pub fn try_reserve(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.shared.slots).try_acquire_owned().ok()?;
        Some(Slot { permit, shared: Arc::clone(&self.shared) })
    }

    /// A place in the outbox, when there is one. May be cancelled.
    pub async fn reserve(&self) -> Slot {
        loop {
            // The semaphore is never closed, so that this never waits for ever on an error.
            if let Ok(permit) = Arc::clone(&self.shared.slots).acquire_owned().await {
                return Slot { permit, shared: Arc::clone(&self.shared) };
            }
        }
    }

    /// Publishes at QoS 0, in order with what is published through slots. False: it was dropped, because there is no
    /// connection, no room, or the broker would not take it.
    pub fn publish_transient(&self, publication: Publication) -> bool {
        let permit = (self.is_connected() && fits(&publication, self.shared.packet_max()))
            .then(|| Arc::clone(&self.shared.transients).try_acquire_owned().ok())
            .flatten();
        let Some(permit) = permit else {
            self.shared.tallies.dropped_transients.one();
            return false;
        };
        self.shared.state().outbox.push_transient(publication, permit);
        self.shared.wake.notify_one();
        true
    }

    /// Publishes a retained document now if it changed, and after every connect. The last payload for a topic wins; an
    /// empty one removes the document from the broker. Each topic stays in memory: the caller bounds their number.
    pub fn set_retained(&self, topic: impl Into<String>, payload: impl Into<Bytes>) {
        self.shared.state().outbox.set_retained(topic.into(), payload.into());
        self.shared.wake.notify_one();
    }

    /// Acknowledges a message to the broker. It is sent when all messages received before are acknowledged too.
    pub fn ack(&self, token: AckToken) {
        let mut state = self.shared.state();
        if token.epoch == state.epoch {
            state.acks.push(token);
            drop(state);
            self.shared.wake.notify_one();
        }
    }

    /// Messages at QoS 1 that the broker has not taken yet, and places that are reserved for one.
    pub fn outbox_len(&self) -> usize {
        self.shared.outbox_max.load(Ordering::Relaxed).saturating_sub(self.shared.slots.available_permits())
    }

    /// Gives the outbox so many places, if it has fewer. Places that are there stay.
    pub fn grow_outbox(&self, places: usize) {
        let places = places.min(Semaphore::MAX_PERMITS);
        let before = self.shared.outbox_max.fetch_max(places, Ordering::Relaxed);
        self.shared.slots.add_permits(places.saturating_sub(before));
    }

    /// Makes the connection anew, with other settings. Nothing that waits is lost: what this broker has on its way to us or
    /// from us is brought to its end first, for a few seconds at the most, and the outbox goes on with the next one. The same
    /// broker sees a clean good-bye, so that the will stays silent, and keeps the session; one that is left for good
    /// publishes the will. The outbox keeps its size.
    pub fn reconnect(&self, config: LinkConfig) {
        self.shared.state().renewal = Some(config);
        self.shared.wake.notify_one();
    }

    /// Whether the broker can be reached and all subscriptions have been answered.
    pub fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::Relaxed)
    }

    /// The largest packet that the broker takes, as it said at the last connect; none if it named no limit.
    /// Compare with [`Publication::packet_size`].
    pub fn broker_packet_max(&self) -> Option<u32> {
        self.shared.packet_max()
    }

    /// What the link has done so far.
    pub fn counters(&self) -> Counters {
        self.shared.tallies.read()
    }

    /// Makes a new connection when all that is under way has been acknowledged, to ask the broker once more for what it
    /// has refused. Without a connection one is tried now.
    pub fn renew(&self) {
        self.shared.state().renew = true;
        self.shared.wake.notify_one();
    }

    /// Publishes what waits, then the last retained documents, waits for every PUBACK, withdraws the will and
    /// disconnects. After `limit` the connection is cut instead, so that the will speaks. The link ends with it.
    pub async fn shutdown(&self, last: Vec<(String, Bytes)>, limit: Duration) -> ShutdownEnd {
        let (done, ended) = oneshot::channel();
        {
            let mut state = self.shared.state();
            if state.ended || state.closing.is_some() {
                return ShutdownEnd::NotConnected;
            }
            for (topic, payload) in last {
                state.outbox.set_retained(topic, payload);
            }
            state.closing = Some(Closing { deadline: Instant::now() + limit, done });
        }
        self.shared.wake.notify_one();
        ended.await.unwrap_or(ShutdownEnd::NotConnected)
    }
}

impl Slot {
    /// Publishes at QoS 1. The place is free again when the broker has taken the message.
    pub fn publish(self, publication: Publication) {
        self.push(publication, None);
    }

    /// The same, with a [`LinkEvent::Settled`](super::LinkEvent::Settled) for `tag` at the end.
    pub fn publish_tracked(self, publication: Publication, tag: u64) {
        self.push(publication, Some(tag));
    }

    fn push(self, publication: Publication, tag: Option<u64>) {
        self.shared.state().outbox.push(publication, tag, self.permit);
        self.shared.wake.notify_one();
    }
}

impl fmt::Debug for LinkHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkHandle(connected: {})", self.is_connected())
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}
