//! What waits for the driver to take it.

use std::collections::VecDeque;

use super::{InboundMessage, LinkEvent};

/// Most QoS 0 messages that wait. At QoS 1 the broker waits instead.
const QOS0_MAX: usize = 256;
/// Most bytes of them: a few large messages must not take the memory that a model needs.
const QOS0_BYTES_MAX: usize = 8 << 20;

/// Most bytes of QoS 1 messages that wait. `receive_maximum` is no bound: mosquitto 2.0.11 answers each acknowledgement
/// with up to that many messages more.
const QOS1_BYTES_MAX: usize = 8 << 20;

/// Most events about the connection that wait: more only tell a driver that is far behind what has long changed.
const NOTICES_MAX: usize = 64;

/// What waits, within bounds: what does not fit is dropped at QoS 0, and at QoS 1 left to the broker to send again.
#[derive(Default)]
pub(super) struct Inbound {
    pending: VecDeque<LinkEvent>,
    held: Vec<InboundMessage>,
    qos0: usize,
    qos0_bytes: usize,
    qos1_bytes: usize,
    notices: usize,
}

impl Inbound {
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether there is room for a QoS 1 message of so many bytes. There always is for one.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.qos1_bytes == 0 || self.qos1_bytes + bytes <= QOS1_BYTES_MAX
    }

    /// Adds an event. False: it was a QoS 0 message, and there was no room.
    pub fn push(&mut self, event: LinkEvent) -> bool {
        match size(&event) {
            Size::Qos0(bytes) if self.qos0 >= QOS0_MAX || self.qos0_bytes + bytes > QOS0_BYTES_MAX => return false,
            Size::Qos0(bytes) => {
                self.qos0 += 1;
                self.qos0_bytes += bytes;
            }
            Size::Qos1(bytes) => self.qos1_bytes += bytes,
            Size::Notice => {
                self.notices += 1;
                self.forget_old_notice();
            }
            Size::Settled => {}
        }
        self.pending.push_back(event);
        true
    }

    fn forget_old_notice(&mut self) {
        if self.notices > NOTICES_MAX
            && let Some(oldest) = self.pending.iter().position(|event| matches!(size(event), Size::Notice))
        {
            self.pending.remove(oldest);
            self.notices -= 1;
        }
    }

    pub fn pop(&mut self) -> Option<LinkEvent> {
        let event = self.pending.pop_front()?;
        match size(&event) {
            Size::Qos0(bytes) => {
                self.qos0 -= 1;
                self.qos0_bytes -= bytes;
            }
            Size::Qos1(bytes) => self.qos1_bytes -= bytes,
            Size::Notice => self.notices -= 1,
            Size::Settled => {}
        }
        Some(event)
    }

    /// The connection is gone. Messages that it could no longer acknowledge wait for what the broker remembers.
    pub fn hold(&mut self) {
        for event in std::mem::take(&mut self.pending) {
            match event {
                LinkEvent::Message(message) if message.ack.is_some() => {
                    self.qos1_bytes -= message.size();
                    self.held.push(message);
                }
                event => self.pending.push_back(event),
            }
        }
    }

    /// There is a new connection. A broker with the session sends the held messages again; one without has forgotten
    /// them, and they exist only here.
    pub fn release(&mut self, session_present: bool) {
        for message in std::mem::take(&mut self.held) {
            if !session_present {
                self.push(LinkEvent::Message(InboundMessage { ack: None, ..message }));
            }
        }
    }
}

enum Size {
    Qos0(usize),
    Qos1(usize),
    Notice,
    /// A few bytes, one for each answer; and answers are to messages that were taken from the same line before. It holds no
    /// place in the outbox: messages ahead of it wait for one.
    Settled,
}

fn size(event: &LinkEvent) -> Size {
    match event {
        LinkEvent::Message(message) if message.qos == 0 => Size::Qos0(message.size()),
        LinkEvent::Message(message) => Size::Qos1(message.size()),
        LinkEvent::Settled { .. } => Size::Settled,
        _ => Size::Notice,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use crate::mqtt::message::AckToken;

    use super::*;

    fn message(qos: u8, payload: usize) -> LinkEvent {
        let message = InboundMessage {
            topic: String::new(),
            payload: vec![0; payload].into(),
            qos,
            retain: false,
            response_topic: None,
            correlation: None,
            expiry: None,
            received: Instant::now(),
            ack: (qos == 1).then_some(AckToken { epoch: 1, number: 0 }),
        };
        LinkEvent::Message(message)
    }

    fn drain(inbound: &mut Inbound) -> Vec<(u8, bool)> {
        let next = || match inbound.pop()? {
            LinkEvent::Message(message) => Some((message.qos, message.ack.is_some())),
            _ => Some((9, false)),
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn qos_0_is_bounded_in_number_and_bytes() {
        let mut inbound = Inbound::default();
        let taken = (0..1000).filter(|_| inbound.push(message(0, 0))).count();
        assert_eq!(taken, QOS0_MAX);
        inbound.pop();
        assert!(inbound.push(message(0, 0)), "room again");
        let mut inbound = Inbound::default();
        let taken = (0..100).filter(|_| inbound.push(message(0, 1 << 20))).count();
        assert_eq!(taken, 8);
    }

    #[test]
    fn qos_1_is_bounded_in_bytes_with_room_for_one() {
        let mut inbound = Inbound::default();
        assert!(inbound.has_room(usize::MAX));
        inbound.push(message(1, 1 << 20));
        assert!(inbound.has_room(7 << 20) && !inbound.has_room(8 << 20));
        inbound.hold();
        assert!(inbound.has_room(8 << 20));
        inbound.release(false);
        assert!(!inbound.has_room(8 << 20));
        inbound.pop();
        assert!(inbound.has_room(usize::MAX));
    }

    #[test]
    fn old_notices_make_room_for_new_ones() {
        let mut inbound = Inbound::default();
        inbound.push(message(1, 0));
        for number in 0..200 {
            inbound.push(LinkEvent::Connected { session_present: number >= 136 });
        }
        assert!(matches!(inbound.pop().unwrap(), LinkEvent::Message(_)));
        for _ in 0..NOTICES_MAX {
            assert!(matches!(inbound.pop().unwrap(), LinkEvent::Connected { session_present: true }));
        }
        assert!(inbound.pop().is_none());
    }

    #[test]
    fn held_messages_are_dropped_only_if_the_broker_sends_them_again() {
        for (session_present, expected) in [(true, vec![(0, false)]), (false, vec![(0, false), (1, false)])] {
            let mut inbound = Inbound::default();
            inbound.push(message(1, 0));
            inbound.push(message(0, 0));
            inbound.hold();
            inbound.release(session_present);
            assert_eq!(drain(&mut inbound), expected);
        }
        let mut inbound = Inbound::default();
        inbound.push(message(1, 0));
        assert_eq!(drain(&mut inbound), [(1, true)]);
    }
}
