//! What is known of every session without a look into the file: whose it is, when it was used, what it takes.
//!
//! Bounded by a share of `journal.size_max`: each session takes a page of the file at least.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::time::millis;
use crate::job::{ClientName, SessionName};

/// A client's name for a session.
pub(super) type SessionKey = (ClientName, SessionName);

/// When a session was used last, in milliseconds that count, and its number.
type Place = (u64, u64);

#[derive(Debug)]
struct Entry {
    key: Arc<SessionKey>,
    at: u64,
    pages: u64,
}

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    entries: HashMap<u64, Entry>,
    names: HashMap<Arc<SessionKey>, u64>,
    /// By their last use.
    used: BTreeSet<Place>,
    clients: HashMap<ClientName, BTreeSet<Place>>,
    last: u64,
    pages: u64,
}

impl Sessions {
    /// The number of a session.
    pub fn find(&self, key: &SessionKey) -> Option<u64> {
        self.names.get(key).copied()
    }

    /// The number of a session, or the one that a new session gets.
    pub fn number_of(&self, key: &SessionKey) -> u64 {
        self.find(key).unwrap_or(self.last + 1)
    }

    /// What a session takes.
    pub fn pages_of(&self, number: u64) -> u64 {
        self.entries.get(&number).map_or(0, |entry| entry.pages)
    }

    /// A session was used: it is new, or has become larger or smaller.
    pub fn insert(&mut self, number: u64, key: Arc<SessionKey>, at: u64, pages: u64) {
        self.remove(number);
        self.last = self.last.max(number);
        self.pages += pages;
        self.names.insert(Arc::clone(&key), number);
        self.used.insert((at, number));
        self.clients.entry(key.0.clone()).or_default().insert((at, number));
        self.entries.insert(number, Entry { key, at, pages });
    }

    /// Gives what it has taken.
    pub fn remove(&mut self, number: u64) -> Option<u64> {
        let Entry { key, at, pages } = self.entries.remove(&number)?;
        self.names.remove(&key);
        self.used.remove(&(at, number));
        if let Some(of_client) = self.clients.get_mut(&key.0) {
            of_client.remove(&(at, number));
            if of_client.is_empty() {
                self.clients.remove(&key.0);
            }
        }
        self.pages -= pages;
        Some(pages)
    }

    /// The one that was used before all others but this one.
    pub fn oldest_but(&self, number: u64) -> Option<u64> {
        self.used.iter().map(|(_, other)| *other).find(|other| *other != number)
    }

    /// Those of a client that are too many beside this one, longest unused first.
    pub fn beyond(&self, client: &ClientName, number: u64, most: usize) -> Vec<u64> {
        let of_client = self.clients.get(client).into_iter().flatten();
        let others: Vec<u64> = of_client.map(|(_, other)| *other).filter(|other| *other != number).collect();
        let too_many = (others.len() + 1).saturating_sub(most.max(1));
        others[..too_many].to_vec()
    }

    /// Those of a client, or the one of this name.
    pub fn of(&self, client: &ClientName, name: Option<&SessionName>) -> Vec<u64> {
        match name {
            Some(name) => self.find(&(client.clone(), name.clone())).into_iter().collect(),
            None => self.clients.get(client).into_iter().flatten().map(|(_, number)| *number).collect(),
        }
    }

    /// Those that were not used for so long.
    pub fn expired(&self, keep: Duration, counted: u64) -> Vec<u64> {
        let over = |at: u64| at.saturating_add(millis(keep)) <= counted;
        self.used.iter().take_while(|(at, _)| over(*at)).map(|(_, number)| *number).collect()
    }

    /// When the next one was not used for so long.
    pub fn next_expiry(&self, keep: Duration) -> Option<u64> {
        self.used.first().map(|(at, _)| at.saturating_add(millis(keep)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// What they take together.
    pub fn pages(&self) -> u64 {
        self.pages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(client: &str, name: &str) -> Arc<SessionKey> {
        Arc::new((ClientName::new(client).unwrap(), SessionName::new(name).unwrap()))
    }

    #[test]
    fn the_longest_unused_is_beyond_first() {
        let mut sessions = Sessions::default();
        for (number, name, at) in [(1, "a", 10), (2, "b", 20), (3, "c", 30)] {
            sessions.insert(number, key("cam", name), at, 2);
        }
        sessions.insert(4, key("other", "a"), 5, 3);
        assert_eq!((sessions.len(), sessions.pages()), (4, 9));
        let cam = ClientName::new("cam").unwrap();
        assert_eq!(sessions.number_of(&key("cam", "d")), 5);
        assert_eq!(sessions.beyond(&cam, 5, 3), [1], "a new one needs a place");
        assert_eq!(sessions.beyond(&cam, 1, 3), [0; 0], "one that is there needs none");
        assert_eq!(sessions.beyond(&cam, 1, 1), [2, 3]);
        sessions.insert(1, key("cam", "a"), 40, 1);
        assert_eq!(sessions.beyond(&cam, 5, 3), [2]);
        assert_eq!((sessions.oldest_but(4), sessions.oldest_but(5)), (Some(2), Some(4)));
        assert_eq!(sessions.expired(Duration::from_millis(5), 26), [4, 2]);
        assert_eq!(sessions.next_expiry(Duration::from_millis(5)), Some(10));
        assert_eq!(sessions.of(&cam, None), [2, 3, 1]);
        assert_eq!(sessions.of(&cam, Some(&key("cam", "b").1)), [2]);
        for number in 1..=4 {
            assert!(sessions.remove(number).is_some());
        }
        assert!(sessions.remove(1).is_none());
        assert_eq!((sessions.len(), sessions.pages(), sessions.clients.len()), (0, 0, 0));
    }
}
