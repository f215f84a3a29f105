//! What another configuration asks of a daemon that runs.
//!
//! Pure: two configurations go in, and what has to be done comes out. Every key of every table is named here once, with what
//! a change of it takes; one that is added to a table and not here does not compile.

use std::collections::BTreeSet;
use std::path::Path;

use super::change_lists::{bindings, compare_models, policies};
use super::pipeline::changed_definitions;
use super::{
    Config, Disk, Engine, Journal, Limits, Load, LogLevel, Memory, Model, Mqtt, Node, Service, Session, Telemetry,
    Thermal, Tls,
};
use crate::job::ModelName;

/// The way from the configuration in force to another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What is in force from now on: the new configuration, with the old value of each key that needs a restart.
    pub config: Config,
    /// The keys whose new value is in force from now on, such as `limits.queue_jobs` and `model[main].context`.
    pub keys: Vec<String>,
    /// The models that are new.
    pub added: Vec<ModelName>,
    /// The models that are there no more.
    pub removed: Vec<ModelName>,
    /// The keys that have a new value in the files, which needs a restart of the daemon.
    pub restart: Vec<String>,
    /// What has to be done, in this order. What is not here is looked up in the configuration whenever it is needed.
    pub steps: Vec<Step>,
}

/// Something that has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Requests are read and queued by other rules.
    Requests,
    /// Memory is watched by other rules.
    Memory,
    /// Heat is watched by other rules.
    Thermal,
    /// Other things are told about the machine, or elsewhere.
    Telemetry,
    /// So much is logged.
    Log(LogLevel),
    /// The outbox needs more places: it was made larger, or there are more sequences whose jobs hold one each.
    Outbox,
    /// The connection to the broker is made anew, with other settings.
    Reconnect,
    /// A model goes, once its running jobs have ended.
    Remove(ModelName),
    /// A model comes.
    Add(Model),
    /// A model needs another engine.
    Renew(Model),
    /// A model's engine may stay if the files are what they were; what else is said of the model may be new.
    Keep(Model),
    /// Another model serves requests that name none.
    Default(ModelName),
}

/// What a changed key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// Nothing: it is looked up when it is needed.
    None,
    Requests,
    Memory,
    Thermal,
    Telemetry,
    Log,
    Outbox,
    Reconnect,
    /// Another engine for each model it concerns: it is told to the process when that starts.
    Engine,
    /// What hangs on it can't be changed while the daemon runs.
    Restart,
}

/// Compares a table key by key; what is no key is excepted. The old value takes the place of a new one that needs a restart.
macro_rules! compare {
    (
        $differences:expr, $name:expr, $old:expr, $new:expr,
        $table:ident { $($key:ident: $effect:expr),* $(,)? } $(except $other:ident)?
    ) => {{
        let $table { $($other: _,)? $($key),* } = $old;
        $(if *$key != $new.$key {
            let effect = $effect;
            $differences.note(format!("{}.{}", $name, stringify!($key)), effect);
            if effect == Effect::Restart {
                $new.$key.clone_from($key);
            }
        })*
    }};
}

pub(super) use compare;

#[derive(Default)]
pub(super) struct Differences {
    pub(super) keys: Vec<String>,
    restart: Vec<String>,
    pub(super) effects: BTreeSet<Effect>,
}

impl Differences {
    pub(super) fn note(&mut self, key: String, effect: Effect) {
        if effect == Effect::Restart {
            self.restart.push(key);
        } else {
            self.keys.push(key);
            self.effects.insert(effect);
        }
    }
}

