//! Requests of devices that know nothing of promptd: what they publish on their own topics.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::config::Binding;
use crate::job::{ErrorCode, JobError, ReplyTo, RequestId};

use super::fields::invalid;
use super::filter::check_topic;
use super::{Accepted, InboundMessage, Rejected, RequestReader};

/// As of a reply topic: it is kept with the job.
const TOPIC_MAX: usize = 1024;

impl RequestReader {
    /// Reads a message for a binding, with what the wildcards of its filter stand for in the message's topic: a request of the
    /// binding's task, as if a client had asked for it. A retained message is one, too: devices keep their last value so, and
    /// nothing that was retained before is ever replayed.
    pub fn read_bound(
        &self,
        binding: &Binding,
        wildcards: &[&str],
        message: &InboundMessage,
        make_id: impl FnOnce() -> RequestId,
    ) -> Result<Accepted, Box<Rejected>> {
        let id = make_id();
        let reply = ReplyTo {
            topic: binding.publish.fill(wildcards),
            correlation: None,
            reference: None,
            echo: Map::new(),
            format: binding.reply,
            parts: false,
            errors: binding.errors,
        };
        let request = self.check_size(&message.payload).and_then(|()| {
            check_topic("the topic of a binding", &reply.topic, TOPIC_MAX)
                .map_err(|error| JobError::new(ErrorCode::ReplyForbidden, error.to_string()))?;
            request(binding, &message.payload)
        });
        let payload = match request {
            Ok(payload) => payload,
            // Nobody could be told on a topic that brokers refuse.
            Err(error) => {
                let errors = reply.errors && error.code != ErrorCode::ReplyForbidden;
                return Err(Box::new(Rejected { id, reply: ReplyTo { errors, ..reply }, error }));
            }
        };
        let message = InboundMessage {
            topic: String::new(),
            payload: payload.into(),
            qos: message.qos,
            retain: false,
            response_topic: None,
            correlation: None,
            expiry: message.expiry.into_iter().chain(binding.max_age).min(),
            received: message.received,
            ack: None,
        };
        match self.read(binding.task.as_str(), binding.client(), &message, || id) {
            Ok(accepted) => Ok(Accepted { reply, ..accepted }),
            Err(rejected) => Err(Box::new(Rejected { reply, ..*rejected })),
        }
    }
}

/// The request as a client would write it.
fn request(binding: &Binding, payload: &[u8]) -> Result<Vec<u8>, JobError> {
    let input = match &binding.pointer {
        None => Cow::Borrowed(
            std::str::from_utf8(payload)
                .map_err(|error| invalid(format!("the payload is not UTF-8: byte {} is wrong", error.valid_up_to())))?,
        ),
        Some(pointer) => Cow::Owned(part(payload, pointer)?),
    };
    let mut request = binding.params.clone();
    request.insert("input".to_owned(), Value::String(input.into_owned()));
    // Only maps with keys that are no strings can fail, and there are none.
    Ok(serde_json::to_vec(&request).unwrap_or_default())
}

/// A part of a JSON payload: a text as it is, anything else as JSON.
fn part(payload: &[u8], pointer: &str) -> Result<String, JobError> {
    // What serde_json says names a place and never a text.
    let document: Value =
        serde_json::from_slice(payload).map_err(|error| invalid(format!("the payload is not valid JSON: {error}")))?;
    match document.pointer(pointer) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Null) | None => Err(invalid(format!("the payload has nothing at the pointer {pointer:?}"))),
        Some(other) => Ok(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_payload_is_text() {
        let payload = br#"{"a":{"b":["x","y\n"]},"n":1.5,"o":{"k":true},"z":null,"a/b":"s"}"#;
        for (pointer, expected) in
            [("/a/b/1", "y\n"), ("/n", "1.5"), ("/o", r#"{"k":true}"#), ("/a~1b", "s"), ("/a/b", r#"["x","y\n"]"#)]
        {
            assert_eq!(part(payload, pointer).unwrap(), expected, "{pointer}");
        }
        for pointer in ["/z", "/q", "/a/b/2", "/n/x"] {
            assert!(part(payload, pointer).unwrap_err().message.contains(pointer), "{pointer}");
        }
        let error = part(b"{\"secret\":", "/a").unwrap_err().message;
        assert!(error.contains("not valid JSON") && !error.contains("secret"), "{error}");
    }
}
