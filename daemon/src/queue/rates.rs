//! Tokens that clients may use over time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::job::ClientName;

/// What a bucket holds: so much of its rate may be used at once.
const FULL: Duration = Duration::from_mins(1);

/// Most clients whose use is remembered. One that is forgotten for others has a full bucket again.
const CLIENTS_MAX: usize = 4096;

/// Why a job may not have its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OverRate {
    /// Not even a full bucket has so many.
    #[error("the job may use {tokens} tokens, and no more than {per_minute} are allowed at once")]
    Never {
        /// Of the job.
        tokens: u64,
        /// The rate.
        per_minute: u64,
    },
    /// Now there are too few.
    #[error("the job may use {tokens} tokens and {left} are left of {per_minute} a minute")]
    Later {
        /// Of the job.
        tokens: u64,
        /// What the client may use now.
        left: u64,
        /// The rate.
        per_minute: u64,
        /// When there are enough, if the client uses none until then; whole milliseconds.
        after: Duration,
    },
}

/// What a job was charged when it was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    tokens: u64,
    /// The rate at that time: what is given back is worth as much as what was charged.
    per_minute: u64,
}

impl Charge {
    /// How many tokens it is.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }
}

/// A bucket of tokens for each client that has a rate. A bucket is known by the time when it is full again if nothing is used
/// until then, so that there is nothing to remember of one that is full (the generic cell rate algorithm of ATM).
#[derive(Debug, Default)]
pub struct TokenRates {
    full_at: HashMap<ClientName, Instant>,
}

impl TokenRates {
    /// Takes what a job may use out of the bucket of its client.
    pub fn charge(
        &mut self,
        client: &ClientName,
        tokens: u64,
        per_minute: u64,
        now: Instant,
    ) -> Result<Charge, OverRate> {
        if tokens > per_minute {
            return Err(OverRate::Never { tokens, per_minute });
        }
        let missing = self.missing(client, now);
        let then = missing.saturating_add(time_of(tokens, per_minute));
        if then > FULL {
            let left = tokens_of(FULL.saturating_sub(missing), per_minute);
            return Err(OverRate::Later { tokens, left, per_minute, after: whole_millis(then.saturating_sub(FULL)) });
        }
        self.set(client, then, now);
        Ok(Charge { tokens, per_minute })
    }

    /// A job has ended and has used so many tokens: the rest is given back, or what it has used more is taken.
    pub fn settle(&mut self, client: &ClientName, charge: Charge, used: u64, now: Instant) {
        let missing = self.missing(client, now);
        let (back, more) = (charge.tokens.saturating_sub(used), used.saturating_sub(charge.tokens));
        let missing = missing.saturating_add(time_of(more, charge.per_minute));
        self.set(client, missing.saturating_sub(time_of(back, charge.per_minute)), now);
    }

    /// The time after which a client's bucket is full.
    fn missing(&self, client: &ClientName, now: Instant) -> Duration {
        self.full_at.get(client).map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    fn set(&mut self, client: &ClientName, missing: Duration, now: Instant) {
        let Some(full_at) = now.checked_add(missing).filter(|at| *at > now) else {
            self.full_at.remove(client);
            return;
        };
        if let Some(at) = self.full_at.get_mut(client) {
            *at = full_at;
            return;
        }
        self.full_at.retain(|_, at| *at > now);
        if self.full_at.len() >= CLIENTS_MAX
            && let Some(soonest) = self.full_at.iter().min_by_key(|(_, at)| **at).map(|(client, _)| client.clone())
        {
            self.full_at.remove(&soonest);
        }
        self.full_at.insert(client.clone(), full_at);
    }
}

/// How long so many tokens take to come, rounded up.
fn time_of(tokens: u64, per_minute: u64) -> Duration {
    let nanos = (u128::from(tokens) * FULL.as_nanos()).div_ceil(u128::from(per_minute.max(1)));
    Duration::from_nanos_u128(nanos.min(u128::from(u64::MAX)))
}

/// How many tokens come in a time.
fn tokens_of(time: Duration, per_minute: u64) -> u64 {
    u64::try_from(time.as_nanos() * u128::from(per_minute) / FULL.as_nanos()).unwrap_or(u64::MAX)
}

fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(name: &str) -> ClientName {
        ClientName::new(name).unwrap()
    }

    #[test]
    fn a_minute_at_once_and_then_as_they_come() {
        let (mut rates, start, cam) = (TokenRates::default(), Instant::now(), client("cam"));
        rates.charge(&cam, 400, 600, start).unwrap();
        let refused = rates.charge(&cam, 300, 600, start);
        let after = Duration::from_secs(10);
        assert_eq!(refused, Err(OverRate::Later { tokens: 300, left: 200, per_minute: 600, after }));
        assert!(rates.charge(&client("pump"), 600, 600, start).is_ok(), "each client has its own");
        assert!(rates.charge(&cam, 300, 600, start + Duration::from_millis(9_999)).is_err());
        assert!(rates.charge(&cam, 300, 600, start + after).is_ok());
        assert_eq!(rates.charge(&cam, 601, 600, start), Err(OverRate::Never { tokens: 601, per_minute: 600 }));
    }

