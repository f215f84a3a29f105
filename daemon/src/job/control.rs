//! What an operator can ask of a node, over MQTT and over the control socket alike.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ClientName, ErrorCode, JobError, ModelName, RequestId, SessionName, shown};

/// A valid request of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Load a model that was unloaded, perhaps with one strategy only.
    Load {
        /// Which.
        model: ModelName,
        /// As configuration writes it; none leaves the choice to the ladder.
        strategy: Option<String>,
    },
    /// Let a model go once its running jobs have ended. It stays away until it is loaded again.
    Unload {
        /// Which.
        model: ModelName,
    },
    /// Run a model with another strategy, or make it the default; the old one serves until the new one has passed its
    /// golden prompt.
    Switch {
        /// Which.
        model: ModelName,
        /// None keeps the strategy and makes this model the default.
        strategy: Option<String>,
    },
    /// Read the files of a model again and run what they hold now; without a name, read the configuration again and put it in
    /// force.
    Reload {
        /// Which.
        model: Option<ModelName>,
    },
    /// Take no new work; what was accepted is finished.
    Drain,
    /// Take work again.
    Resume,
    /// Forget which strategies of a model have failed before; without a name of all models.
    Forget {
        /// Which.
        model: Option<ModelName>,
    },
    /// Forget what is remembered of conversations: all sessions of a client, or one.
    ForgetSessions {
        /// Whose.
        client: ClientName,
        /// Only this one.
        session: Option<SessionName>,
    },
    /// The jobs that have not ended.
    Jobs {
        /// Of this client only.
        client: Option<ClientName>,
    },
    /// Cancel jobs; each ends with `cancelled`.
    Cancel(Which),
    /// Publish outcomes again: those of a client that nobody has got, or one.
    Fetch {
        /// Whose.
        client: ClientName,
        /// Only this one.
        job: Option<RequestId>,
    },
    /// The `status` document.
    Status,
    /// The `info` document.
    Info,
    /// The `model/<name>` documents.
    Models,
    /// The tasks, with the schemas of those that are data.
    Tasks,
    /// What is wrong with the node and its machine, looked at anew.
    Diagnose,
}

/// Which jobs are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// One.
    One {
        /// Whose.
        client: ClientName,
        /// The client's name for it.
        id: RequestId,
    },
    /// All of a client.
    Client(ClientName),
    /// Every job.
    All,
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Fields {
    /// The model.
    model: Option<ModelName>,
    /// How it shall run, such as `cpu:int8`.
    strategy: Option<String>,
    /// The client.
    client: Option<ClientName>,
    /// The client's name for one of its jobs.
    job: Option<RequestId>,
    /// One of the client's sessions.
    session: Option<SessionName>,
    /// Every job.
    all: Option<bool>,
}

/// Every verb, as topics and the control socket name them, and the fields that it takes.
pub(super) const VERBS: [(&str, &[&str]); 15] = [
    ("load", &["model", "strategy"]),
    ("unload", &["model"]),
    ("switch", &["model", "strategy"]),
    ("reload", &["model"]),
    ("drain", &[]),
    ("resume", &[]),
    ("forget", &["model", "client", "session"]),
    ("jobs", &["client"]),
    ("cancel", &["client", "job", "all"]),
    ("fetch", &["client", "job"]),
    ("status", &[]),
    ("info", &[]),
    ("models", &[]),
    ("tasks", &[]),
    ("diagnose", &[]),
];

