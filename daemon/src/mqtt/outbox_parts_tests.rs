//! The outbox with messages that go out in parts.

use std::sync::Arc;

use super::fault::Blame;
use super::outbox::{Next, RetainedTurn, Room};
use super::outbox_tests::{Bench, SLOTS, publication, room};
use super::{Delivery, PartHead, Publication};

impl Bench {
    /// A message of 1000 bytes that may go out in parts.
    fn push_large(&mut self, topic: &str) {
        let slot = Arc::clone(&self.slots).try_acquire_owned().unwrap();
        let parts = Some(PartHead::new(r#"{"event":"part"}"#));
        let payload = vec![b'x'; 1000].into();
        self.outbox.push(Publication { payload, parts, ..publication(topic) }, None, slot);
    }

    /// The number of the part that is sent now, and of all of them.
    fn part(&mut self, room: Room) -> (u64, u64) {
        let Some(Next::Send(outgoing)) = self.outbox.next(room) else { panic!("nothing to send") };
        let size = outgoing.publication.packet_size();
        assert!(size <= room.packet_max.unwrap() as usize, "{size}");
        let part: serde_json::Value = serde_json::from_slice(&outgoing.publication.payload).unwrap();
        (part["seq"].as_u64().unwrap(), part["of"].as_u64().unwrap())
    }
}

fn small() -> Room {
    Room { packet_max: Some(500), ..room() }
}

#[test]
fn parts_go_out_one_after_the_other_in_one_place() {
    let mut bench = Bench::new();
    bench.push_large("large");
    bench.push("other");
    assert_eq!(bench.part(small()), (0, 3));
    assert_eq!(bench.sent(small()), ["other"], "what is behind it goes on meanwhile");
    bench.written(1);
    bench.written(2);
    assert_eq!(bench.settled(1, Delivery::Taken), None);
    assert!(!bench.outbox.is_settled());
    assert_eq!(bench.part(small()), (1, 3));
    bench.written(3);
    assert_eq!(bench.acked(2), "other");
    assert_eq!(bench.settled(3, Delivery::Taken), None);
    assert_eq!(bench.part(small()), (2, 3));
    bench.written(4);
    assert_eq!(bench.slots.available_permits(), SLOTS - 1);
    assert_eq!(bench.acked(4), "large");
    assert!(bench.outbox.is_settled());
    assert_eq!(bench.slots.available_permits(), SLOTS);
}

#[test]
fn parts_begin_anew_on_each_connection_as_its_broker_takes_them() {
    let mut bench = Bench::new();
    bench.push_large("large");
    bench.part(small());
    bench.written(1);
    bench.settled(1, Delivery::Taken);
    assert_eq!(bench.part(small()), (1, 3));
    bench.lost(Blame::None);
    assert_eq!(bench.part(Room { packet_max: Some(200), ..room() }), (0, 8));
    bench.written(1);
    bench.settled(1, Delivery::Taken);
    bench.lost(Blame::None);
    assert_eq!(bench.sent(room()), ["large"], "whole");
    bench.lost(Blame::None);
    assert_eq!(bench.sent(Room { packet_max: Some(40), ..room() }), ["dropped large"]);
    assert_eq!(bench.slots.available_permits(), SLOTS);
}

#[test]
fn after_a_part_that_nobody_got_no_other_is_sent() {
    for delivery in [Delivery::NoSubscribers, Delivery::Refused] {
        let mut bench = Bench::new();
        bench.push_large("large");
        bench.part(small());
        bench.written(1);
        assert_eq!(bench.settled(1, delivery).as_deref(), Some("large"));
        assert!(bench.outbox.is_settled());
    }
}

#[test]
fn a_part_that_ends_connections_is_found() {
    let mut bench = Bench::new();
    bench.push_large("large");
    for connection in 0..=2 {
        assert_eq!(bench.part(small()), (0, 3));
        bench.written(1);
        bench.settled(1, Delivery::Taken);
        assert_eq!(bench.part(small()), (1, 3));
        assert_eq!(bench.lost(Blame::Certain).len(), usize::from(connection == 2), "{connection}");
    }
    assert!(bench.outbox.is_settled());
}

#[test]
fn so_is_what_no_part_of_is_taken() {
    let mut bench = Bench::new();
    bench.push_large("large");
    for connection in 0..=2 {
        assert_eq!(bench.part(small()), (0, 3));
        assert_eq!(bench.lost(Blame::Certain).len(), usize::from(connection == 2), "{connection}");
    }
}

#[test]
fn parts_in_whose_time_connections_end_for_other_reasons_are_innocent() {
    let mut bench = Bench::new();
    bench.push_large("large");
    // Never the same part twice, but for the first time.
    for connection in 0..20_u16 {
        let last = 1 + connection % 2;
        for number in 0..last {
            bench.part(small());
            bench.written(number + 1);
            assert_eq!(bench.settled(number + 1, Delivery::Taken), None);
        }
        assert_eq!(bench.part(small()), (u64::from(last), 3));
        assert!(bench.lost(Blame::Certain).is_empty(), "{connection}");
    }
}

#[test]
fn the_last_word_waits_for_all_parts() {
    let mut bench = Bench::new();
    bench.outbox.set_retained("availability".to_owned(), "offline".into());
    bench.push_large("large");
    let last = Room { retained: RetainedTurn::Last, ..small() };
    for number in 0..3_u16 {
        assert_eq!(bench.part(last), (number.into(), 3));
        if number < 2 {
            assert!(bench.sent(last).is_empty(), "part {number} is handed");
            bench.written(number + 1);
            assert!(bench.sent(last).is_empty(), "part {number} is in flight");
            bench.settled(number + 1, Delivery::Taken);
        }
    }
    assert_eq!(bench.sent(last), ["availability"]);
}

#[test]
fn where_one_message_at_a_time_is_taken_parts_take_turns_with_others() {
    let mut bench = Bench::new();
    bench.push_large("large");
    bench.push("other");
    let one = Room { window: 1, ..small() };
    assert_eq!(bench.part(one), (0, 3));
    bench.written(1);
    assert!(bench.outbox.on_ack(1, Delivery::Taken, one.window).unwrap().is_none());
    assert_eq!(bench.sent(one), ["other"]);
    bench.written(1);
    assert_eq!(bench.acked(1), "other");
    assert_eq!(bench.part(one), (1, 3));
}
