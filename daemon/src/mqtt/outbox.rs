//! What waits to be published, and what the broker has not taken yet.
//!
//! ```text
//! waiting ──next──▶ handed ──on_written──▶ flight ──on_ack──▶ gone
//!    ▲                 │                      │
//!    └─────────────────┴───connection_lost────┘
//! ```
//! A message at QoS 1 leaves only on its PUBACK. One that goes out in parts waits again after each PUBACK, until all are sent: so
//! its one place is enough for them. It waits at the front, unless nothing else could ever be in flight beside it. rumqttc's own
//! memory of unsent messages is never used.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::documents::Documents;
use super::fault::Blame;
use super::filter::is_topic;
use super::parts::Parts;
use super::suspicion::{Suspicion, Trial};
use super::{Delivery, Publication};

/// Most QoS 0 messages in rumqttc's channel; more wait here.
const TRANSIENTS_HANDED_MAX: usize = 32;

/// A message that must arrive, with its place in the outbox.
struct Durable {
    publication: Publication,
    /// How far it is, if this broker gets it in parts.
    parts: Option<Parts>,
    tag: Option<u64>,
    _slot: OwnedSemaphorePermit,
    suspicion: Suspicion,
}

enum Waiting {
    Durable(Durable),
    Transient(Publication, OwnedSemaphorePermit),
}

enum Handed {
    Kept(Kept),
    Transient { _room: OwnedSemaphorePermit },
}

/// What waits for a PUBACK.
enum Kept {
    Durable(Durable),
    /// A retained document, by its index.
    Retained(usize),
}

struct Flight {
    packet_id: u16,
    since: Instant,
    kept: Kept,
}

/// What the link may do now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Most messages at QoS 1 without PUBACK.
    pub window: usize,
    /// The broker's Maximum Packet Size.
    pub packet_max: Option<u32>,
    /// Whether retained documents may be sent, and when.
    pub retained: RetainedTurn,
}

/// When retained documents may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetainedTurn {
    NotYet,
    First,
    /// When everything else has been sent: the last word before a shutdown.
    Last,
}

/// A message for rumqttc.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub publication: Publication,
    pub reliable: bool,
    pub retain: bool,
}

/// What [`Outbox::next`] found.
pub(super) enum Next {
    Send(Outgoing),
    /// The broker would end the connection over it.
    Drop(Gone),
}

/// A message that has left the outbox.
pub(super) struct Gone {
    pub topic: String,
    pub retained: bool,
    pub tag: Option<u64>,
}

impl Gone {
    fn retained(topic: String) -> Self {
        Self { topic, retained: true, tag: None }
    }
}

/// The events of rumqttc do not fit what was given to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfStep;

#[derive(Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Waiting>,
    handed: VecDeque<Handed>,
    /// Without gaps in the order of sending: a hole is a message acknowledged out of order. rumqttc counts packet ids
    /// up to its window and round again, so the length, holes included, is what must stay below that window.
    flight: VecDeque<Option<Flight>>,
    documents: Documents,
    trial: Trial,
}

impl Outbox {
    pub fn push(&mut self, publication: Publication, tag: Option<u64>, slot: OwnedSemaphorePermit) {
        let durable = Durable { publication, parts: None, tag, _slot: slot, suspicion: Suspicion::default() };
        self.waiting.push_back(Waiting::Durable(durable));
    }

    pub fn push_transient(&mut self, publication: Publication, permit: OwnedSemaphorePermit) {
        self.waiting.push_back(Waiting::Transient(publication, permit));
    }

    pub fn set_retained(&mut self, topic: String, payload: Bytes) {
        self.documents.set(topic, payload);
    }

    /// After a connect.
    pub fn republish(&mut self) {
        self.documents.republish();
    }

    /// Whether nothing more is to be sent or awaited. Transients do not count.
    pub fn is_settled(&self) -> bool {
        self.unacknowledged() == 0
            && !self.waiting.iter().any(|waiting| matches!(waiting, Waiting::Durable(_)))
            && self.documents.due().is_none()
    }

