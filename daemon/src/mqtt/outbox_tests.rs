//! The outbox against examples, and against a model of rumqttc and a broker.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;
use tokio::sync::Semaphore;

use super::connect::{INFLIGHT_MAX, window};
use super::fault::Blame;
use super::outbox::{Next, OutOfStep, Outbox, RetainedTurn, Room};
use super::{Delivery, Publication};

pub(super) const SLOTS: usize = 64;

pub(super) fn publication(topic: &str) -> Publication {
    Publication { topic: topic.to_owned(), payload: "x".into(), content_type: None, correlation: None, parts: None }
}

pub(super) fn room() -> Room {
    Room { window: window(None), packet_max: None, retained: RetainedTurn::First }
}

pub(super) struct Bench {
    pub outbox: Outbox,
    pub slots: Arc<Semaphore>,
}

impl Bench {
    pub fn new() -> Self {
        Self { outbox: Outbox::default(), slots: Arc::new(Semaphore::new(SLOTS)) }
    }

    pub fn push(&mut self, topic: &str) {
        let slot = Arc::clone(&self.slots).try_acquire_owned().unwrap();
        self.outbox.push(publication(topic), None, slot);
    }

    pub fn push_transient(&mut self, topic: &str) {
        let slot = Arc::clone(&self.slots).try_acquire_owned().unwrap();
        self.outbox.push_transient(publication(topic), slot);
    }

    /// Topics that can be sent now.
    pub fn sent(&mut self, room: Room) -> Vec<String> {
        let next = || match self.outbox.next(room)? {
            Next::Send(outgoing) => Some(outgoing.publication.topic),
            Next::Drop(gone) => Some(format!("dropped {}", gone.topic)),
        };
        std::iter::from_fn(next).collect()
    }

    pub fn written(&mut self, packet_id: u16) {
        self.outbox.on_written(packet_id, Instant::now()).unwrap();
    }

    pub fn acked(&mut self, packet_id: u16) -> String {
        self.settled(packet_id, Delivery::Taken).expect("it has left")
    }

    /// The topic of what has left with this word of the broker.
    pub fn settled(&mut self, packet_id: u16, delivery: Delivery) -> Option<String> {
        self.outbox.on_ack(packet_id, delivery, room().window).unwrap().map(|gone| gone.topic)
    }

    pub fn lost(&mut self, blame: Blame) -> Vec<String> {
        self.outbox.connection_lost(blame).into_iter().map(|gone| gone.topic).collect()
    }
}

#[test]
fn transients_precede_what_was_queued_after_them() {
    let mut bench = Bench::new();
    for topic in ["delta 1", "delta 2"] {
        bench.push_transient(topic);
    }
    bench.push("result");
    assert_eq!(bench.sent(room()), ["delta 1", "delta 2", "result"]);
    assert_eq!(bench.outbox.on_written(1, Instant::now()), Err(OutOfStep), "the first was at QoS 0");
}

#[test]
fn leaves_only_when_acknowledged_and_keeps_its_slot_until_then() {
    let mut bench = Bench::new();
    bench.push("a");
    bench.push("b");
    assert_eq!(bench.sent(room()), ["a", "b"]);
    bench.written(1);
    bench.written(2);
    assert_eq!(bench.lost(Blame::None), Vec::<String>::new());
    assert_eq!(bench.slots.available_permits(), SLOTS - 2);
    assert_eq!(bench.sent(room()), ["a", "b"], "again, in the same order");
    bench.written(1);
    assert_eq!(bench.acked(1), "a");
    assert_eq!(bench.slots.available_permits(), SLOTS - 1);
    assert!(bench.outbox.on_ack(1, Delivery::Taken, 15).is_err());
    assert!(!bench.outbox.is_settled());
    bench.written(2);
    bench.acked(2);
    assert!(bench.outbox.is_settled());
    assert_eq!(bench.slots.available_permits(), SLOTS);
}

#[test]
fn acknowledgements_out_of_order_do_not_open_the_window_too_far() {
    let mut bench = Bench::new();
    for index in 0..20 {
        bench.push(&format!("t{index}"));
    }
    assert_eq!(bench.sent(room()).len(), 15);
    for packet_id in 1..=15 {
        bench.written(packet_id);
    }
    for packet_id in 2..=15 {
        bench.acked(packet_id);
    }
    assert_eq!(bench.sent(room()).len(), 0, "packet id 1 would come again soon after 16");
    bench.acked(1);
    assert_eq!(bench.sent(room()).len(), 5);
}

