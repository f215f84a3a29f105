//! `info`: what a node is, and what it can do.

use std::collections::BTreeMap;
use std::time::SystemTime;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::Documents;
use super::contract::API_VERSION;
use super::documents::json;
use crate::health::Machine;
use crate::job::{GroupName, ModelName};
use crate::plan::Profile;

/// What `info` tells besides the node's name and version.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NodeInfo<'a> {
    /// Tasks that can be asked for.
    pub tasks: &'a [TaskInfo<'a>],
    /// The configured models.
    pub models: &'a [ModelName],
    /// What a client should know before it asks.
    pub limits: &'a InfoLimits,
    /// The groups whose work it shares.
    #[serde(skip_serializing_if = "<[GroupName]>::is_empty")]
    pub groups: &'a [GroupName],
    /// What the operator says about the node.
    pub labels: &'a BTreeMap<String, String>,
    /// The machine.
    pub machine: &'a Machine,
    /// What suits it, and why.
    pub profile: &'a Profile,
    /// When certificates end, with a broker behind TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsDates>,
    /// What the node has found when it looked at itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_test: Option<&'a SelfTest>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Info")]
pub(super) struct Info<'a> {
    /// The node's name.
    node: &'a str,
    /// The version of promptd.
    version: &'a str,
    /// The version of this interface; within 1, only optional fields are added.
    #[schemars(regex(pattern = r"^1\.[0-9]+$"))]
    api: &'a str,
    #[serde(flatten)]
    rest: &'a NodeInfo<'a>,
}

/// When certificates of the link to the broker end. What does not exist or can't be read is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TlsDates {
    /// The first one of our own certificate and those that lead to its authority.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "date")]
    #[schemars(with = "Option<String>")]
    pub client_cert_expires: Option<SystemTime>,
    /// The first one of the authorities that the configuration names.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "date")]
    #[schemars(with = "Option<String>")]
    pub ca_expires: Option<SystemTime>,
}

/// RFC 3339 in UTC. Certificates that never end say so with the year 9999.
#[expect(clippy::ref_option, reason = "what serde asks for")]
fn date<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    let time = time.map(|time| format!("{:.0}", Timestamp::try_from(time).unwrap_or(Timestamp::MAX)));
    time.serialize(serializer)
}

/// What the daemon found when it looked at itself and its machine at the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SelfTest {
    /// How many findings were as they should be.
    pub pass: usize,
    /// Checks with something that could be better, each once.
    pub warn: Vec<&'static str>,
    /// Checks with something that does not work, each once.
    pub fail: Vec<&'static str>,
    /// When, RFC 3339 in UTC; left out if the clock can't be trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// A time as documents tell it: RFC 3339 in UTC, to the second.
pub fn timestamp(at: SystemTime) -> String {
    format!("{:.0}", Timestamp::try_from(at).unwrap_or_default())
}

/// A task as `info` lists it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TaskInfo<'a> {
    /// The segment of the request topic.
    pub name: &'a str,
    /// The fields of one that is data, besides those of every task; `promptd tasks` tells their schema.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub fields: &'a [String],
}

/// The limits that a client should know before it asks.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct InfoLimits {
    /// Bytes of a request.
    pub request_bytes: usize,
    /// Bytes of an answer.
    pub result_bytes: usize,
    /// Jobs that wait.
    pub queue_jobs: usize,
    /// Jobs of one client that wait.
    pub queue_jobs_per_client: usize,
    /// Texts of one request.
    pub inputs: usize,
    /// Tokens of an answer if the request says nothing.
    pub max_tokens: u32,
    /// Most tokens of an answer.
    pub max_tokens_cap: u32,
    /// Deadline if the request says nothing, milliseconds.
    pub deadline_ms: u64,
    /// Longest deadline, milliseconds.
    pub deadline_cap_ms: u64,
}

impl Documents {
    /// `info`.
    pub fn info(&self, info: &NodeInfo<'_>) -> Vec<u8> {
        json(&Info { node: self.node.as_str(), version: env!("CARGO_PKG_VERSION"), api: API_VERSION, rest: info })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::{json, to_value};

    use super::*;

    #[test]
    fn certificates_have_dates_in_utc_and_those_that_never_end_the_last_one() {
        let never = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
        let dates =
            TlsDates { client_cert_expires: Some(UNIX_EPOCH + Duration::from_hours(24)), ca_expires: Some(never) };
        let expected = json!({ "client_cert_expires": "1970-01-02T00:00:00Z", "ca_expires": "9999-12-30T22:00:00Z" });
        assert_eq!(to_value(dates).unwrap(), expected);
        assert_eq!(to_value(TlsDates::default()).unwrap(), json!({}), "what is unknown is left out");
    }
}