    /// Messages at QoS 1 that were given to rumqttc and not acknowledged, holes included.
    pub fn unacknowledged(&self) -> usize {
        self.flight.len() + self.handed.iter().filter(|handed| matches!(handed, Handed::Kept(_))).count()
    }

    /// Since when the oldest message in flight has been waiting for its PUBACK.
    pub fn waiting_since(&self) -> Option<Instant> {
        self.flight.front()?.as_ref().map(|flight| flight.since)
    }

    /// The next message to give to rumqttc now.
    pub fn next(&mut self, room: Room) -> Option<Next> {
        let in_flight = self.unacknowledged();
        if self.trial == Trial::Yes {
            return None;
        }
        if in_flight >= room.window {
            return self.next_transient();
        }
        let turn = match room.retained {
            RetainedTurn::NotYet => false,
            RetainedTurn::First => true,
            RetainedTurn::Last => self.waiting.is_empty() && !self.has_parts_to_come(),
        };
        match self.documents.due() {
            Some(index) if turn => self.next_retained(index, in_flight, room),
            _ => self.next_waiting(in_flight, room),
        }
    }

    /// Whether there is a message of which a part is with the broker that others follow.
    fn has_parts_to_come(&self) -> bool {
        let goes_on = |kept: &Kept| match kept {
            Kept::Durable(durable) => durable.parts.as_ref().is_some_and(Parts::goes_on),
            Kept::Retained(_) => false,
        };
        let handed = |handed: &Handed| matches!(handed, Handed::Kept(kept) if goes_on(kept));
        self.flight.iter().flatten().any(|flight| goes_on(&flight.kept)) || self.handed.iter().any(handed)
    }

    fn next_retained(&mut self, index: usize, in_flight: usize, room: Room) -> Option<Next> {
        let trial = Trial::of(self.documents.suspicion(index));
        if trial == Trial::Yes && in_flight > 0 {
            return None;
        }
        let publication = self.documents.take(index);
        if !fits(&publication, room.packet_max) {
            return Some(Next::Drop(Gone::retained(publication.topic)));
        }
        self.trial = trial;
        self.handed.push_back(Handed::Kept(Kept::Retained(index)));
        Some(Next::Send(Outgoing { publication, reliable: true, retain: true }))
    }

    fn next_waiting(&mut self, in_flight: usize, room: Room) -> Option<Next> {
        match self.waiting.front()? {
            Waiting::Transient(..) => return self.next_transient(),
            Waiting::Durable(durable) if Trial::of(durable.suspicion) == Trial::Yes && in_flight > 0 => return None,
            Waiting::Durable(_) => {}
        }
        let Some(Waiting::Durable(mut durable)) = self.waiting.pop_front() else { return None };
        let Some(publication) = durable.message(room.packet_max) else {
            return Some(Next::Drop(durable.gone()));
        };
        self.trial = Trial::of(durable.suspicion);
        self.handed.push_back(Handed::Kept(Kept::Durable(durable)));
        Some(Next::Send(Outgoing { publication, reliable: true, retain: false }))
    }

    /// Transients need no window, but they keep their place behind what was queued before them.
    fn next_transient(&mut self) -> Option<Next> {
        if self.handed.iter().filter(|handed| matches!(handed, Handed::Transient { .. })).count()
            >= TRANSIENTS_HANDED_MAX
        {
            return None;
        }
        match self.waiting.pop_front()? {
            Waiting::Transient(publication, permit) => {
                self.handed.push_back(Handed::Transient { _room: permit });
                Some(Next::Send(Outgoing { publication, reliable: false, retain: false }))
            }
            durable @ Waiting::Durable(_) => {
                self.waiting.push_front(durable);
                None
            }
        }
    }

    /// rumqttc wrote the oldest message that it was given; 0 is the packet id of QoS 0.
    pub fn on_written(&mut self, packet_id: u16, now: Instant) -> Result<(), OutOfStep> {
        match (self.handed.pop_front(), packet_id) {
            (Some(Handed::Transient { .. }), 0) => Ok(()),
            (Some(Handed::Kept(kept)), 1..) => {
                self.flight.push_back(Some(Flight { packet_id, since: now, kept }));
                Ok(())
            }
            _ => Err(OutOfStep),
        }
    }

