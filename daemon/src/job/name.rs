//! Names that become segments of MQTT topics and keys of journals.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

/// Longest name in bytes, so that a topic always fits and a log line stays readable.
const NAME_MAX: usize = 64;

/// The rule of names, as the contract says it.
pub const NAME_PATTERN: &str = "^[A-Za-z0-9._-]{1,64}$";

/// What the names of clients begin with that are bindings.
const BINDING: &str = "binding.";

/// Longest name of a binding in bytes: as a client it is longer.
pub const BINDING_NAME_MAX: usize = NAME_MAX - BINDING.len();

/// A name that breaks the rule `[A-Za-z0-9._-]{1,64}`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidName {
    /// Empty, or longer than 64 bytes.
    #[error("{what} has {length} bytes; allowed are 1 to {NAME_MAX}")]
    Length {
        /// Which kind of name.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// A character outside of the allowed set.
    #[error("{what} contains {character:?}; allowed are letters, digits, '.', '_' and '-'")]
    Character {
        /// Which kind of name.
        what: &'static str,
        /// The first character that is not allowed.
        character: char,
    },
}

fn validate(what: &'static str, text: &str) -> Result<(), InvalidName> {
    if text.is_empty() || text.len() > NAME_MAX {
        return Err(InvalidName::Length { what, length: text.len() });
    }
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !".-_".contains(*c)) {
        Some(character) => Err(InvalidName::Character { what, character }),
        None => Ok(()),
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $type:ident = $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            /// Checks `[A-Za-z0-9._-]{1,64}`.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
                let text = text.into();
                validate($what, &text)?;
                Ok(Self(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": NAME_PATTERN })
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

names! {
    /// The client of a request: the topic segment that a broker's ACL can vouch for.
    ClientName = "client";
    /// A client's own name for one request, or one that promptd made.
    RequestId = "id";
    /// A configured model.
    ModelName = "model";
    /// A task, the `<task>` segment of a request topic.
    TaskName = "task";
    /// A conversation that the node remembers, as its client calls it.
    SessionName = "session";
    /// A step of a pipeline, as others call it.
    StepName = "step";
    /// A policy of the configuration.
    PolicyName = "policy";
    /// This daemon among the nodes of one broker.
    NodeName = "node";
    /// A binding of the configuration.
    BindingName = "binding";
    /// A fleet group.
    GroupName = "group";
}

impl ClientName {
    /// The client of requests whose topic has no client segment.
    pub fn anonymous() -> Self {
        Self("anonymous".to_owned())
    }

    /// The client whose requests those of a binding are.
    pub fn of_binding(binding: &BindingName) -> Self {
        let mut name = format!("{BINDING}{binding}");
        name.truncate(NAME_MAX);
        Self(name)
    }

    /// Whether it is a name of the node's own, which no client on the network may have.
    pub fn is_own(&self) -> bool {
        self.0.starts_with(BINDING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_whole_alphabet_and_both_lengths() {
        assert!(ClientName::new("a").is_ok());
        assert!(ClientName::new("Az09._-").is_ok());
        assert!(ClientName::new("x".repeat(64)).is_ok());
    }

    #[test]
    fn bindings_are_clients_of_the_node_s_own() {
        let longest = ClientName::of_binding(&BindingName::new("x".repeat(BINDING_NAME_MAX)).unwrap());
        assert!(longest.is_own() && ClientName::new(longest.as_str()).is_ok());
        assert!(!ClientName::new("bindings").unwrap().is_own() && !ClientName::anonymous().is_own());
    }

    #[test]
    fn refuses_with_the_value_and_the_limit() {
        let error = RequestId::new("").unwrap_err().to_string();
        assert_eq!(error, "id has 0 bytes; allowed are 1 to 64");
        let error = RequestId::new("x".repeat(65)).unwrap_err().to_string();
        assert_eq!(error, "id has 65 bytes; allowed are 1 to 64");
        for (bad, character) in [("a/b", '/'), ("+", '+'), ("#", '#'), ("$share", '$'), ("ä", 'ä'), ("a b", ' ')] {
            assert_eq!(ClientName::new(bad), Err(InvalidName::Character { what: "client", character }));
        }
    }
}
