//! The configuration: `promptd.toml`, then `conf.d/*.toml`, `tasks.d/*.toml` and `pipelines.d/*.toml` beside it in name
//! order, checked as a whole.
//!
//! [`Config::load`] either gives values that are all in range or every problem of every file at once, each with its
//! line and key. The way there: `source` reads the files, `tree` parses them and remembers where each value
//! stands, `merge` lays them over each other, and each section reads its keys through a `section::Section`, one
//! line a key: name, default, bounds. That line is the only place that knows them; a test compares the documented
//! example `config/promptd.toml` with it.
//!
//! Only what takes effect is checked: a bad value that a later file replaces is no problem. What suits the machine, its
//! [`Profile`], is handed in; where a key that depends on it is not set, its value is the default.
//!
//! A daemon knows the [`Origin`] of its configuration: it reads it again from there, and keeps there a copy of the last
//! one that was good. [`Change`] says what a new one asks of a daemon that runs.

mod binding;
mod binding_topic;
mod change;
mod change_lists;
mod credential;
mod disk;
mod engine;
mod error;
mod fingerprint;
mod journal;
mod last_good;
mod limits;
mod machine;
mod memory;
mod merge;
mod model;
mod model_file;
mod mqtt;
mod nearest;
mod node;
mod origin;
mod pattern;
mod pipeline;
mod policy;
mod report;
mod section;
mod service;
mod session;
mod source;
mod task;
mod telemetry;
mod thermal;
mod tls;
mod topic;
mod tree;
mod unit;
mod url;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub use binding::{Binding, OnBusy};
pub use binding_topic::{PublishTopic, wildcards};
pub use change::{Change, Step};
pub use credential::Secret;
pub use disk::Disk;
pub use engine::{Engine, Load};
pub use error::{ConfigError, Place, Problem, SyntaxError};
pub use journal::{Durability, Journal, OnUnwritable};
pub use limits::Limits;
pub use memory::Memory;
pub use model::{Classification, Expect, Model};
pub use model_file::{ModelFile, sha256};
pub use mqtt::Mqtt;
pub use node::Node;
pub use origin::Origin;
pub use pattern::ClientPattern;
pub use pipeline::read_pipeline;
pub use policy::Policy;
pub use service::{LogLevel, Service};
pub use session::Session;
pub use telemetry::{Deadbands, Telemetry};
pub use thermal::Thermal;
pub use tls::{ClientCertificate, Tls};
pub use url::{BrokerUrl, Scheme};

use crate::plan::Profile;
use crate::task::{Definition, PipelineDefinition};
use machine::Machine;
use report::Report;
use source::Source;
use tree::Table;
use unit::Size;

/// The whole configuration. Every value is in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Who this daemon is.
    pub node: Node,
    /// The way to the broker.
    pub mqtt: Mqtt,
    /// What clients may ask for.
    pub limits: Limits,
    /// The models, in the order of the files. At most one is the default; with any model, exactly one.
    pub models: Vec<Model>,
    /// What some clients may ask for less than others; the first one for a client counts.
    pub policies: Vec<Policy>,
    /// Devices whose topics can't change.
    pub bindings: Vec<Binding>,
    /// The tasks that are data, built-in ones among them.
    pub tasks: Vec<Definition>,
    /// The pipelines that have names.
    pub pipelines: Vec<PipelineDefinition>,
    /// Loading of models.
    pub load: Load,
    /// The memory of the machine.
    pub memory: Memory,
    /// The heat of the machine.
    pub thermal: Thermal,
    /// The engine children.
    pub engine: Engine,
    /// The journal of jobs and their outcomes.
    pub journal: Journal,
    /// What is remembered of conversations.
    pub session: Session,
    /// The file system with the state folder.
    pub disk: Disk,
    /// What is told about the machine.
    pub telemetry: Telemetry,
    /// The daemon itself.
    pub service: Service,
    /// What suits the machine: the defaults that depend on it come from here.
    pub profile: Profile,
}

/// A configuration and what it was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The files that were read, in the order of their effect: later ones win.
    sources: Vec<Source>,
}