    /// The broker took or refused a message: either way it is gone, unless it was a part that others follow. Where one is
    /// missing, they are worth nothing. `window` is that of [`Room`].
    pub fn on_ack(&mut self, packet_id: u16, delivery: Delivery, window: usize) -> Result<Option<Gone>, OutOfStep> {
        let is_it = |flight: &&mut Option<Flight>| flight.as_ref().is_some_and(|flight| flight.packet_id == packet_id);
        let flight = self.flight.iter_mut().find(is_it).and_then(Option::take).ok_or(OutOfStep)?;
        while self.flight.pop_front_if(|flight| flight.is_none()).is_some() {}
        self.trial = Trial::No;
        match flight.kept {
            Kept::Durable(mut durable) => {
                if delivery == Delivery::Taken && durable.parts.as_mut().is_some_and(Parts::advance) {
                    let durable = Waiting::Durable(durable);
                    if window > 1 {
                        self.waiting.push_front(durable);
                    } else {
                        self.waiting.push_back(durable);
                    }
                    return Ok(None);
                }
                Ok(Some(durable.gone()))
            }
            Kept::Retained(index) => {
                self.documents.acknowledged(index);
                Ok(Some(Gone::retained(self.documents.topic(index).to_owned())))
            }
        }
    }

    /// Everything without PUBACK waits again, in the same order. Transients are gone. Returns what has been found to
    /// end connections.
    pub fn connection_lost(&mut self, blame: Blame) -> Vec<Gone> {
        let flight = std::mem::take(&mut self.flight).into_iter().flatten().map(|flight| flight.kept);
        let handed = std::mem::take(&mut self.handed).into_iter().filter_map(|handed| match handed {
            Handed::Kept(kept) => Some(kept),
            Handed::Transient { .. } => None,
        });
        let kept: Vec<Kept> = flight.chain(handed).collect();
        let trial = std::mem::take(&mut self.trial);
        let mut guilty = Vec::new();
        let mut again = VecDeque::new();
        for kept in kept {
            match kept {
                Kept::Durable(mut durable) => {
                    durable.suspicion.add(blame, trial, durable.parts.as_ref().map_or(0, Parts::number));
                    if durable.suspicion.is_guilty() {
                        guilty.push(durable.gone());
                    } else {
                        again.push_back(Waiting::Durable(durable));
                    }
                }
                Kept::Retained(index) => {
                    if !self.documents.lost(index, blame, trial) {
                        guilty.push(Gone::retained(self.documents.topic(index).to_owned()));
                    }
                }
            }
        }
        again.extend(std::mem::take(&mut self.waiting).into_iter().filter(|item| matches!(item, Waiting::Durable(_))));
        // The next broker may take less, and who missed a part needs all of them.
        for waiting in &mut again {
            if let Waiting::Durable(durable) = waiting {
                durable.parts = None;
            }
        }
        self.waiting = again;
        guilty
    }
}

impl Durable {
    /// What of it is sent next: all, or a part; none if this broker would not take it.
    fn message(&mut self, packet_max: Option<u32>) -> Option<Publication> {
        if self.parts.is_none() {
            if fits(&self.publication, packet_max) {
                return Some(self.publication.clone());
            }
            self.parts = Parts::cut(&self.publication, packet_max? as usize);
        }
        self.parts.as_ref().map(|parts| parts.current(&self.publication))
    }

    fn gone(self) -> Gone {
        Gone { topic: self.publication.topic, retained: false, tag: self.tag }
    }
}

/// The last line of defence: over anything else rumqttc or the broker would end the connection.
pub(super) fn fits(publication: &Publication, packet_max: Option<u32>) -> bool {
    let max = packet_max.map_or(usize::MAX, |max| max as usize);
    publication.packet_size() <= max && is_topic(&publication.topic)
}
