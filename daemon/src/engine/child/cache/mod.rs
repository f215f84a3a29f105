//! What is kept of prompts that have been computed, within so many bytes: what the template begins every prompt with, what an
//! operator's instructions begin with, for prompts of that very task or step, and what a session's turns have left, for the next
//! turn of that session alone.
//!
//! A state is used for a prompt that begins with the very tokens it was computed from, and for nothing else.

pub mod disk;

use std::sync::Arc;
use std::time::Instant;

use super::llama::Token;
use super::prompt::shared_length;
use crate::engine::protocol::{Instructions, SessionNumber, SessionUse};

/// What llama.cpp gave for a sequence.
pub type State = Arc<Vec<u8>>;

/// How a state may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// As much of it as the prompt begins with, in multiples of so many tokens.
    InPart(usize),
    /// As a whole, which is a multiple of so many tokens, or not at all: the model's memory cannot go back.
    AsWhole(usize),
}

/// Who asks: of which session of a client, and with which instructions of the operator's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asker<'a> {
    /// The session that it goes on with.
    pub session: Option<SessionNumber>,
    /// What its prompt is made of.
    pub instructions: Option<&'a Instructions>,
}

/// What prompts begin with.
struct Opening {
    tokens: Vec<Token>,
    for_whom: ForWhom,
    state: Option<State>,
    /// It takes more than may be kept, or the model gives no states.
    unkept: bool,
    /// Whether it was looked for on the disk since it was in memory last.
    looked: bool,
    /// Whether it was on the disk in this run, or was to be written there: flash bears only so many writes, and where two have no room
    /// beside each other, each would be written for every other request.
    written: bool,
    used: u64,
}

/// Whose prompts may find an opening.
enum ForWhom {
    Everybody,
    Those(Vec<Instructions>),
}

impl Opening {
    fn is_for(&self, asker: Asker<'_>) -> bool {
        match &self.for_whom {
            ForWhom::Everybody => true,
            ForWhom::Those(those) => asker.instructions.is_some_and(|instructions| those.contains(instructions)),
        }
    }

    /// The same tokens are what prompts with these instructions begin with, too; with none, everybody's.
    fn is_also_for(&mut self, instructions: Option<Instructions>) {
        match (&mut self.for_whom, instructions) {
            (ForWhom::Those(those), Some(instructions)) => those.push(instructions),
            (for_whom, None) => *for_whom = ForWhom::Everybody,
            (ForWhom::Everybody, Some(_)) => {}
        }
    }
}

/// What the last turn of a session has left.
struct Turn {
    owner: SessionNumber,
    tokens: Vec<Token>,
    state: State,
    until: Instant,
}

/// What is kept.
pub struct Cache {
    most: usize,
    rule: Rule,
    openings: Vec<Opening>,
    /// The one that was used last stands last.
    turns: Vec<Turn>,
    clock: u64,
}

impl Cache {
    /// Keeps nothing yet, and never more than so many bytes.
    pub fn new(most: usize, rule: Rule) -> Self {
        Self { most, rule, openings: Vec::new(), turns: Vec::new(), clock: 0 }
    }

    /// What prompts with instructions begin with from now on, or everybody's. What is kept of those that are no longer among them is
    /// dropped.
    pub fn set_openings(&mut self, openings: Vec<(Option<Instructions>, Vec<Token>)>) {
        let mut before = std::mem::take(&mut self.openings);
        for (instructions, mut tokens) in openings {
            let (Rule::InPart(grid) | Rule::AsWhole(grid)) = self.rule;
            tokens.truncate(on_grid(tokens.len(), grid));
            if tokens.is_empty() {
                continue;
            }
            if let Some(known) = self.openings.iter_mut().find(|opening| opening.tokens == tokens) {
                known.is_also_for(instructions);
                continue;
            }
            let for_whom = instructions.map_or(ForWhom::Everybody, |one| ForWhom::Those(vec![one]));
            let opening = match before.iter().position(|opening| opening.tokens == tokens) {
                Some(at) => Opening { for_whom, ..before.swap_remove(at) },
                None => {
                    Opening { tokens, for_whom, state: None, unkept: false, looked: false, written: false, used: 0 }
                }
            };
            self.openings.push(opening);
        }
    }

    /// The longest opening of a prompt, if nothing is kept of it and something could be: its tokens.
    pub fn missing(&self, prompt: &[Token], asker: Asker<'_>) -> Option<&[Token]> {
        let begins = |opening: &&Opening| {
            prompt.len() > opening.tokens.len() && prompt.starts_with(&opening.tokens) && opening.is_for(asker)
        };
        let longest = self.openings.iter().filter(begins).max_by_key(|opening| opening.tokens.len())?;
        (longest.state.is_none() && !longest.unkept).then_some(&longest.tokens)
    }

    /// The same, once, to look for it on the disk.
    pub fn look(&mut self, prompt: &[Token], asker: Asker<'_>) -> Option<Vec<Token>> {
        let tokens = self.missing(prompt, asker)?.to_vec();
        let opening = self.openings.iter_mut().find(|opening| opening.tokens == tokens)?;
        (!std::mem::replace(&mut opening.looked, true)).then_some(tokens)
    }

