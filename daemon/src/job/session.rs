//! A session: a conversation that the node remembers for its client.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Message, Role, SessionName};

/// How a request goes on with a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The client's name for it.
    pub name: SessionName,
    /// Begin it anew: what it remembers is replaced when the request is answered.
    pub reset: bool,
}

/// What a session remembers. A turn goes from the client's word to the last answer before its next word.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// System messages, which stay at the beginning.
    head: Vec<Message>,
    /// Of all turns, oldest first.
    turns: Vec<Message>,
}

/// A conversation with what a session remembers in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recalled {
    /// Head, remembered turns and the new ones.
    pub messages: Vec<Message>,
    /// The remembered turns among them, of which the oldest may be left out.
    pub memory: Range<usize>,
    /// How many turns were left out already.
    pub dropped: usize,
}

/// What became of a session with an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// Which.
    pub name: SessionName,
    /// Turns that it has now.
    pub turns: usize,
    /// Earlier turns that were left out of the prompt, because they would not fit.
    pub dropped: usize,
}

impl Memory {
    /// How many turns there are.
    pub fn turns(&self) -> usize {
        turn_starts(&self.turns).count()
    }

    /// Bytes that it takes as JSON, which is how it is kept.
    pub fn size(&self) -> usize {
        // Two names, two arrays.
        const FRAME: usize = 22;
        FRAME + sizes(&self.head) + sizes(&self.turns)
    }

    /// The conversation of new messages, with as many of the latest remembered turns as leave it within so many bytes of text.
    /// System messages at the begin of the new ones take the place of the head.
    pub fn recall(&self, new: &[Message], bytes_max: usize) -> Recalled {
        let (own, rest) = split_head(new);
        let head = if own.is_empty() { self.head.as_slice() } else { own };
        let fixed: usize = head.iter().chain(rest).map(|message| message.content.len()).sum();
        let mut room = bytes_max.saturating_sub(fixed);
        let (mut from, mut dropped) = (self.turns.len(), self.turns());
        for start in turn_starts(&self.turns).collect::<Vec<_>>().into_iter().rev() {
            let size: usize = self.turns[start..from].iter().map(|message| message.content.len()).sum();
            let Some(left) = room.checked_sub(size) else { break };
            (room, from, dropped) = (left, start, dropped - 1);
        }
        let remembered = &self.turns[from..];
        let memory = head.len()..head.len() + remembered.len();
        Recalled { messages: [head, remembered, rest].concat(), memory, dropped }
    }

    /// With another turn and its answer, without the oldest turns that would be too much for `size_max` bytes. An error is the
    /// size of head and last turn, if these alone are too much.
    pub fn with(&self, new: &[Message], answer: &str, size_max: usize) -> Result<Self, usize> {
        let answer = Message { role: Role::Assistant, content: answer.to_owned() };
        self.joined(new, &[answer]).within(size_max)
    }

    /// Whether a turn fits into `size_max` bytes without its answer. An error is its size, with the head.
    pub fn fits(new: &[Message], size_max: usize) -> Result<(), usize> {
        Self::default().joined(new, &[]).within(size_max).map(drop)
    }

    fn joined(&self, new: &[Message], answer: &[Message]) -> Self {
        let (own, rest) = split_head(new);
        let head = if own.is_empty() { self.head.clone() } else { own.to_vec() };
        Self { head, turns: [self.turns.as_slice(), rest, answer].concat() }
    }

    fn within(mut self, size_max: usize) -> Result<Self, usize> {
        let mut size = self.size();
        let starts: Vec<usize> = turn_starts(&self.turns).collect();
        let mut from = 0;
        for &start in starts.iter().skip(1) {
            if size <= size_max {
                break;
            }
            size -= sizes(&self.turns[from..start]);
            from = start;
        }
        if size > size_max {
            return Err(size);
        }
        self.turns.drain(..from);
        Ok(self)
    }
}

/// Counts only: what was said does not belong in logs.
impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} turns, {} bytes)", self.turns(), self.size())
    }
}

/// Where turns begin: wherever something that is no answer follows an answer.
pub fn turn_starts(messages: &[Message]) -> impl Iterator<Item = usize> {
    let is_answer = |index: usize| messages[index].role == Role::Assistant;
    (0..messages.len()).filter(move |&index| index == 0 || (!is_answer(index) && is_answer(index - 1)))
}

