//! The configuration is read again while the daemon runs.
//!
//! What is wrong leaves everything as it is. What is good takes effect at once, as far as it can: [`Change`] says what that
//! takes, and each of its steps is carried out here.

use serde_json::{Map, Value, json};

use super::driver::{Driver, Phase};
use super::status::NodeFault;
use super::wiring::{governor_settings, link_config, outbox_places, queue_limits, request_reader, thermal_settings};
use crate::config::{Change, ConfigError, Loaded, Step};
use crate::job::{ErrorCode, JobError};
use crate::telemetry::NodeEvent;

/// Most bytes of problems in an operator's answer.
const PROBLEMS_BYTES_MAX: usize = 8192;

impl Driver {
    /// Reads the configuration and puts it in force; gives what is new in it. The models that it concerns load afterwards.
    pub(super) fn reload(&mut self) -> Result<Map<String, Value>, JobError> {
        if let Phase::Draining { .. } = self.phase {
            return Err(JobError::new(ErrorCode::Draining, "the node is stopping"));
        }
        self.board.reload_begins();
        self.ask_broker_again();
        let outcome = match self.origin.load() {
            Ok(loaded) => Ok(self.put_in_force(loaded)),
            Err(broken) => {
                self.is_broken(&broken, "the running one stays in force");
                let mut text = format!(
                    "the configuration is broken, the running one stays in force:\n{}",
                    broken.problems().join("\n")
                );
                text.truncate(text.floor_char_boundary(PROBLEMS_BYTES_MAX));
                // The request is the configuration: nothing changes before that is mended.
                Err(JobError::new(ErrorCode::InvalidRequest, text))
            }
        };
        self.publish_status();
        self.board.reload_ends();
        outcome
    }

    /// Says what is wrong with the configuration that is there now.
    pub(super) fn is_broken(&mut self, broken: &ConfigError, instead: &str) {
        for problem in broken.problems() {
            tracing::error!("{problem}");
        }
        let reason = format!("{}; {instead}", broken.summary());
        self.faults.retain(|fault| !matches!(fault, NodeFault::Configuration(_)));
        self.faults.insert(NodeFault::Configuration(reason.clone()));
        let event = NodeEvent { event: "misconfigured", reason, ..NodeEvent::default() };
        self.board.publish_node_event(&self.link, &self.topics, &event);
    }

    /// Keeps a configuration that is in force for a start with a broken one.
    pub(super) fn keep(&self, loaded: &Loaded) {
        if let Err(error) = self.origin.keep(loaded) {
            tracing::warn!("a start with a broken configuration will fail, for want of a good one: {error}");
        }
    }

    fn put_in_force(&mut self, loaded: Loaded) -> Map<String, Value> {
        self.keep(&loaded);
        let Change { config, keys, added, removed, restart, steps } = Change::between(&self.config, loaded.config);
        self.config = config;
        self.faults.retain(|fault| !matches!(fault, NodeFault::Configuration(_)));
        for step in steps {
            self.carry_out(step);
        }
        self.tell_all_openings();
        self.renew_credentials();
        self.keep_a_default();
        self.board.publish_info(&self.link, &self.topics, &self.config);
        let parts = [("changed", json!(keys)), ("added", json!(added)), ("removed", json!(removed))];
        let parts = parts.into_iter().chain([("restart", json!(restart))]);
        let changes: Map<String, Value> = parts.map(|(name, list)| (name.to_owned(), list)).collect();
        self.needs_restart = restart;
        let reason = in_words(&changes);
        tracing::info!("the configuration was read again: {reason}");
        let event = NodeEvent { event: "reloaded", reason, ..NodeEvent::default() };
        self.board.publish_node_event(&self.link, &self.topics, &event);
        changes
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Requests => match request_reader(&self.config, &self.topics) {
                Ok(reader) => {
                    self.reader = reader;
                    self.queue.set_limits(queue_limits(&self.config));
                }
                // The configuration knows the same rules for filters.
                Err(error) => tracing::error!("requests are read by the old rules: mqtt.reply_allow: {error}"),
            },
            Step::Memory => {
                self.memory.set_config(self.config.memory.clone());
                self.governor.set(governor_settings(&self.config));
            }
            Step::Thermal => {
                self.thermal.set(thermal_settings(&self.config, &self.board_kind));
                self.health.look_soon();
            }
            Step::Telemetry => {
                self.reporting.set(self.config.telemetry.clone());
                self.board.set_heartbeat(&self.link, &self.topics, self.config.telemetry.interval);
            }
            Step::Log(level) => (self.set_log_level)(level),
            Step::Outbox => self.link.grow_outbox(outbox_places(&self.config)),
            Step::Reconnect => {
                self.link.reconnect(link_config(&self.config, &self.topics));
                self.renew_group_link();
                self.follow_groups();
            }
            Step::Add(model) => self.add_model(model),
            Step::Remove(name) => {
                if let Some(index) = self.configured(&name) {
                    self.remove_model(index);
                }
            }
            Step::Renew(model) => {
                if let Some(index) = self.configured(&model.name) {
                    self.renew_model(index, model);
                }
            }
            Step::Keep(model) => {
                if let Some(index) = self.configured(&model.name) {
                    self.keep_model(index, model);
                }
            }
            Step::Default(name) => {
                for entry in &mut self.models {
                    entry.config.default = *entry.name() == name;
                }
            }
        }
    }

    /// The link reads credentials at each connect: new ones need one.
    fn renew_credentials(&mut self) {
        match self.config.mqtt.credentials_hash() {
            Ok(hash) if hash == self.credentials => {}
            Ok(hash) => {
                self.credentials = hash;
                self.link.reconnect(link_config(&self.config, &self.topics));
            }
            Err(error) => tracing::warn!("{error}"),
        }
    }

    /// An operator may have made a model the default one that is there no more.
    fn keep_a_default(&mut self) {
        if self.models.iter().any(|entry| entry.config.default) {
            return;
        }
        let default = self.config.default_model().map(|model| model.name.clone());
        if let Some(name) = default {
            self.carry_out(Step::Default(name));
        }
    }
}

/// What a reload has brought, for people.
fn in_words(changes: &Map<String, Value>) -> String {
    let part = |(name, list): (&String, &Value)| {
        let items: Vec<&str> = list.as_array()?.iter().filter_map(Value::as_str).collect();
        let name = if name == "restart" { "needs a restart" } else { name };
        (!items.is_empty()).then(|| format!("{name}: {}", items.join(", ")))
    };
    let parts: Vec<String> = changes.iter().filter_map(part).collect();
    if parts.is_empty() { "nothing is new".to_owned() } else { parts.join("; ") }
}
