//! `event`, what happened to a model, and `jobs/<client>/<id>`, what becomes of a request, each as it happens.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::documents::{Documents, REASON_MAX, json, short};
use crate::job::{ErrorCode, Finish, ModelName, Outcome, StepName};
use crate::task::Progress;

/// What can happen to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It serves.
    Loaded,
    /// It serves in a worse way than before.
    SteppedDown,
    /// It serves in a better way than before.
    SteppedUp,
    /// It serves in the way that an operator wanted.
    Switched,
    /// It was let go.
    Unloaded,
    /// A way to run it failed, or all of them.
    Failed,
    /// A file of another precision was made.
    Derived,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Loaded, Self::SteppedDown, Self::SteppedUp, Self::Switched, Self::Unloaded, Self::Failed, Self::Derived];

    /// The word in documents and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::SteppedDown => "stepped_down",
            Self::SteppedUp => "stepped_up",
            Self::Switched => "switched",
            Self::Unloaded => "unloaded",
            Self::Failed => "failed",
            Self::Derived => "derived",
        }
    }
}

/// Something that happened to a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ModelEvent {
    #[serde(rename = "event")]
    kind: EventKind,
    /// The strategy before.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// The strategy after.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The time from the decision until it was carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<u64>,
}

impl ModelEvent {
    /// What happened.
    pub fn of(kind: EventKind) -> Self {
        Self { kind, from: None, to: None, reason: None, took_ms: None }
    }

    /// Of which kind it is.
    pub fn kind(&self) -> EventKind {
        self.kind
    }

    /// The strategy before.
    #[must_use]
    pub fn from(self, strategy: impl Into<String>) -> Self {
        Self { from: Some(strategy.into()), ..self }
    }

    /// The strategy after.
    #[must_use]
    pub fn to(self, strategy: impl Into<String>) -> Self {
        Self { to: Some(strategy.into()), ..self }
    }

    /// Why.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// The time from the decision until it was carried out.
    #[must_use]
    pub fn took(self, time: Duration) -> Self {
        Self { took_ms: u64::try_from(time.as_millis()).ok(), ..self }
    }
}

/// Something that happened to the node as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NodeEvent {
    /// What.
    #[schemars(extend("enum" = ["reloaded", "misconfigured", "thermal", "binding_failed"]))]
    pub event: &'static str,
    /// The level before, of what has levels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<&'static str>,
    /// The level after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<&'static str>,
    /// Why, or what is new.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Event<'a, What> {
    /// The node.
    node: &'a str,
    /// When, RFC 3339 in UTC to milliseconds.
    at: String,
    /// The model that it happened to.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a ModelName>,
    #[serde(flatten)]
    what: &'a What,
}

/// What becomes of a job.
#[derive(Debug, Clone, Copy)]
pub enum JobChange<'a> {
    /// It is in the queue, behind so many others; how many is not told when it is there again.
    Waiting(Option<usize>),
    /// It is in the queue again, because it has made room for a more urgent one, and goes on from where it was.
    Parked,
    /// It is in an engine, or its steps are.
    Running,
    /// Something has become of a step of it.
    Step(&'a Progress),
    /// It ended.
    Ended(&'a Outcome),
}

#[derive(Serialize, JsonSchema)]
pub(super) struct JobState<'a> {
    /// What it does.
    #[schemars(extend("enum" = ["waiting", "parked", "running", "ended"]))]
    state: &'static str,
    /// The task that was asked for.
    task: &'a str,
    /// The model that shall answer.
    model: &'a ModelName,
    /// Jobs before it, when it begins to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
    /// The step of a pipeline that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a StepName>,
    /// What that step does.
    #[schemars(extend("enum" = ["running", "ended", "skipped", "failed"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    step_state: Option<&'static str>,
    /// Why its answer ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    finish: Option<Finish>,
    /// Why there is no answer, or none of that step.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ErrorCode>,
}

impl Documents {
    /// `event`, about a model.
    pub fn event(&self, model: &ModelName, event: &ModelEvent) -> Vec<u8> {
        self.written(Some(model), event)
    }

    /// `event`, about the node.
    pub fn node_event(&self, event: &NodeEvent) -> Vec<u8> {
        let reason = short(&event.reason, REASON_MAX).to_owned();
        self.written(None, &NodeEvent { reason, ..*event })
    }

    fn written(&self, model: Option<&ModelName>, what: &impl Serialize) -> Vec<u8> {
        json(&Event { node: self.node.as_str(), at: format!("{:.3}", Timestamp::now()), model, what })
    }
}

/// `jobs/<client>/<id>`; never what was asked or answered.
pub fn job_state(task: &str, model: &ModelName, change: JobChange<'_>) -> Vec<u8> {
    let nothing = JobState {
        state: "running",
        task,
        model,
        position: None,
        step: None,
        step_state: None,
        finish: None,
        code: None,
    };
    json(&match change {
        JobChange::Waiting(position) => JobState { state: "waiting", position, ..nothing },
        JobChange::Parked => JobState { state: "parked", ..nothing },
        JobChange::Running => nothing,
        JobChange::Step(Progress { step, state, code }) => {
            JobState { step: Some(step), step_state: Some(state.as_str()), code: *code, ..nothing }
        }
        JobChange::Ended(Outcome::Completed(done)) => JobState { state: "ended", finish: Some(done.finish), ..nothing },
        JobChange::Ended(Outcome::Failed(error)) => JobState { state: "ended", code: Some(error.code), ..nothing },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobError;

    #[test]
    fn documents_and_metrics_name_kinds_alike() {
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn a_job_s_states_tell_nothing_of_its_text() {
        let model = ModelName::new("main").unwrap();
        let state = |change| String::from_utf8(job_state("chat", &model, change)).unwrap();
        assert_eq!(
            state(JobChange::Waiting(Some(3))),
            r#"{"state":"waiting","task":"chat","model":"main","position":3}"#
        );
        assert_eq!(state(JobChange::Parked), r#"{"state":"parked","task":"chat","model":"main"}"#);
        assert_eq!(state(JobChange::Running), r#"{"state":"running","task":"chat","model":"main"}"#);
        let failed = Outcome::Failed(JobError::new(ErrorCode::Cancelled, "a message"));
        assert_eq!(
            state(JobChange::Ended(&failed)),
            r#"{"state":"ended","task":"chat","model":"main","code":"cancelled"}"#
        );
    }
}
