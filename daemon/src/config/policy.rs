//! `[[policy]]`: what some clients may ask for less than `[limits]` lets everybody.

use std::collections::BTreeSet;

use crate::job::{ClientName, ModelName, PolicyName, Priority, Task, TaskName};
use crate::task::{Definition, PipelineDefinition};

use super::model::MODELS_MAX;
use super::section::Section;
use super::tree::Value;
use super::{Config, Limits, Model, Session, pattern::ClientPattern, value};

/// Each is looked at for each request.
const POLICIES_MAX: usize = 64;
const PATTERNS_MAX: usize = 64;
/// More than any machine computes.
const TOKENS_PER_MINUTE_MAX: u64 = 1_000_000_000;

const CAPS: [&str; 7] = ["tasks", "models", "priority", "max_tokens", "queue_jobs", "tokens_per_minute", "sessions"];
const PRIORITIES: [(&str, Priority); 3] =
    [("low", Priority::Low), ("normal", Priority::Normal), ("high", Priority::High)];

/// The caps of some clients; of each that is none, what `[limits]` says holds alone. At least one is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What messages call it.
    pub name: PolicyName,
    /// Whose caps these are: 1 to 64 patterns.
    pub clients: Vec<ClientPattern>,
    /// The tasks that they may use.
    pub tasks: Option<Vec<String>>,
    /// The models that they may use, each of them configured.
    pub models: Option<Vec<ModelName>>,
    /// The highest class of their jobs.
    pub priority: Option<Priority>,
    /// The most tokens of an answer; at most `limits.max_tokens_cap`.
    pub max_tokens: Option<u32>,
    /// Jobs of one client that wait at once; at most `limits.queue_jobs_per_client`.
    pub queue_jobs: Option<usize>,
    /// Tokens of prompts and answers that one client may use in a minute, on the long run; at once as many as in a minute.
    pub tokens_per_minute: Option<u64>,
    /// Sessions of one client; at most `session.per_client`, and 0 for none.
    pub sessions: Option<usize>,
}

/// What one policy has to know of those before it.
#[derive(Default)]
struct Others {
    names: BTreeSet<String>,
    has_everybody: bool,
}

impl Policy {
    /// Reads all of them, when limits, models and tasks are known.
    pub(super) fn read_all(
        root: &mut Section<'_, '_, '_>,
        limits: (&Limits, &Session),
        models: &[Model],
        (tasks, pipelines): (&[Definition], &[PipelineDefinition]),
    ) -> Vec<Self> {
        let mut others = Others::default();
        // A model that could not be read is missing in the list, and no fault of the policy that names it.
        let is_whole = !root.is_set("model") || root.array_len("model") == Some(models.len());
        let known = is_whole.then_some(models);
        let defined = tasks.iter().map(Definition::name).chain(pipelines.iter().map(PipelineDefinition::name));
        let defined = defined.map(TaskName::as_str);
        let tasks: Vec<&str> = Task::NAMES.into_iter().chain(defined).collect();
        let policies = root.tables("policy", |section| Self::read(section, limits, (known, &tasks), &mut others));
        let count = policies.len();
        if count > POLICIES_MAX {
            root.blame_key("policy", format!("there are {count} policies; allowed are 0 to {POLICIES_MAX}"));
        }
        policies.into_iter().flatten().collect()
    }

