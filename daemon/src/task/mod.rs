//! Tasks that are data: what a request of one must give, and the conversation that is made of it.
//!
//! Pure: texts go in, [`Definition`]s come out, and a request's fields become messages for a model. The texts come from the
//! configuration; built-in definitions are files of the same form ([`BUILT_IN`]).

mod cut;
mod definition;
mod error;
mod expression;
mod fields;
mod opening;
mod pipeline;
mod plan;
mod run;
mod schema;
mod step;
mod template;

pub use definition::{Defaults, Definition, Form, LongField, Parts};
pub use error::DefinitionError;
pub use pipeline::{InvalidPipeline, OF_TEMPLATES, PipelineDefinition, PipelineParts};
pub use plan::{PipelineError, Plan};
pub use run::{Bounds, Next, Order, PARALLEL, PartOf, Progress, Run, StepKey, StepState, What};
pub use schema::check_schema;
pub use step::{OF_REQUESTS, read_step};

/// The definitions that every node has, by their names. An operator's of the same name is laid over them, key by key.
pub const BUILT_IN: [(&str, &str); 3] = [
    ("describe-json", include_str!("../../../config/tasks/describe-json.toml")),
    ("summarize", include_str!("../../../config/tasks/summarize.toml")),
    ("translate", include_str!("../../../config/tasks/translate.toml")),
];

/// Most definitions of a node, so that `info` can list them.
pub const DEFINITIONS_MAX: usize = 32;

/// The fields of requests that every task which generates text has. A definition has others.
pub const COMMON_FIELDS: [&str; 26] = [
    "ack",
    "choices",
    "deadline_ms",
    "id",
    "ignore_eos",
    "inputs",
    "logprobs",
    "max_bytes",
    "max_tokens",
    "min_p",
    "model",
    "parts",
    "priority",
    "ref",
    "regex",
    "repeat_penalty",
    "reply",
    "reply_to",
    "schema",
    "seed",
    "sent_at",
    "stop",
    "stream",
    "temperature",
    "top_k",
    "top_p",
];

#[cfg(test)]
mod tests;
