//! What policies may say, and whose they are.

use super::*;
use crate::job::{ClientName, Priority};

fn policy(name: &str, keys: &str) -> String {
    format!("[[policy]]\nname = '{name}'\n{keys}\n")
}

#[test]
fn every_key_is_read() {
    let keys = "clients = ['sensor-*', 'pump']\ntasks = ['chat']\nmodels = ['main']\npriority = 'low'\nmax_tokens = 7\n\
                queue_jobs = 2\ntokens_per_minute = 3000\nsessions = 0";
    let config = good(&format!("{}{MODEL}", policy("sensors", keys)));
    let [policy] = config.policies.as_slice() else { panic!("{config:?}") };
    assert_eq!((policy.name.as_str(), policy.clients.len()), ("sensors", 2));
    assert_eq!(policy.tasks.as_deref(), Some(["chat".to_owned()].as_slice()));
    assert_eq!(policy.models.as_deref(), Some([config.models[0].name.clone()].as_slice()));
    assert_eq!((policy.priority, policy.max_tokens), (Some(Priority::Low), Some(7)));
    assert_eq!((policy.queue_jobs, policy.tokens_per_minute, policy.sessions), (Some(2), Some(3000), Some(0)));
}

/// The name of the policy of a client.
fn policy_of<'a>(config: &'a Config, client: &str) -> Option<&'a str> {
    config.policy_of(&ClientName::new(client).unwrap()).map(|policy| policy.name.as_str())
}

#[test]
fn the_first_in_order_counts() {
    let both =
        policy("cams", "clients = ['*-cam']\nmax_tokens = 8") + &policy("hall", "clients = ['hall-*']\nmax_tokens = 9");
    let config = good(&both);
    assert_eq!(policy_of(&config, "hall-cam"), Some("cams"));
    assert_eq!(policy_of(&config, "hall-door"), Some("hall"));
    assert_eq!(policy_of(&config, "pump"), None);
    // A later file changes one by its name, and adds others behind it.
    let later = policy("cams", "clients = ['cam']") + &policy("rest", "clients = ['*']\npriority = 'low'");
    let config = read(&[&both, &later]).unwrap();
    assert_eq!(policy_of(&config, "hall-cam"), Some("hall"));
    assert_eq!((policy_of(&config, "cam"), config.policies[0].max_tokens), (Some("cams"), Some(8)));
    assert_eq!(policy_of(&config, "pump"), Some("rest"));
}

#[test]
fn whoever_is_anonymous_has_the_lowest() {
    assert_eq!(policy_of(&good(""), "anonymous"), None);
    let trusted = policy("trusted", "clients = ['a*']\npriority = 'high'");
    let sensors = policy("sensors", "clients = ['sensor-*']\npriority = 'low'");
    let config = good(&format!("{trusted}{sensors}"));
    assert_eq!(policy_of(&config, "alarm"), Some("trusted"));
    assert_eq!(policy_of(&config, "anonymous"), Some("sensors"), "the last one, not the one whose pattern fits");
    let named = policy("guests", "clients = ['anonymous', 'guest']\nmax_tokens = 8");
    assert_eq!(policy_of(&good(&format!("{named}{trusted}{sensors}")), "anonymous"), Some("guests"));
    let all = policy("all", "clients = ['*']\nmax_tokens = 8");
    assert_eq!(policy_of(&good(&format!("{all}{named}")), "anonymous"), Some("guests"));
}

#[test]
fn say_what_is_wrong() {
    for (keys, expected) in [
        (
            "max_tokens = 8",
            "1:1: policy[p].clients: is missing: write clients = [\"sensor-*\"], or [\"*\"] for everybody",
        ),
        ("clients = []\nmax_tokens = 8", "3:11: policy[p].clients = […]: is empty; name 1 to 64"),
        (
            "clients = ['a/b']\nmax_tokens = 8",
            "3:12: policy[p].clients = \"a/b\": contains '/'; allowed are letters, digits, '.', '_', '-' and '*' for any text",
        ),
        (
            "clients = ['a']",
            "1:1: policy[p]: caps nothing; set at least one of tasks, models, priority, max_tokens, queue_jobs, \
             tokens_per_minute",
        ),
        (
            "clients = ['a']\ntasks = ['generate', 'poem']",
            "4:22: policy[p].tasks = \"poem\": no such task; known are generate, chat, embed, classify, extract, answer, rerank, pipeline, describe-json, summarize, translate",
        ),
        ("clients = ['a']\ntasks = []", "4:9: policy[p].tasks = […]: is empty; name 1 to"),
        ("clients = ['a']\nmodels = ['huge']", "4:11: policy[p].models = \"huge\": no such model; configured are main"),
        (
            "clients = ['a']\npriority = 'urgent'",
            "4:12: policy[p].priority = \"urgent\": allowed are \"low\", \"normal\"",
        ),
        (
            "clients = ['a']\nmax_tokens = 5000",
            "4:14: policy[p].max_tokens = 5000: must be at most limits.max_tokens_cap = 4096 (the default)",
        ),
        (
            "clients = ['a']\nqueue_jobs = 65",
            "4:14: policy[p].queue_jobs = 65: must be at most limits.queue_jobs_per_client = 64 (the default)",
        ),
        (
            "clients = ['a']\nsessions = 9",
            "4:12: policy[p].sessions = 9: must be at most session.per_client = 8 (the default)",
        ),
        (
            "clients = ['a']\ntokens_per_minutes = 65\nmax_tokens = 8",
            "4:1: policy[p].tokens_per_minutes: unknown key; did you mean \"tokens_per_minute\"?",
        ),
    ] {
        let found = problems(&[&format!("{}{MODEL}", policy("p", keys))]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("0.toml:{expected}")), "{}", found[0]);
    }
}

#[test]
fn say_what_is_wrong_with_several() {
    let all = policy("all", "clients = ['*']\nmax_tokens = 8");
    let found = problems(&[&(all.clone() + &policy("all", "clients = ['**', 'a']\nmax_tokens = 8"))]);
    let never =
        "0.toml:7:11: policy[all].clients = […]: an earlier policy has every client: this one would never be used";
    assert_eq!(found, ["0.toml:6:8: policy[all].name = \"all\": is the name of an earlier policy", never]);
    let many: String =
        (0..65).map(|n| policy(&format!("p{n}"), &format!("clients = ['c{n}']\nmax_tokens = 8"))).collect();
    assert_eq!(problems(&[&many]), ["0.toml:1:1: policy = […]: there are 65 policies; allowed are 0 to 64"]);
}

#[test]
fn a_model_that_cannot_be_read_is_not_missed_twice() {
    let model = "[[model]]\nname = 'main'\nfiles = []\n";
    assert_eq!(problems(&[&format!("{}{model}", policy("p", "clients = ['a']\nmodels = ['main']"))]).len(), 1);
    let none = problems(&[&policy("p", "clients = ['a']\nmodels = ['main']")]);
    assert!(none.len() == 1 && none[0].ends_with("no such model; configured are none"), "{none:?}");
}
