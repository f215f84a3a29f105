//! What an operator can ask of a node, over MQTT and over the control socket alike.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ErrorCode, JobError, ModelName};

/// Longest message about what is wrong, in bytes: it may quote a verb or a field's name, which can have any length.
const MESSAGE_MAX: usize = 256;

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
    /// The `status` document.
    Status,
    /// The `info` document.
    Info,
    /// The `model/<name>` documents.
    Models,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    model: Option<ModelName>,
    strategy: Option<String>,
}

impl Control {
    /// Every verb, as topics and the control socket name them.
    pub const VERBS: [&str; 10] =
        ["load", "unload", "switch", "reload", "drain", "resume", "forget", "status", "info", "models"];

    /// Reads a verb and its fields; those about the answer (`id`, `reply_to`, …) have been taken out.
    pub fn read(verb: &str, fields: Map<String, Value>) -> Result<Self, JobError> {
        let invalid = |mut text: String| {
            text.truncate(text.floor_char_boundary(MESSAGE_MAX));
            JobError::new(ErrorCode::InvalidRequest, text)
        };
        if !Self::VERBS.contains(&verb) {
            return Err(invalid(format!("no control verb {verb:?}; known are {}", Self::VERBS.join(", "))));
        }
        let Fields { model, strategy } =
            serde_json::from_value(Value::Object(fields)).map_err(|e| invalid(format!("control/{verb}: {e}")))?;
        let takes_strategy = matches!(verb, "load" | "switch");
        if strategy.is_some() && !takes_strategy {
            return Err(invalid(format!("control/{verb} takes no \"strategy\"")));
        }
        let takes_model = takes_strategy || matches!(verb, "unload" | "reload" | "forget");
        if model.is_some() && !takes_model {
            return Err(invalid(format!("control/{verb} takes no \"model\"")));
        }
        let needed = |model: Option<ModelName>| model.ok_or_else(|| invalid(format!("control/{verb} needs \"model\"")));
        Ok(match verb {
            "load" => Self::Load { model: needed(model)?, strategy },
            "unload" => Self::Unload { model: needed(model)? },
            "switch" => Self::Switch { model: needed(model)?, strategy },
            "reload" => Self::Reload { model },
            "drain" => Self::Drain,
            "resume" => Self::Resume,
            "forget" => Self::Forget { model },
            "status" => Self::Status,
            "info" => Self::Info,
            _ => Self::Models,
        })
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
            Self::Forget { .. } => "forget",
            Self::Status => "status",
            Self::Info => "info",
            Self::Models => "models",
        }
    }
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
        for verb in Control::VERBS {
            let fields = if matches!(verb, "load" | "unload" | "switch") { json!({ "model": "m" }) } else { json!({}) };
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
    fn says_what_is_wrong() {
        for (verb, fields, text) in [
            ("reboot", json!({}), "no control verb"),
            ("load", json!({}), "needs \"model\""),
            ("load", json!({ "model": "a b" }), "model"),
            ("load", json!({ "model": 1 }), "string"),
            ("unload", json!({ "model": "m", "strategy": "cpu:int8" }), "takes no \"strategy\""),
            ("drain", json!({ "model": "m" }), "takes no \"model\""),
            ("status", json!({ "modle": "m" }), "modle"),
        ] {
            let error = read(verb, &fields).unwrap_err();
            assert!(error.code == ErrorCode::InvalidRequest && error.message.contains(text), "{verb}: {error}");
        }
        let long = "ü".repeat(5000);
        assert!(read(&long, &json!({})).unwrap_err().message.len() <= MESSAGE_MAX);
        assert!(read("drain", &json!({ long: 1 })).unwrap_err().message.len() <= MESSAGE_MAX);
    }
}
