//! What clients have had of a model, so that who has had least is next.
//!
//! Virtual token counters as in Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024): what one client gets
//! more than another while both have jobs waiting stays below twice the tokens of the largest jobs that run at once, whatever
//! the sizes of jobs are. No quantum has to be chosen, as deficit round robin wants.

use std::collections::HashMap;

use crate::job::ClientName;

/// Most clients that are remembered while they have no job waiting.
const IDLE_MAX: usize = 1024;

/// Tokens of each client, in tokens that only differences between clients give a meaning.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    had: HashMap<ClientName, u64>,
    /// The least of those that wait. Who was away starts here: having asked for nothing is no claim.
    floor: u64,
}

impl Accounts {
    /// What a client has had.
    pub(super) fn of(&self, client: &ClientName) -> u64 {
        self.had.get(client).copied().unwrap_or_default().max(self.floor)
    }

    /// The least that any client has that waits.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// A client gets so many tokens.
    pub(super) fn charge(&mut self, client: &ClientName, tokens: u64) {
        let had = self.of(client).saturating_add(tokens);
        self.had.insert(client.clone(), had);
    }

    /// It did not need so many of them.
    pub(super) fn refund(&mut self, client: &ClientName, tokens: u64) {
        if let Some(had) = self.had.get_mut(client) {
            *had = had.saturating_sub(tokens);
        }
    }

    /// These clients wait, and nobody else. Forgets who is no better or worse off than a newcomer.
    pub(super) fn waiting<'a>(&mut self, clients: impl Iterator<Item = &'a ClientName> + Clone) {
        if let Some(least) = clients.clone().map(|client| self.of(client)).min() {
            self.floor = least;
        }
        let floor = self.floor;
        self.had.retain(|_, had| *had > floor);
        if self.had.len() > clients.count() + IDLE_MAX {
            self.had.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str) -> ClientName {
        ClientName::new(name).unwrap()
    }

    #[test]
    fn who_was_away_has_no_claim_and_no_debt_that_others_have_caught_up_with() {
        let (a, b) = (client("a"), client("b"));
        let mut accounts = Accounts::default();
        accounts.charge(&a, 100);
        accounts.waiting([&a].into_iter());
        assert_eq!((accounts.of(&a), accounts.of(&b)), (100, 100), "b comes late");
        accounts.charge(&b, 10);
        accounts.charge(&a, 50);
        accounts.waiting([&a].into_iter());
        assert_eq!(accounts.of(&b), 150);
        accounts.charge(&a, 5);
        accounts.refund(&a, 3);
        assert_eq!(accounts.of(&a), 152);
        accounts.refund(&a, 1000);
        assert_eq!(accounts.of(&a), 150, "no better off than a newcomer");
    }

    #[test]
    fn clients_that_come_once_are_forgotten() {
        let steady = client("steady");
        let mut accounts = Accounts::default();
        for number in 0..10_000 {
            accounts.charge(&client(&number.to_string()), 1_000_000);
            accounts.waiting([&steady].into_iter());
            assert!(accounts.had.len() <= IDLE_MAX + 1);
        }
    }
}