impl Control {
    /// Every verb.
    pub fn verbs() -> impl Iterator<Item = &'static str> {
        VERBS.into_iter().map(|(verb, _)| verb)
    }

    /// Reads a verb and its fields; those about the answer (`id`, `reply_to`, …) have been taken out.
    pub fn read(verb: &str, fields: Map<String, Value>) -> Result<Self, JobError> {
        let Some((_, takes)) = VERBS.into_iter().find(|(known, _)| *known == verb) else {
            let known: Vec<&str> = Self::verbs().collect();
            return Err(invalid(format!("no control verb {}; known are {}", shown(verb), known.join(", "))));
        };
        if let Some(field) = fields.keys().find(|field| !takes.contains(&field.as_str())) {
            return Err(invalid(format!("control/{verb} takes no {}", shown(field))));
        }
        let Fields { model, strategy, client, job, session, all } =
            serde_json::from_value(Value::Object(fields)).map_err(|e| invalid(format!("control/{verb}: {e}")))?;
        let needs = |field: &str| invalid(format!("control/{verb} needs {field:?}"));
        let needed = |model: Option<ModelName>| model.ok_or_else(|| needs("model"));
        Ok(match verb {
            "load" => Self::Load { model: needed(model)?, strategy },
            "unload" => Self::Unload { model: needed(model)? },
            "switch" => Self::Switch { model: needed(model)?, strategy },
            "reload" => Self::Reload { model },
            "drain" => Self::Drain,
            "resume" => Self::Resume,
            "forget" => Self::read_forget(model, client, session)?,
            "jobs" => Self::Jobs { client },
            "cancel" => Self::Cancel(Which::read(client, job, all == Some(true))?),
            "fetch" => Self::Fetch { client: client.ok_or_else(|| needs("client"))?, job },
            "status" => Self::Status,
            "info" => Self::Info,
            "models" => Self::Models,
            "tasks" => Self::Tasks,
            _ => Self::Diagnose,
        })
    }

    /// Strategies of models or sessions of a client.
    fn read_forget(
        model: Option<ModelName>,
        client: Option<ClientName>,
        session: Option<SessionName>,
    ) -> Result<Self, JobError> {
        match (model, client, session) {
            (model, None, None) => Ok(Self::Forget { model }),
            (None, Some(client), session) => Ok(Self::ForgetSessions { client, session }),
            _ => {
                let text = "control/forget needs \"client\", and perhaps \"session\", for sessions, or \"model\" alone";
                Err(invalid(text.to_owned()))
            }
        }
    }

    /// The verb.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Load { .. } => "load",
            Self::Unload { .. } => "unload",
            Self::Switch { .. } => "switch",
            Self::Reload { .. } => "reload",
            Self::Drain => "drain",
            Self::Resume => "resume",
            Self::Forget { .. } | Self::ForgetSessions { .. } => "forget",
            Self::Jobs { .. } => "jobs",
            Self::Cancel(_) => "cancel",
            Self::Fetch { .. } => "fetch",
            Self::Status => "status",
            Self::Info => "info",
            Self::Models => "models",
            Self::Tasks => "tasks",
            Self::Diagnose => "diagnose",
        }
    }
}

impl Which {
    fn read(client: Option<ClientName>, job: Option<RequestId>, all: bool) -> Result<Self, JobError> {
        match (client, job, all) {
            (Some(client), Some(id), false) => Ok(Self::One { client, id }),
            (Some(client), None, false) => Ok(Self::Client(client)),
            (None, None, true) => Ok(Self::All),
            _ => Err(invalid(
                "control/cancel needs \"client\" and \"job\" for one job, \"client\" for all of a client, or \"all\": true"
                    .to_owned(),
            )),
        }
    }
}

fn invalid(text: String) -> JobError {
    JobError::new(ErrorCode::InvalidRequest, text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(verb: &str, fields: &Value) -> Result<Control, JobError> {
        Control::read(verb, fields.as_object().unwrap().clone())
    }

    #[test]
    fn reads_every_verb() {
        for verb in Control::verbs() {
            let fields = match verb {
                "load" | "unload" | "switch" => json!({ "model": "m" }),
                "cancel" => json!({ "all": true }),
                "fetch" => json!({ "client": "cam" }),
                _ => json!({}),
            };
            assert_eq!(read(verb, &fields).unwrap().verb(), verb);
        }
        let strategy = Some("cpu:int8".to_owned());
        let model = ModelName::new("m").unwrap();
        assert_eq!(
            read("switch", &json!({ "model": "m", "strategy": "cpu:int8" })),
            Ok(Control::Switch { model, strategy })
        );
    }

    #[test]
    fn a_cancel_says_which_jobs_and_nothing_is_guessed() {
        let (client, id) = (ClientName::new("cam").unwrap(), RequestId::new("7").unwrap());
        for (fields, which) in [
            (json!({ "client": "cam", "job": "7" }), Which::One { client: client.clone(), id }),
            (json!({ "client": "cam" }), Which::Client(client)),
            (json!({ "all": true }), Which::All),
        ] {
            assert_eq!(read("cancel", &fields), Ok(Control::Cancel(which)));
        }
        for fields in
            [json!({}), json!({ "job": "7" }), json!({ "all": false }), json!({ "client": "cam", "all": true })]
        {
            assert!(read("cancel", &fields).unwrap_err().message.contains("\"client\" and \"job\""), "{fields}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (verb, fields, text) in [
            ("reboot", json!({}), "no control verb"),
            ("load", json!({}), "needs \"model\""),
            ("load", json!({ "model": "a b" }), "model"),
            ("load", json!({ "model": 1 }), "string"),
            ("forget", json!({ "model": "m", "client": "cam" }), "for sessions"),
            ("forget", json!({ "session": "s" }), "needs \"client\""),
            ("unload", json!({ "model": "m", "strategy": "cpu:int8" }), "takes no \"strategy\""),
            ("drain", json!({ "model": "m" }), "takes no \"model\""),
            ("status", json!({ "modle": "m" }), "modle"),
        ] {
            let error = read(verb, &fields).unwrap_err();
            assert!(error.code == ErrorCode::InvalidRequest && error.message.contains(text), "{verb}: {error}");
        }
        let long = "ü".repeat(5000);
        for error in [read(&long, &json!({})), read("drain", &json!({ long: 1 }))].map(Result::unwrap_err) {
            assert!(error.message.contains("üü…\"") && error.message.len() < 300, "{error}");
        }
    }
}
