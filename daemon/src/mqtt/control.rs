//! From an MQTT message to what an operator asks for.

use serde_json::{Map, Value};

use crate::job::{ClientName, Control, ErrorCode, JobError, ReplyFormat, ReplyTo, RequestId};

use super::address::{Address, check_address, check_echo, is_echo};
use super::fields::Fields;
use super::request::refuse_retained;
use super::strict::{JsonLimits, parse_object};
use super::topic::operator;
use super::{InboundMessage, Rejected, RequestReader};

/// An operator's valid request.
#[derive(Debug, Clone, PartialEq)]
pub struct AcceptedControl {
    /// The operator's id for it, or one that promptd made.
    pub id: RequestId,
    /// What to do.
    pub control: Control,
    /// Where the answers go. They are JSON always.
    pub reply: ReplyTo,
}

impl RequestReader {
    /// Reads a message on a control topic. An empty payload stands for `{}`. `make_id` is asked for an id when the
    /// message has none that can be used.
    pub fn read_control(
        &self,
        verb: &str,
        message: &InboundMessage,
        make_id: impl FnOnce() -> RequestId,
    ) -> Result<AcceptedControl, Box<Rejected>> {
        self.read_for(&operator(), message, make_id, |fields| control(verb, fields))
    }

    /// Reads a client's request for its own outcomes, the task `fetch`: `{"job"}` for one, nothing for all that it has missed.
    pub fn read_fetch(
        &self,
        client: &ClientName,
        message: &InboundMessage,
        make_id: impl FnOnce() -> RequestId,
    ) -> Result<AcceptedControl, Box<Rejected>> {
        self.read_for(client, message, make_id, |mut fields| {
            if fields.insert("client".to_owned(), client.as_str().into()).is_some() {
                let text = "fetch takes no \"client\": everybody fetches what is theirs";
                return Err(JobError::new(ErrorCode::InvalidRequest, text));
            }
            control("fetch", fields)
        })
    }

    fn read_for(
        &self,
        client: &ClientName,
        message: &InboundMessage,
        make_id: impl FnOnce() -> RequestId,
        read: impl FnOnce(Map<String, Value>) -> Result<Control, JobError>,
    ) -> Result<AcceptedControl, Box<Rejected>> {
        let content = self.check_size(&message.payload).and_then(|()| object(&message.payload));
        let address = match &content {
            Ok(map) => Address::of(map),
            Err(_) => Address::salvage(&message.payload),
        };
        let id = address.id.clone().unwrap_or_else(make_id);
        let address = Address { format: ReplyFormat::Json, ..address };
        let (reply, answerable) = self.reply_to(message, address, client, &id);
        let accepted = || {
            refuse_retained(message, "a control message")?;
            let content = content?;
            answerable?;
            read(content)
        };
        match accepted() {
            Ok(control) => Ok(AcceptedControl { id, control, reply }),
            Err(error) => Err(Box::new(Rejected { id, reply, error })),
        }
    }
}

fn object(payload: &[u8]) -> Result<Map<String, Value>, JobError> {
    if payload.trim_ascii().is_empty() { Ok(Map::new()) } else { parse_object(payload, JsonLimits::default()) }
}

/// What remains when the fields about the answer are taken out is the verb's own.
fn control(verb: &str, map: Map<String, Value>) -> Result<Control, JobError> {
    check_echo(&map)?;
    let mut fields = Fields::new(map);
    check_address(&mut fields)?;
    let mut own = fields.rest();
    own.retain(|name, _| !is_echo(name));
    Control::read(verb, own)
}