impl Loaded {
    /// The configuration of a machine without any file.
    pub fn defaults(profile: &Profile) -> Self {
        Self { config: Config::defaults(profile), sources: Vec::new() }
    }

    /// The files that were read, in the order of their effect: later ones win.
    pub fn files(&self) -> Vec<PathBuf> {
        self.sources.iter().map(|source| source.path.clone()).collect()
    }
}

impl Config {
    /// Reads `path` and the files of the folders `conf.d`, `tasks.d` and `pipelines.d` beside it. A missing `path` is an error,
    /// a missing folder not.
    pub fn load(path: &Path, profile: &Profile) -> Result<Loaded, ConfigError> {
        match Self::examine(path, profile)? {
            (loaded, None) => Ok(loaded),
            (_, Some(invalid)) => Err(invalid),
        }
    }

    /// The same for a checker: what could be read, with the default in the place of each value that is wrong, and what is
    /// wrong.
    pub fn examine(path: &Path, profile: &Profile) -> Result<(Loaded, Option<ConfigError>), ConfigError> {
        let sources = source::read(path)?;
        let (config, invalid) = Self::read_sources(&sources, &Machine::this(profile))?;
        Ok((Loaded { config, sources }, invalid))
    }

    /// The configuration of a machine without any file.
    ///
    /// # Panics
    ///
    /// Never: the defaults are within their own bounds, which a test checks.
    pub fn defaults(profile: &Profile) -> Self {
        Self::from_sources(&[], &Machine::this(profile)).expect("the defaults are valid")
    }

    /// The model that serves requests which name none.
    pub fn default_model(&self) -> Option<&Model> {
        self.models.iter().find(|model| model.default)
    }

    fn from_sources(sources: &[Source], machine: &Machine) -> Result<Self, ConfigError> {
        match Self::read_sources(sources, machine)? {
            (config, None) => Ok(config),
            (_, Some(invalid)) => Err(invalid),
        }
    }

    fn read_sources(sources: &[Source], machine: &Machine) -> Result<(Self, Option<ConfigError>), ConfigError> {
        let sources: Vec<Source> = task::built_in().chain(sources.iter().cloned()).collect();
        let tree = merge::all(tree::parse_all(&sources)?);
        let mut report = Report::new(&sources);
        let config = Self::from_tree(&tree, machine, &mut report);
        Ok((config, report.finish()))
    }

    fn from_tree(tree: &Table, machine: &Machine, report: &mut Report<'_>) -> Self {
        let profile = &machine.profile;
        let config = section::read(tree, report, |root| {
            let node = root.table("node", |section| Node::read(section, machine));
            let mqtt = root.table("mqtt", |section| Mqtt::read(section, &node.name));
            let limits = root.table("limits", Limits::read);
            let models = Model::read_all(root, profile);
            let mut names = BTreeSet::new();
            let tasks = task::read_all(root, &mut names);
            let pipelines = pipeline::read_all(root, &limits, &tasks, &mut names);
            let session = root.table("session", Session::read);
            let bindings = Binding::read_all(root, &mqtt.root, &limits);
            Self {
                policies: Policy::read_all(root, (&limits, &session), &models, (&tasks, &pipelines)),
                node,
                mqtt,
                limits,
                models,
                bindings,
                tasks,
                pipelines,
                load: root.table("load", Load::read),
                memory: root.table("memory", |section| Memory::read(section, profile)),
                thermal: root.table("thermal", Thermal::read),
                engine: root.table("engine", Engine::read),
                journal: root.table("journal", Journal::read),
                session,
                disk: root.table("disk", Disk::read),
                telemetry: root.table("telemetry", Telemetry::read),
                service: root.table("service", |section| Service::read(section, machine)),
                profile: profile.clone(),
            }
        });
        // A rule between sections; those within one stand in its `read`.
        report.below(
            ("limits.request", Size(config.limits.request as u64)),
            ("mqtt.packet_max", Size(u64::from(config.mqtt.packet_max))),
        );
        // Each waiting job holds the place of its answer; one that runs, a refusal and a cancel need one more.
        report.below(("limits.queue_jobs", config.limits.queue_jobs), ("mqtt.outbox_max", config.mqtt.outbox_max));
        config
    }
}
