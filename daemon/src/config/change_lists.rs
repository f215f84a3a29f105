//! What changes of the tables take that the configuration has many of, each with a name.

use std::collections::BTreeSet;

use super::change::{Differences, Effect, compare};
use super::{Binding, Model, Policy};
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

/// They are looked up for each message. What replies may not go to follows from what is subscribed, and that takes a connection.
pub(super) fn bindings(found: &mut Differences, old: &[Binding], new: &[Binding]) {
    let differs = |binding: &&Binding| !(old.contains(binding) && new.contains(binding));
    let names: BTreeSet<_> = old.iter().chain(new).filter(differs).map(|binding| &binding.name).collect();
    for name in names {
        found.note(format!("binding[{name}]"), Effect::Requests);
    }
    let filters =
        |bindings: &[Binding]| bindings.iter().map(|binding| binding.subscribe.clone()).collect::<BTreeSet<_>>();
    if filters(old) != filters(new) {
        found.effects.insert(Effect::Reconnect);
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
