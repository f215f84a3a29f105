//! The lines of the control socket.

use serde::Serialize;
use serde_json::{Map, Value};

use super::call::Progress;
use crate::job::{Control, ErrorCode, JobError};

/// Reads a request's line.
pub(super) fn read(line: &[u8]) -> Result<Control, JobError> {
    let invalid = |text: String| JobError::new(ErrorCode::InvalidRequest, text);
    // The parser's messages name a place and never a text.
    let mut fields: Map<String, Value> =
        serde_json::from_slice(line).map_err(|error| invalid(format!("the line is no JSON object: {error}")))?;
    match fields.remove("verb") {
        Some(Value::String(verb)) => Control::read(&verb, fields),
        Some(_) => Err(invalid("\"verb\" is no string".to_owned())),
        None => Err(invalid("\"verb\" is missing".to_owned())),
    }
}

/// One line of an answer.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Answer<'a> {
    Progress {
        verb: &'a str,
        step: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        progress: Option<f32>,
    },
    Result {
        verb: &'a str,
        output: &'a Value,
    },
    Error {
        code: ErrorCode,
        message: &'a str,
        retryable: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
}

impl<'a> Answer<'a> {
    pub fn progress(verb: &'a str, progress: &'a Progress) -> Self {
        Self::Progress { verb, step: &progress.step, progress: progress.share }
    }

    pub fn end(verb: &'a str, end: &'a Result<Value, JobError>) -> Self {
        match end {
            Ok(output) => Self::Result { verb, output },
            Err(error) => Self::error(error),
        }
    }

    pub fn error(error: &'a JobError) -> Self {
        Self::Error {
            code: error.code,
            message: &error.message,
            retryable: error.is_retryable(),
            retry_after_ms: error.retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// With its end.
    pub fn line(&self) -> Vec<u8> {
        // Only maps with keys that are no strings can fail, and there are none.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn written(answer: &Answer<'_>) -> String {
        String::from_utf8(answer.line()).unwrap()
    }

    #[test]
    fn reads_requests() {
        assert_eq!(read(br#" {"verb":"status"} "#), Ok(Control::Status));
        let load = read(br#"{"model":"main","verb":"load","strategy":"cpu:int8"}"#).unwrap();
        assert_eq!(load.verb(), "load");
        for (line, text) in [
            ("", "the line is no JSON object"),
            ("status", "the line is no JSON object"),
            ("[1]", "the line is no JSON object"),
            (r#"{"verb":"status"} {}"#, "the line is no JSON object"),
            ("{}", "\"verb\" is missing"),
            (r#"{"verb":1}"#, "\"verb\" is no string"),
            (r#"{"verb":"reboot"}"#, "no control verb \"reboot\""),
            (r#"{"verb":"load"}"#, "control/load needs \"model\""),
            (r#"{"verb":"status","id":"7"}"#, "control/status takes no \"id\""),
        ] {
            let error = read(line.as_bytes()).unwrap_err();
            assert!(error.code == ErrorCode::InvalidRequest && error.message.contains(text), "{line}: {error}");
        }
        assert!(!read(br#"{"verb":"the secret" x"#).unwrap_err().message.contains("secret"));
    }

    #[test]
    fn writes_answers() {
        let progress = Progress { step: "weights".to_owned(), share: Some(0.4) };
        assert_eq!(
            written(&Answer::progress("load", &progress)),
            "{\"event\":\"progress\",\"verb\":\"load\",\"step\":\"weights\",\"progress\":0.4}\n"
        );
        assert_eq!(
            written(&Answer::end("status", &Ok(json!({"state": "ready"})))),
            "{\"event\":\"result\",\"verb\":\"status\",\"output\":{\"state\":\"ready\"}}\n"
        );
        let error = JobError::new(ErrorCode::MemoryHeadroom, "line 1\nline 2").retry_after(Duration::from_secs(2));
        assert_eq!(
            written(&Answer::end("load", &Err(error))),
            concat!(
                r#"{"event":"error","code":"memory_headroom","message":"line 1\nline 2","retryable":true,"#,
                r#""retry_after_ms":2000}"#,
                "\n"
            )
        );
    }

    proptest! {
        #[test]
        fn never_panics(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&line);
        }

        #[test]
        fn never_panics_on_almost_json(line in r#"\{"verb":"(load|drain)"(,"(model|strategy)":("\PC{0,3}"|null|[0-9]|\[\])){0,3}\}"#) {
            let _ = read(line.as_bytes());
        }
    }
}