/// System messages at the begin, and the rest.
fn split_head(messages: &[Message]) -> (&[Message], &[Message]) {
    let system = messages.iter().take_while(|message| message.role == Role::System).count();
    messages.split_at(system)
}

/// As JSON, each with a comma.
fn sizes(messages: &[Message]) -> usize {
    // Nothing in a message can't be written.
    messages.iter().map(|message| serde_json::to_vec(message).map_or(0, |json| json.len() + 1)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: Role, content: &str) -> Message {
        Message { role, content: content.to_owned() }
    }

    fn user(content: &str) -> Message {
        message(Role::User, content)
    }

    fn texts(messages: &[Message]) -> String {
        messages.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// A head and three turns.
    fn memory() -> Memory {
        let mut memory = Memory::default().with(&[message(Role::System, "S"), user("q1")], "a1", 1000).unwrap();
        for turn in 2..=3 {
            memory = memory.with(&[user(&format!("q{turn}"))], &format!("a{turn}"), 1000).unwrap();
        }
        memory
    }

    #[test]
    fn turns_are_recalled_behind_the_head_and_before_the_new_one() {
        let recalled = memory().recall(&[user("q4")], 1000);
        assert_eq!(texts(&recalled.messages), "S q1 a1 q2 a2 q3 a3 q4");
        assert_eq!((texts(&recalled.messages[recalled.memory]), recalled.dropped), ("q1 a1 q2 a2 q3 a3".to_owned(), 0));
        // The request's own system message takes the place of the other one, also for later turns.
        let new = [message(Role::System, "T"), user("q4")];
        assert_eq!(texts(&memory().recall(&new, 1000).messages), "T q1 a1 q2 a2 q3 a3 q4");
        let next = memory().with(&new, "a4", 1000).unwrap();
        assert_eq!((texts(&next.head), next.turns()), ("T".to_owned(), 4));
    }

    #[test]
    fn the_oldest_turns_go_first_and_the_head_and_the_new_turn_never() {
        // S and q4 take 3 bytes, each turn 4.
        for (bytes, expected, dropped) in [
            (15, "S q1 a1 q2 a2 q3 a3 q4", 0),
            (14, "S q2 a2 q3 a3 q4", 1),
            (7, "S q3 a3 q4", 2),
            (6, "S q4", 3),
            (0, "S q4", 3),
        ] {
            let recalled = memory().recall(&[user("q4")], bytes);
            assert_eq!((texts(&recalled.messages).as_str(), recalled.dropped), (expected, dropped), "{bytes}");
        }
        let full = memory();
        let smaller = full.with(&[user("q4")], "a4", full.size()).unwrap();
        assert_eq!((texts(&smaller.head), texts(&smaller.turns)), ("S".to_owned(), "q2 a2 q3 a3 q4 a4".to_owned()));
        assert!(smaller.size() <= full.size());
        let least = full.with(&[user("q4")], "a4", 150).unwrap();
        assert_eq!(texts(&least.turns), "q4 a4");
        assert_eq!(full.with(&[user("q4")], "a4", 100), Err(least.size()));
        assert!(Memory::fits(&[user("q4")], 53).is_ok() && Memory::fits(&[user("q4")], 52) == Err(53));
    }

    #[test]
    fn its_size_is_that_of_its_json() {
        for memory in [Memory::default(), memory(), memory().with(&[user("\"\n\u{1}ü")], "😀", 1000).unwrap()] {
            let json = serde_json::to_vec(&memory).unwrap().len();
            // An array with elements has one comma less than elements.
            assert!((json..=json + 2).contains(&memory.size()), "{json} {}", memory.size());
        }
    }

    #[test]
    fn a_turn_may_have_many_messages() {
        let messages = [
            message(Role::Assistant, "hello"),
            user("a"),
            user("b"),
            message(Role::Assistant, "c"),
            message(Role::Assistant, "d"),
            message(Role::System, "e"),
            user("f"),
        ];
        assert_eq!(turn_starts(&messages).collect::<Vec<_>>(), [0, 1, 5]);
    }
}