    #[test]
    fn what_was_not_used_comes_back_and_more_is_taken() {
        let (mut rates, now, cam) = (TokenRates::default(), Instant::now(), client("cam"));
        let charge = rates.charge(&cam, 600, 600, now).unwrap();
        rates.settle(&cam, charge, 100, now);
        let second = rates.charge(&cam, 500, 600, now).unwrap();
        assert!(rates.charge(&cam, 1, 600, now).is_err());
        // Its prompt had more tokens than was thought.
        rates.settle(&cam, second, 600, now);
        let minute = now + FULL;
        assert!(matches!(rates.charge(&cam, 600, 600, minute), Err(OverRate::Later { left: 500, .. })));
        // A full bucket takes nothing more.
        rates.settle(&cam, charge, 0, minute + FULL);
        assert!(rates.full_at.is_empty());
    }

    #[test]
    fn another_rate_holds_from_the_next_job_on() {
        let (mut rates, now, cam) = (TokenRates::default(), Instant::now(), client("cam"));
        let charge = rates.charge(&cam, 300, 600, now).unwrap();
        assert!(rates.charge(&cam, 61, 120, now).is_err());
        assert!(rates.charge(&cam, 60, 120, now).is_ok());
        rates.settle(&cam, charge, 0, now);
        assert!(rates.charge(&cam, 60, 120, now).is_ok(), "half a minute has come back");
    }

    #[test]
    fn full_buckets_are_forgotten_and_the_others_are_bounded() {
        let (mut rates, now) = (TokenRates::default(), Instant::now());
        for number in 0..CLIENTS_MAX + 100 {
            rates.charge(&client(&number.to_string()), 30 + number as u64, 10_000, now).unwrap();
        }
        assert_eq!(rates.full_at.len(), CLIENTS_MAX);
        assert!(!rates.full_at.contains_key(&client("99")) && rates.full_at.contains_key(&client("100")));
        rates.charge(&client("late"), 1, 10_000, now + FULL).unwrap();
        assert_eq!(rates.full_at.len(), 1);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Charge(u64),
        /// The oldest open job ends with so many tokens.
        Settle(u64),
        Later(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1u64..700).prop_map(Step::Charge),
            2 => (0u64..700).prop_map(Step::Settle),
            2 => (0u64..40_000).prop_map(Step::Later),
        ]
    }

    proptest! {
        /// In no time is more used than comes in it and a full bucket, whatever is given back meanwhile.
        #[test]
        fn the_rate_holds_over_any_time(steps in prop::collection::vec(step(), 1..60), rate in 100u64..1000) {
            let (mut rates, cam, start) = (TokenRates::default(), client("cam"), Instant::now());
            let (mut now, mut open, mut used) = (start, Vec::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Charge(tokens) => if let Ok(charge) = rates.charge(&cam, tokens, rate, now) {
                        open.push(charge);
                        used.push((now, i128::from(tokens)));
                    },
                    Step::Settle(tokens) => if !open.is_empty() {
                        let charge = open.remove(0);
                        let tokens = tokens.min(charge.tokens);
                        rates.settle(&cam, charge, tokens, now);
                        used.push((now, i128::from(tokens) - i128::from(charge.tokens)));
                    },
                    Step::Later(millis) => now += Duration::from_millis(millis),
                }
            }
            for (first, (from, _)) in used.iter().enumerate() {
                let mut sum = 0;
                for (at, tokens) in &used[first..] {
                    sum += tokens;
                    let comes = tokens_of(*at - *from, rate) + 1;
                    prop_assert!(sum <= i128::from(rate + comes), "{sum} in {:?} at {rate}", *at - *from);
                }
            }
        }

        /// The time that a refusal names is right: then there are enough, and a millisecond earlier there are not.
        #[test]
        fn who_waits_as_long_as_told_is_let_in(first in 1u64..600, tokens in 1u64..600, rate in 600u64..5000) {
            let (cam, now) = (client("cam"), Instant::now());
            let mut rates = TokenRates::default();
            let mut refused = rates.charge(&cam, first, rate, now).err();
            while refused.is_none() {
                refused = rates.charge(&cam, tokens, rate, now).err();
            }
            let Some(OverRate::Later { after, left, .. }) = refused else { panic!("{refused:?}") };
            prop_assert!(left < tokens.max(first));
            prop_assert!(after > Duration::ZERO);
            prop_assert!(rates.charge(&cam, tokens, rate, now + after.saturating_sub(Duration::from_millis(1))).is_err());
            prop_assert!(rates.charge(&cam, tokens, rate, now + after).is_ok());
        }

        /// Who asks for no more than comes is never refused.
        #[test]
        fn who_stays_below_the_rate_is_let_in(tokens in 1u64..600, rate in 600u64..5000) {
            let (cam, mut now) = (client("cam"), Instant::now());
            let mut rates = TokenRates::default();
            for _ in 0..100 {
                prop_assert!(rates.charge(&cam, tokens, rate, now).is_ok());
                now += time_of(tokens, rate);
            }
        }
    }
}
