//! What changes of the tables take that the configuration has many of, each with a name.

use super::change::{Differences, Effect, compare};
use super::{Model, Policy};
use crate::job::PolicyName;

/// They are looked up for each request. Where one comes, goes or moves, clients change to others: all of them are named at once.
pub(super) fn policies(found: &mut Differences, old: &[Policy], new: &mut [Policy]) {
    let names = |policies: &[Policy]| policies.iter().map(|policy| policy.name.clone()).collect::<Vec<PolicyName>>();
    if names(old) != names(new) {
        found.note("policy".to_owned(), Effect::None);
        return;
    }
    for (old, new) in old.iter().zip(new) {
        compare!(
            found,
            format!("policy[{}]", old.name),
            old,
            new,
            Policy {
                name: Effect::None,
                clients: Effect::None,
                tasks: Effect::None,
                models: Effect::None,
                priority: Effect::None,
                max_tokens: Effect::None,
                queue_jobs: Effect::None,
                tokens_per_minute: Effect::None,
                sessions: Effect::None,
            }
        );
    }
}

/// Whether the model needs another engine.
pub(super) fn compare_models(found: &mut Differences, old: &Model, new: &mut Model) -> bool {
    let mut own = Differences::default();
    compare!(
        own,
        format!("model[{}]", old.name),
        old,
        new,
        Model {
            name: Effect::Restart,
            files: Effect::Engine,
            default: Effect::None,
            pinned: Effect::None,
            expect: Effect::None,
            ladder: Effect::Engine,
            derive: Effect::Engine,
            context: Effect::Engine,
            min_context: Effect::Engine,
            sequences: Effect::Engine,
            kv_type: Effect::Engine,
            threads: Effect::Engine,
            golden_prompt: Effect::Engine,
            classification: Effect::Engine,
            golden_expect: Effect::Engine,
        }
    );
    found.keys.append(&mut own.keys);
    own.effects.contains(&Effect::Engine)
}