#[test]
fn retained_documents_are_sent_when_they_change_and_when_asked_again() {
    let mut bench = Bench::new();
    let set = |bench: &mut Bench, payload: &'static str| bench.outbox.set_retained("doc".to_owned(), payload.into());
    set(&mut bench, "1");
    set(&mut bench, "2");
    let Some(Next::Send(outgoing)) = bench.outbox.next(room()) else { panic!("nothing to send") };
    assert_eq!((outgoing.publication.payload.as_ref(), outgoing.retain), (&b"2"[..], true));
    set(&mut bench, "2");
    assert!(bench.sent(room()).is_empty(), "unchanged");
    bench.written(1);
    bench.acked(1);
    bench.outbox.republish();
    assert!(bench.sent(Room { retained: RetainedTurn::NotYet, ..room() }).is_empty());
    bench.push("result");
    assert_eq!(bench.sent(Room { retained: RetainedTurn::Last, ..room() }), ["result", "doc"]);
    bench.lost(Blame::None);
    assert_eq!(bench.sent(room()), ["doc", "result"]);
}

#[test]
fn what_a_broker_would_not_take_is_dropped_before_it_does_harm() {
    let mut bench = Bench::new();
    bench.push(&"x".repeat(100));
    bench.push("bad/#");
    bench.push("bad/\u{1}");
    bench.push("good");
    let sent = bench.sent(Room { packet_max: Some(50), ..room() });
    assert_eq!(sent.iter().filter(|topic| topic.starts_with("dropped")).count(), 3);
    assert_eq!(sent.last().unwrap(), "good");
    assert_eq!(bench.slots.available_permits(), SLOTS - 1);
}

#[test]
fn a_message_that_ends_connections_is_found_and_dropped() {
    for (blame, connections) in [(Blame::Certain, 2), (Blame::Perhaps, 3)] {
        let mut bench = Bench::new();
        for topic in ["good 1", "poison", "good 2"] {
            bench.push(topic);
        }
        assert_eq!(bench.sent(room()).len(), 3);
        assert!(bench.lost(blame).is_empty(), "no way to tell which");
        bench.push_transient("delta");
        assert_eq!(bench.sent(room()), ["good 1"], "alone");
        bench.written(1);
        bench.acked(1);
        for connection in 1..=connections {
            assert_eq!(bench.sent(room()), ["poison"], "alone");
            let guilty = bench.lost(blame);
            assert_eq!(guilty.len(), usize::from(connection == connections), "{blame:?} {connection}");
        }
        assert_eq!(bench.sent(room()), ["good 2"]);
        bench.written(1);
        bench.acked(1);
        bench.push_transient("delta");
        assert_eq!(bench.sent(room()), ["delta"]);
    }
}

#[test]
fn a_broken_network_makes_nothing_suspect() {
    let mut bench = Bench::new();
    bench.push("a");
    for _ in 0..20 {
        assert_eq!(bench.sent(room()), ["a"]);
        assert!(bench.lost(Blame::None).is_empty());
    }
}

#[test]
fn a_document_that_is_removed_leaves_its_place_to_another() {
    let mut bench = Bench::new();
    let taken = |bench: &mut Bench, topics: &[&str]| {
        assert_eq!(bench.sent(room()), topics);
        for (topic, packet_id) in topics.iter().zip(1..) {
            bench.written(packet_id);
            assert_eq!(bench.acked(packet_id), *topic);
        }
    };
    for payload in ["text", ""] {
        bench.outbox.set_retained("old".to_owned(), payload.into());
        taken(&mut bench, &["old"]);
    }
    bench.outbox.republish();
    taken(&mut bench, &[]);
    bench.outbox.set_retained("new".to_owned(), "text".into());
    taken(&mut bench, &["new"]);
    bench.outbox.republish();
    taken(&mut bench, &["new"]);
    bench.outbox.set_retained("old".to_owned(), "again".into());
    bench.outbox.republish();
    taken(&mut bench, &["new", "old"]);
}