    /// Keeps the state of an opening; one that takes too much, or that there is none of, is not wanted again.
    pub fn keep_opening(&mut self, tokens: &[Token], state: Option<State>) {
        let Some(at) = self.openings.iter().position(|opening| opening.tokens == tokens) else { return };
        match state.filter(|state| self.room_for_opening(state.len())) {
            Some(state) => {
                self.clock += 1;
                (self.openings[at].state, self.openings[at].used) = (Some(state), self.clock);
            }
            None => self.openings[at].unkept = true,
        }
    }

    /// Whether an opening is to be written, which it is once.
    pub fn write(&mut self, tokens: &[Token]) -> bool {
        let opening = self.openings.iter_mut().find(|opening| opening.tokens == tokens);
        opening.is_some_and(|opening| !std::mem::replace(&mut opening.written, true))
    }

    /// Makes room for the state of an opening, before it takes any; whether there is some.
    pub fn room_for_opening(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.most;
        if fits {
            self.make_room(bytes);
        }
        fits
    }

    /// The same for what a turn of a session leaves: nothing is dropped for it but turns, first what the one before has left.
    pub fn room_for_turn(&mut self, owner: SessionNumber, bytes: usize) -> bool {
        self.turns.retain(|turn| turn.owner != owner);
        let fits = bytes <= self.most.saturating_sub(self.of_openings());
        if fits {
            self.make_room(bytes);
        }
        fits
    }

    /// Keeps what a turn of a session has left, in the place of what its turn before has left.
    pub fn keep_turn(&mut self, session: SessionUse, tokens: Vec<Token>, state: State) {
        let owner = session.number;
        if self.room_for_turn(owner, state.len()) {
            self.turns.push(Turn { owner, tokens, state, until: Instant::now() + session.keep });
        }
    }

    /// Of all that may be used for a prompt, what saves the most: the state, and how many tokens of it to take. At least one
    /// token is left to compute: its logits choose the next.
    pub fn find(&mut self, prompt: &[Token], asker: Asker<'_>) -> Option<(State, usize)> {
        let rule = self.rule;
        let turn = self.turns.iter().position(|turn| Some(turn.owner) == asker.session);
        let of_turn = turn.map_or(0, |at| usable(rule, &self.turns[at].tokens, prompt));
        let kept = self.openings.iter_mut().filter(|opening| opening.state.is_some() && opening.is_for(asker));
        let opening =
            kept.map(|opening| (usable(rule, &opening.tokens, prompt), opening)).max_by_key(|(length, _)| *length);
        match (turn, opening) {
            (Some(at), other) if of_turn > other.as_ref().map_or(0, |(length, _)| *length) => {
                let used = self.turns.remove(at);
                let state = Arc::clone(&used.state);
                self.turns.push(used);
                Some((state, of_turn))
            }
            (_, Some((length, opening))) if length > 0 => {
                self.clock += 1;
                opening.used = self.clock;
                Some((Arc::clone(opening.state.as_ref()?), length))
            }
            _ => None,
        }
    }

    /// Drops a state that llama.cpp does not take. What it was computed from is computed again.
    pub fn drop_state(&mut self, state: &State) {
        self.turns.retain(|turn| !Arc::ptr_eq(&turn.state, state));
        for opening in &mut self.openings {
            if opening.state.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, state)) {
                opening.state = None;
            }
        }
    }

    /// Forgets what a client's sessions have left, or one of them.
    pub fn forget(&mut self, client: u64, session: Option<u64>) {
        let meant = |owner: SessionNumber| owner.client == client && session.is_none_or(|one| owner.session == one);
        self.turns.retain(|turn| !meant(turn.owner));
    }

    /// Forgets what sessions have left that nobody has gone on with for as long as they are remembered.
    pub fn expire(&mut self, now: Instant) {
        self.turns.retain(|turn| turn.until > now);
    }

    /// Gives all its memory back.
    pub fn clear(&mut self) {
        self.turns.clear();
        for opening in &mut self.openings {
            (opening.state, opening.looked) = (None, false);
        }
    }

    /// Bytes of all that is kept.
    pub fn bytes(&self) -> usize {
        self.of_openings() + self.turns.iter().map(|turn| turn.state.len()).sum::<usize>()
    }

    fn of_openings(&self) -> usize {
        self.openings.iter().filter_map(|opening| opening.state.as_ref()).map(|state| state.len()).sum()
    }

    /// Drops turns, and then openings, those first that were not used for the longest time.
    fn make_room(&mut self, bytes: usize) {
        while self.bytes() + bytes > self.most {
            if !self.turns.is_empty() {
                self.turns.remove(0);
                continue;
            }
            let kept = self.openings.iter_mut().filter(|opening| opening.state.is_some());
            let Some(oldest) = kept.min_by_key(|opening| opening.used) else { return };
            (oldest.state, oldest.looked) = (None, false);
        }
    }
}

/// How many tokens of what is kept may be used for a prompt.
fn usable(rule: Rule, kept: &[Token], prompt: &[Token]) -> usize {
    let shared = shared_length(kept, &prompt[..prompt.len().saturating_sub(1)]);
    match rule {
        Rule::InPart(grid) => on_grid(shared, grid),
        Rule::AsWhole(_) if shared == kept.len() => shared,
        Rule::AsWhole(_) => 0,
    }
}

fn on_grid(tokens: usize, grid: usize) -> usize {
    tokens - tokens % grid
}

#[cfg(test)]
mod tests;