impl Change {
    /// From the configuration in force to the one that was read.
    pub fn between(old: &Config, mut new: Config) -> Self {
        let mut found = Differences::default();
        node(&mut found, &old.node, &mut new.node);
        mqtt(&mut found, &old.mqtt, &mut new.mqtt);
        rules(&mut found, old, &mut new);
        policies(&mut found, &old.policies, &mut new.policies);
        bindings(&mut found, &old.bindings, &new.bindings);
        telemetry(&mut found, &old.telemetry, &mut new.telemetry);
        service(&mut found, &old.service, &mut new.service);
        for key in changed_definitions(old, &new) {
            found.note(key, Effect::Requests);
        }
        if sequences(&new) > sequences(old) {
            found.effects.insert(Effect::Outbox);
        }
        let for_all = found.effects.contains(&Effect::Engine);
        let mut steps: Vec<Step> = found.effects.iter().filter_map(|effect| step(*effect, &new)).collect();
        let missing = |from: &Config, model: &&Model| !from.models.iter().any(|other| other.name == model.name);
        let removed: Vec<ModelName> = names(old.models.iter().filter(|model| missing(&new, model)));
        let added = names(new.models.iter().filter(|model| missing(old, model)));
        steps.extend(removed.iter().cloned().map(Step::Remove));
        for model in &mut new.models {
            let known = old.models.iter().find(|known| known.name == model.name);
            let renewed = known.map(|known| compare_models(&mut found, known, model) || for_all);
            steps.push(match renewed {
                None => Step::Add(model.clone()),
                Some(true) => Step::Renew(model.clone()),
                Some(false) => Step::Keep(model.clone()),
            });
        }
        let default = new.default_model().map(|model| &model.name);
        if default != old.default_model().map(|model| &model.name) {
            steps.extend(default.cloned().map(Step::Default));
        }
        let Differences { keys, restart, .. } = found;
        Self { config: new, keys, added, removed, restart, steps }
    }

    /// Whether nothing differs but, perhaps, what needs a restart.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.added.is_empty() && self.removed.is_empty()
    }
}

fn names<'a>(models: impl Iterator<Item = &'a Model>) -> Vec<ModelName> {
    models.map(|model| model.name.clone()).collect()
}

fn sequences(config: &Config) -> u32 {
    config.models.iter().map(|model| model.sequences).sum()
}

fn step(effect: Effect, new: &Config) -> Option<Step> {
    match effect {
        Effect::Requests => Some(Step::Requests),
        Effect::Memory => Some(Step::Memory),
        Effect::Thermal => Some(Step::Thermal),
        Effect::Telemetry => Some(Step::Telemetry),
        Effect::Log => Some(Step::Log(new.service.log_level)),
        Effect::Outbox => Some(Step::Outbox),
        Effect::Reconnect => Some(Step::Reconnect),
        Effect::None | Effect::Engine | Effect::Restart => None,
    }
}

/// The name is in every topic, the groups in what is subscribed.
fn node(found: &mut Differences, old: &Node, new: &mut Node) {
    compare!(found, "node", old, new, Node { name: Effect::Restart, groups: Effect::Reconnect, labels: Effect::None });
}

fn mqtt(found: &mut Differences, old: &Mqtt, new: &mut Mqtt) {
    // Places that are taken can't be taken away.
    let outbox = if new.outbox_max > old.outbox_max { Effect::Outbox } else { Effect::Restart };
    compare!(
        found,
        "mqtt",
        old,
        new,
        Mqtt {
            url: Effect::Reconnect,
            // The session at the broker hangs on it: what waits there would be lost.
            client_id: Effect::Restart,
            root: Effect::Restart,
            username: Effect::Reconnect,
            password_credential: Effect::Reconnect,
            keep_alive: Effect::Reconnect,
            session_expiry: Effect::Reconnect,
            receive_maximum: Effect::Reconnect,
            packet_max: Effect::Reconnect,
            outbox_max: outbox,
            backoff_min: Effect::Reconnect,
            backoff_max: Effect::Reconnect,
            reply_allow: Effect::Requests,
            anonymous: Effect::None,
        } except tls
    );
    for ((key, old), (_, new)) in tls_files(old.tls.as_ref()).into_iter().zip(tls_files(new.tls.as_ref())) {
        if old != new {
            found.note(format!("mqtt.{key}"), Effect::Reconnect);
        }
    }
}