#[test]
fn a_retained_document_that_ends_connections_waits_for_its_next_change() {
    let mut bench = Bench::new();
    bench.outbox.set_retained("doc".to_owned(), "poison".into());
    // The first time it only becomes a suspect.
    for _ in 0..3 {
        assert_eq!(bench.sent(room()), ["doc"]);
        bench.lost(Blame::Certain);
        bench.outbox.republish();
    }
    assert!(bench.sent(room()).is_empty());
    bench.outbox.set_retained("doc".to_owned(), "cure".into());
    assert_eq!(bench.sent(room()), ["doc"]);
}

#[derive(Debug, Clone)]
enum Step {
    Push,
    PushTransient,
    Retain(u8, u8),
    Send,
    Write,
    /// The n-th of those in flight, so that acknowledgements come in any order.
    Ack(usize),
    Lose(Blame),
}

fn step() -> impl Strategy<Value = Step> {
    let blame = prop_oneof![Just(Blame::None), Just(Blame::Perhaps), Just(Blame::Certain)];
    prop_oneof![
        4 => Just(Step::Push),
        2 => Just(Step::PushTransient),
        1 => (0..3_u8, 0..3_u8).prop_map(|(topic, value)| Step::Retain(topic, value)),
        4 => Just(Step::Send),
        8 => Just(Step::Write),
        6 => (0..4_usize).prop_map(Step::Ack),
        1 => blame.prop_map(Step::Lose),
    ]
}

/// What rumqttc does: packet ids from 1 to the limit and round again.
#[derive(Default)]
struct Rumqttc {
    last: u16,
    channel: VecDeque<(String, bool)>,
    flight: BTreeMap<u64, (u16, String)>,
    written: u64,
}

proptest! {
    #[test]
    fn nothing_is_lost_or_overtakes_and_packet_ids_never_collide(steps in proptest::collection::vec(step(), 1..200)) {
        let mut bench = Bench::new();
        let mut broker = Rumqttc::default();
        let mut open: VecDeque<String> = VecDeque::new();
        let mut pushed = 0;
        for step in steps {
            match step {
                Step::Push if bench.slots.available_permits() > 0 => {
                    pushed += 1;
                    let topic = format!("{pushed:06}");
                    bench.push(&topic);
                    open.push_back(topic);
                }
                Step::PushTransient if bench.slots.available_permits() > 0 => bench.push_transient("transient"),
                Step::Push | Step::PushTransient => {}
                Step::Retain(topic, value) => bench.outbox.set_retained(format!("doc{topic}"), vec![value].into()),
                Step::Send => {
                    while let Some(Next::Send(outgoing)) = bench.outbox.next(room()) {
                        broker.channel.push_back((outgoing.publication.topic, outgoing.reliable));
                    }
                }
                Step::Write => if let Some((topic, reliable)) = broker.channel.pop_front() {
                    let mut packet_id = 0;
                    if reliable {
                        packet_id = broker.last + 1;
                        broker.last = packet_id % INFLIGHT_MAX;
                        prop_assert!(broker.flight.values().all(|(used, _)| *used != packet_id), "collision");
                        broker.written += 1;
                        broker.flight.insert(broker.written, (packet_id, topic));
                    }
                    bench.written(packet_id);
                },
                Step::Ack(n) => if let Some(key) = broker.flight.keys().nth(n).copied() {
                    let (packet_id, topic) = broker.flight.remove(&key).unwrap();
                    prop_assert_eq!(bench.acked(packet_id), topic.clone());
                    open.retain(|other| *other != topic);
                },
                Step::Lose(blame) => {
                    for guilty in bench.lost(blame) {
                        open.retain(|other| *other != guilty);
                    }
                    broker = Rumqttc::default();
                }
            }
        }
        // Let everything through, one connection, and look at the order.
        bench.lost(Blame::None);
        let mut arrived = Vec::new();
        let mut packet_id = 0;
        while let Some(Next::Send(outgoing)) = bench.outbox.next(room()) {
            packet_id += 1;
            bench.written(packet_id);
            bench.acked(packet_id);
            if !outgoing.retain {
                arrived.push(outgoing.publication.topic);
            }
        }
        prop_assert_eq!(arrived, Vec::from(open));
        prop_assert!(bench.outbox.is_settled());
        prop_assert_eq!(bench.slots.available_permits(), SLOTS);
    }
}