    fn read(
        section: &mut Section<'_, '_, '_>,
        (limits, session): (&Limits, &Session),
        (known, tasks): (Option<&[Model]>, &[&str]),
        others: &mut Others,
    ) -> Option<Self> {
        let name = section.required("name", |value| name(value, &mut others.names));
        let clients = clients(section, others);
        let tasks = list(section, "tasks", tasks.len(), |value| task(value, tasks));
        let models = list(section, "models", MODELS_MAX, |value| model(value, known));
        let priority = section.optional("priority", |value| value::choice(value, &PRIORITIES));
        let max_tokens = section.optional("max_tokens", |value| value::number(value, &(1..=1_048_576)));
        let queue_jobs = section.optional("queue_jobs", |value| value::number(value, &(1..=65_536)));
        let tokens_per_minute =
            section.optional("tokens_per_minute", |value| value::number(value, &(1..=TOKENS_PER_MINUTE_MAX)));
        let sessions = section.optional("sessions", |value| value::number(value, &(0..=1024)));
        at_most(section, "sessions", sessions, ("session.per_client", session.per_client));
        at_most(section, "max_tokens", max_tokens, ("limits.max_tokens_cap", limits.max_tokens_cap));
        at_most(section, "queue_jobs", queue_jobs, ("limits.queue_jobs_per_client", limits.queue_jobs_per_client));
        if !CAPS.iter().any(|cap| section.is_set(cap)) {
            section.blame_all(format!("caps nothing; set at least one of {}", CAPS.join(", ")));
        }
        Some(Self {
            name: name?,
            clients,
            tasks,
            models,
            priority,
            max_tokens,
            queue_jobs,
            tokens_per_minute,
            sessions,
        })
    }

    fn is_of(&self, client: &ClientName) -> bool {
        self.clients.iter().any(|pattern| pattern.matches(client))
    }

    fn names(&self, client: &ClientName) -> bool {
        self.clients.iter().any(|pattern| pattern.is_name(client))
    }
}

impl Config {
    /// The policy of a client: the first in order with a pattern for its name. Anybody can be `anonymous`, so that no pattern
    /// but that very name raises it above the last policy, which is the lowest.
    pub fn policy_of(&self, client: &ClientName) -> Option<&Policy> {
        if *client == ClientName::anonymous() {
            return self.policies.iter().find(|policy| policy.names(client)).or(self.policies.last());
        }
        self.policies.iter().find(|policy| policy.is_of(client))
    }
}

fn name(value: &Value, others: &mut BTreeSet<String>) -> Result<PolicyName, String> {
    let name = PolicyName::new(value::text(value)?).map_err(|error| error.to_string())?;
    if others.insert(name.to_string()) { Ok(name) } else { Err("is the name of an earlier policy".to_owned()) }
}

fn clients(section: &mut Section<'_, '_, '_>, others: &mut Others) -> Vec<ClientPattern> {
    if !section.is_set("clients") {
        section.problem("clients", "is missing: write clients = [\"sensor-*\"], or [\"*\"] for everybody");
    }
    let clients = list(section, "clients", PATTERNS_MAX, ClientPattern::read).unwrap_or_default();
    let anonymous = ClientName::anonymous();
    if others.has_everybody && !clients.iter().any(|pattern| pattern.is_name(&anonymous)) {
        section.blame_key("clients", "an earlier policy has every client: this one would never be used");
    }
    others.has_everybody |= clients.iter().any(ClientPattern::is_all);
    clients
}

/// A list that says something if it is there.
fn list<T>(
    section: &mut Section<'_, '_, '_>,
    key: &'static str,
    most: usize,
    parse: impl FnMut(&Value) -> Result<T, String>,
) -> Option<Vec<T>> {
    let list = section.list(key, most, parse);
    if section.array_len(key) == Some(0) {
        section.blame_key(key, format!("is empty; name 1 to {most}"));
    }
    section.is_set(key).then_some(list)
}

fn task(value: &Value, known: &[&str]) -> Result<String, String> {
    let name = value::text(value)?;
    if known.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(format!("no such task; known are {}", known.join(", ")))
}

fn model(value: &Value, known: Option<&[Model]>) -> Result<ModelName, String> {
    let name = ModelName::new(value::text(value)?).map_err(|error| error.to_string())?;
    let Some(known) = known.filter(|known| !known.iter().any(|model| model.name == name)) else { return Ok(name) };
    let names: Vec<&str> = known.iter().map(|model| model.name.as_str()).collect();
    Err(format!(
        "no such model; configured are {}",
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    ))
}

fn at_most<T: Copy + PartialOrd + std::fmt::Display>(
    section: &mut Section<'_, '_, '_>,
    key: &str,
    cap: Option<T>,
    limit: (&str, T),
) {
    let path = section.path_of(key);
    if let Some(cap) = cap {
        section.report.at_most((&path, cap), limit);
    }
}
