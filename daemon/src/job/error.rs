//! The fixed list of errors that a job can end with.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Overflow;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $retryable:literal;)*) => {
        /// Why a job was refused or failed. The list is part of the interface: codes are never renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $text)] #[schemars(extend("x-retryable" = $retryable))] $variant,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the interface document.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The code as it stands in replies.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $text,)*
                }
            }

            /// Whether the same request may succeed later without being changed.
            pub fn retryable(self) -> bool {
                match self {
                    $(ErrorCode::$variant => $retryable,)*
                }
            }
        }
    };
}

error_codes! {
    /// The payload breaks the interface.
    InvalidRequest = "invalid_request", false;
    /// No task of that name.
    UnknownTask = "unknown_task", false;
    /// No model of that name.
    UnknownModel = "unknown_model", false;
    /// The output schema cannot be used.
    InvalidSchema = "invalid_schema", false;
    /// The request is larger than `limits.request`.
    TooLarge = "too_large", false;
    /// The answer is larger than the broker or `limits.result` allows.
    ResultTooLarge = "result_too_large", false;
    /// The prompt leaves no room in the model's context.
    ContextOverflow = "context_overflow", false;
    /// The request was a retained message.
    Retained = "retained", false;
    /// The reply topic is not allowed for this client.
    ReplyForbidden = "reply_forbidden", false;
    /// A policy forbids it.
    Forbidden = "forbidden", false;
    /// A policy's rate is used up.
    RateLimited = "rate_limited", true;
    /// The id is in use for another request.
    IdConflict = "id_conflict", false;
    /// No such job.
    NotFound = "not_found", false;
    /// No room for another job.
    QueueFull = "queue_full", true;
    /// No room on disk for another job.
    StorageFull = "storage_full", true;
    /// The machine is short of memory.
    MemoryHeadroom = "memory_headroom", true;
    /// The machine is too hot.
    Thermal = "thermal", true;
    /// No model is configured or loaded yet.
    NoModel = "no_model", true;
    /// The model exists and cannot serve now.
    ModelUnavailable = "model_unavailable", true;
    /// The deadline passed.
    DeadlineExceeded = "deadline_exceeded", false;
    /// The client or an operator cancelled it.
    Cancelled = "cancelled", false;
    /// It was running in too many engine crashes.
    Quarantined = "quarantined", false;
    /// The node is being drained or stopped.
    Draining = "draining", true;
    /// A step of a pipeline failed.
    StepFailed = "step_failed", false;
    /// The engine crashed, stalled or refused.
    EngineFailed = "engine_failed", true;
    /// A defect of promptd.
    Internal = "internal", false;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error as a client gets it: the code for its program, the message for its developer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct JobError {
    /// From the fixed list.
    pub code: ErrorCode,
    /// Names the value and the limit; never quotes prompt or answer text.
    pub message: String,
    /// When a retry is worth it, if that is known.
    pub retry_after: Option<Duration>,
    /// By how much a prompt was too long for the context, if it was. For those who make it shorter, not for the client.
    #[serde(skip)]
    pub overflow: Option<Overflow>,
}

impl JobError {
    /// An error without advice on when to retry.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None, overflow: None }
    }

    /// The error of a prompt that the context does not hold.
    #[must_use]
    pub fn overflow(self, overflow: Overflow) -> Self {
        Self { overflow: Some(overflow), ..self }
    }

    /// Whether the same request may succeed later: by its code, or because somebody knows when.
    pub fn is_retryable(&self) -> bool {
        self.code.retryable() || self.retry_after.is_some()
    }

    /// The same error with a time after which a retry is worth it.
    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_serde_agree_for_every_code() {
        for code in ErrorCode::ALL {
            let json = serde_json::to_string(code).unwrap();
            assert_eq!(json, format!("\"{code}\""));
            assert_eq!(serde_json::from_str::<ErrorCode>(&json).unwrap(), *code);
        }
    }
}
