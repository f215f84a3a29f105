//! What a job is: who asked, for what, and how it ended. Everything here is valid by construction and knows nothing of
//! MQTT, files, clocks or the engine.

mod composite;
mod constraint;
mod contract;
mod control;
mod control_schema;
mod encode;
mod error;
mod name;
mod outcome;
mod precision;
mod request;
mod session;

pub use composite::{Long, OnError, Overflow, Pipeline, PipelineStep, step_failed};
pub use constraint::{Alternative, CHOICES_MAX, Constraint, LOGPROBS_MAX, TokenLogprob};
pub use contract::{schema_of, sparse_schema_of};
pub use control::{Control, Which};
pub use encode::{Ability, Embedding, Encoding, Entity, Found, Input, Labelled, Part, Ranked};
pub use encode::{ENTITY_TYPE_BYTES_MAX, ENTITY_TYPES_MAX, LABEL_BYTES_MAX, LABELS_MAX};
pub use error::{ErrorCode, JobError, shown};
pub use name::{
    BINDING_NAME_MAX, BindingName, ClientName, GroupName, InvalidName, ModelName, NAME_PATTERN, NodeName, PolicyName,
    RequestId, SessionName, StepName, TaskName,
};
pub use outcome::{Completion, Finish, Outcome, Output, Timings, Usage};
pub use precision::Precision;
pub use request::{JobId, Message, OutputLimits, Priority, ReplyFormat, ReplyTo, Request, Role, Sampling, Task};
pub use request::{REPEAT_PENALTY_MAX, REPEAT_PENALTY_MIN, STOP_BYTES_MAX, STOPS_MAX, TEMPERATURE_MAX};
pub use session::{Memory, Recalled, Session, SessionReport, turn_starts};
