//! Acknowledgements of received messages, in the order of receipt.

use std::collections::VecDeque;

use super::message::AckToken;

/// The QoS 1 messages of one connection that the broker still waits for.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    epoch: u64,
    first: u64,
    open: VecDeque<Receipt>,
}

#[derive(Debug)]
struct Receipt {
    packet_id: u16,
    done: bool,
}

impl Receipts {
    /// Forgets the last connection: the broker sends again what was not acknowledged there.
    pub fn start(&mut self, epoch: u64) {
        *self = Self { epoch, ..Self::default() };
    }

    pub fn open(&self) -> usize {
        self.open.len()
    }

    pub fn add(&mut self, packet_id: u16) -> AckToken {
        let number = self.first + self.open.len() as u64;
        self.open.push_back(Receipt { packet_id, done: false });
        AckToken { epoch: self.epoch, number }
    }

    /// A token of another connection is ignored.
    #[expect(clippy::needless_pass_by_value, reason = "a token is used once")]
    pub fn done(&mut self, token: AckToken) {
        let index = token.number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if token.epoch == self.epoch
            && let Some(receipt) = index.and_then(|index| self.open.get_mut(index))
        {
            receipt.done = true;
        }
    }

    /// The next packet id to acknowledge now.
    pub fn next(&mut self) -> Option<u16> {
        let receipt = self.open.pop_front_if(|receipt| receipt.done)?;
        self.first += 1;
        Some(receipt.packet_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(receipts: &mut Receipts) -> Vec<u16> {
        std::iter::from_fn(|| receipts.next()).collect()
    }

    #[test]
    fn acknowledges_in_the_order_of_receipt() {
        let mut receipts = Receipts::default();
        receipts.start(1);
        let [first, second, third] = [5, 9, 2].map(|id| receipts.add(id));
        receipts.done(third);
        receipts.done(second);
        assert!(due(&mut receipts).is_empty());
        receipts.done(first);
        assert_eq!(due(&mut receipts), [5, 9, 2]);
        let fourth = receipts.add(5);
        receipts.done(fourth);
        assert_eq!(due(&mut receipts), [5]);
        assert_eq!(receipts.open(), 0);
    }

    #[test]
    fn ignores_tokens_of_other_connections() {
        let mut receipts = Receipts::default();
        receipts.start(1);
        let old = receipts.add(5);
        receipts.start(2);
        let _new = receipts.add(6);
        receipts.done(old);
        assert!(due(&mut receipts).is_empty());
    }
}
