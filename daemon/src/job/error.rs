//! The fixed list of errors that a job can end with.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Overflow;

/// Longest message, in bytes: it may quote names that a client or an operator gave, which have any length.
const MESSAGE_MAX: usize = 1024;

/// A name as messages show it: a client may put anything there, a whole prompt included.
pub fn shown(name: &str) -> String {
    const SHOWN_MAX: usize = 40;
    let cut: String = name.chars().take(SHOWN_MAX).collect();
    let more = if cut.len() < name.len() { "…" } else { "" };
    format!("\"{}{more}\"", cut.escape_debug())
}

/// Of requests that did not become jobs.
const REFUSED: [&str; 1] = ["promptd_requests_refused_total"];
/// Of jobs that ended so.
const FAILED: [&str; 1] = ["promptd_jobs_failed_total"];
/// Of both.
const EITHER: [&str; 2] = [REFUSED[0], FAILED[0]];

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $retryable:literal, $counter:ident;)*) => {
        /// Why a job was refused or failed. Codes are never renamed. `x-retryable` is what `retryable` says as a rule; the
        /// message itself decides. `x-counter` names the metrics that count it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum ErrorCode {
            $($(#[$doc])*
            #[serde(rename = $text)]
            #[schemars(extend("x-retryable" = $retryable, "x-counter" = $counter))]
            $variant,)*
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
    InvalidRequest = "invalid_request", false, EITHER;
    /// No task of that name.
    UnknownTask = "unknown_task", false, EITHER;
    /// No model of that name.
    UnknownModel = "unknown_model", false, EITHER;
    /// The output schema cannot be used.
    InvalidSchema = "invalid_schema", false, EITHER;
    /// The request is larger than `limits.request`.
    TooLarge = "too_large", false, EITHER;
    /// The answer is larger than the broker or `limits.result` allows.
    ResultTooLarge = "result_too_large", false, FAILED;
    /// The prompt leaves no room in the model's context.
    ContextOverflow = "context_overflow", false, FAILED;
    /// The request was a retained message.
    Retained = "retained", false, REFUSED;
    /// The reply topic is not allowed for this client.
    ReplyForbidden = "reply_forbidden", false, REFUSED;
    /// A policy forbids it; or it needs a client in its topic, as a session does, and everything with `mqtt.anonymous = false`; or
    /// its client has the name of a binding.
    Forbidden = "forbidden", false, EITHER;
    /// A policy's rate is used up.
    RateLimited = "rate_limited", true, REFUSED;
    /// The id is in use for another request.
    IdConflict = "id_conflict", false, REFUSED;
    /// No such job.
    NotFound = "not_found", false, REFUSED;
    /// No room for another job.
    QueueFull = "queue_full", true, REFUSED;
    /// No room on disk for another job.
    StorageFull = "storage_full", true, EITHER;
    /// The machine is short of memory.
    MemoryHeadroom = "memory_headroom", true, EITHER;
    /// The machine is too hot.
    Thermal = "thermal", true, REFUSED;
    /// No model is configured or loaded yet.
    NoModel = "no_model", true, EITHER;
    /// The model exists and cannot serve now.
    ModelUnavailable = "model_unavailable", true, EITHER;
    /// The deadline passed.
    DeadlineExceeded = "deadline_exceeded", false, EITHER;
    /// The client or an operator cancelled it.
    Cancelled = "cancelled", false, FAILED;
    /// It was running in too many engine crashes.
    Quarantined = "quarantined", false, FAILED;
    /// The node is being drained or stopped.
    Draining = "draining", true, EITHER;
    /// A step of a pipeline failed.
    StepFailed = "step_failed", false, FAILED;
    /// The engine crashed, stalled or refused.
    EngineFailed = "engine_failed", true, FAILED;
    /// A defect of promptd.
    Internal = "internal", false, FAILED;
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
    /// An error without advice on when to retry. A long message is cut.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MESSAGE_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_MAX - '…'.len_utf8()));
            message.push('…');
        }
        Self { code, message, retry_after: None, overflow: None }
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
    fn a_message_is_cut_on_a_character() {
        for letter in ["x", "ä", "…"] {
            let message = JobError::new(ErrorCode::InvalidRequest, letter.repeat(2000)).message;
            assert!(message.len() <= MESSAGE_MAX && message.len() > MESSAGE_MAX - 8 && message.ends_with('…'));
        }
        assert_eq!(JobError::new(ErrorCode::InvalidRequest, "x".repeat(MESSAGE_MAX)).message.len(), MESSAGE_MAX);
    }

    #[test]
    fn text_and_serde_agree_for_every_code() {
        for code in ErrorCode::ALL {
            let json = serde_json::to_string(code).unwrap();
            assert_eq!(json, format!("\"{code}\""));
            assert_eq!(serde_json::from_str::<ErrorCode>(&json).unwrap(), *code);
        }
    }
}