/// The files for TLS, by their keys.
fn tls_files(tls: Option<&Tls>) -> [(&str, Option<&Path>); 3] {
    let client = tls.and_then(|tls| tls.client.as_ref());
    [
        ("ca_file", tls.and_then(|tls| tls.ca_file.as_deref())),
        ("cert_file", client.map(|client| client.cert_file.as_path())),
        ("key_credential", client.map(|client| client.key_credential.as_path())),
    ]
}

/// What clients, memory, heat, engines and disk go by.
fn rules(found: &mut Differences, old: &Config, new: &mut Config) {
    // An engine is made for the largest request.
    let larger = new.limits.request > old.limits.request;
    compare!(
        found,
        "limits",
        &old.limits,
        new.limits,
        Limits {
            request: Effect::Requests,
            result: Effect::None,
            queue_jobs: Effect::Requests,
            queue_jobs_per_client: Effect::Requests,
            inputs: Effect::Requests,
            schema: Effect::Requests,
            pipeline_steps: Effect::Requests,
            for_each: Effect::None,
            max_tokens: Effect::Requests,
            max_tokens_cap: Effect::Requests,
            deadline: Effect::Requests,
            deadline_cap: Effect::Requests,
        }
    );
    if larger {
        found.effects.insert(Effect::Engine);
    }
    compare!(found, "load", &old.load, new.load, Load { timeout: Effect::None, idle_unload: Effect::None });
    compare!(
        found,
        "memory",
        &old.memory,
        new.memory,
        Memory {
            reserve: Effect::Memory,
            budget: Effect::Memory,
            pressure_psi: Effect::Memory,
            recover_after: Effect::Memory,
        }
    );
    compare!(
        found,
        "thermal",
        &old.thermal,
        new.thermal,
        Thermal {
            soft_celsius: Effect::Thermal,
            hard_celsius: Effect::Thermal,
            margin_celsius: Effect::Thermal,
            hysteresis_celsius: Effect::Thermal,
        }
    );
    compare!(
        found,
        "engine",
        &old.engine,
        new.engine,
        Engine {
            max_stall: Effect::Engine,
            heartbeat_timeout: Effect::Engine,
            crash_quarantine: Effect::None,
            reproducible: Effect::Engine,
            adapt_threads: Effect::Engine,
            prefix_cache: Effect::Engine,
        }
    );
    compare!(
        found,
        "journal",
        &old.journal,
        new.journal,
        Journal {
            // The file is opened with them.
            durability: Effect::Restart,
            commit_window: Effect::Restart,
            keep: Effect::None,
            size_max: Effect::Restart,
            on_unwritable: Effect::None,
        }
    );
    compare!(
        found,
        "session",
        &old.session,
        new.session,
        Session { keep: Effect::None, per_client: Effect::None, size_max: Effect::None }
    );
    compare!(found, "disk", &old.disk, new.disk, Disk { reserve: Effect::None, derived_max: Effect::None });
}

fn telemetry(found: &mut Differences, old: &Telemetry, new: &mut Telemetry) {
    compare!(
        found,
        "telemetry",
        old,
        new,
        Telemetry {
            interval: Effect::Telemetry,
            stream_interval: Effect::Telemetry,
            health_min_interval: Effect::Telemetry,
            health_max_interval: Effect::Telemetry,
            deadbands: Effect::Telemetry,
            http: Effect::Telemetry,
            textfile: Effect::Telemetry,
            home_assistant: Effect::Telemetry,
            thin_edge: Effect::Telemetry,
        }
    );
}

fn service(found: &mut Differences, old: &Service, new: &mut Service) {
    compare!(
        found,
        "service",
        old,
        new,
        Service {
            drain_timeout: Effect::None,
            log_level: Effect::Log,
            state_dir: Effect::Restart,
            control_socket: Effect::Restart,
        }
    );
}
