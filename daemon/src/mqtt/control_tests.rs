//! The rules of the interface for what operators ask.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::job::{Control, ErrorCode, ModelName, ReplyFormat, RequestId};

use super::request_tests::{message, reader};
use super::{AcceptedControl, InboundMessage, Rejected};

fn read(verb: &str, message: &InboundMessage) -> Result<AcceptedControl, Box<Rejected>> {
    reader().read_control(verb, message, || RequestId::new("made").unwrap())
}

fn reject(verb: &str, payload: impl Into<Vec<u8>>) -> (ErrorCode, String) {
    let rejected = read(verb, &message(payload)).unwrap_err();
    (rejected.error.code, rejected.error.message)
}

#[test]
fn verbs_without_fields_need_no_payload() {
    for payload in ["", " \r\n", "{}", " {} "] {
        for (verb, control) in
            [("drain", Control::Drain), ("status", Control::Status), ("reload", Control::Reload { model: None })]
        {
            let accepted = read(verb, &message(payload)).unwrap();
            assert_eq!((accepted.id.as_str(), accepted.control), ("made", control));
            assert_eq!(accepted.reply.topic, "promptd/gw1/response/control/made");
        }
    }
}

#[test]
fn reads_every_field() {
    let payload = json!({
        "id": "7", "ref": "r", "reply_to": "alarms/1", "x_a": {"b": 1}, "model": "main", "strategy": "cpu:int8",
    });
    let accepted = read("switch", &message(payload.to_string())).unwrap();
    let (model, strategy) = (ModelName::new("main").unwrap(), Some("cpu:int8".to_owned()));
    assert_eq!((accepted.id.as_str(), accepted.control), ("7", Control::Switch { model, strategy }));
    assert_eq!((accepted.reply.topic.as_str(), accepted.reply.reference.as_deref()), ("alarms/1", Some("r")));
    assert_eq!(Value::Object(accepted.reply.echo), json!({"x_a": {"b": 1}}));
    assert_eq!(accepted.reply.format, ReplyFormat::Json);
}

#[test]
fn properties_of_mqtt_5_come_first() {
    let full = InboundMessage {
        response_topic: Some("promptd/gw2/response/control/x".to_owned()),
        correlation: Some(vec![0, 255].into()),
        ..message(r#"{"reply_to":"alarms/1"}"#)
    };
    let reply = read("drain", &full).unwrap().reply;
    assert_eq!((reply.topic.as_str(), reply.correlation), ("promptd/gw2/response/control/x", Some(vec![0, 255])));
    let large = InboundMessage { correlation: Some(vec![0; 1025].into()), ..message("") };
    let rejected = read("drain", &large).unwrap_err();
    assert_eq!((rejected.error.code, rejected.reply.correlation), (ErrorCode::InvalidRequest, None));
}

#[test]
fn names_what_is_wrong() {
    for (verb, payload, text) in [
        ("reboot", "", "no control verb \"reboot\""),
        ("", "", "no control verb \"\""),
        ("load", "", "control/load needs \"model\""),
        ("load", r#"{"model":"a b"}"#, "model contains ' '"),
        ("drain", r#"{"model":"main"}"#, "control/drain takes no \"model\""),
        ("drain", r#"{"reply":"text"}"#, "takes no \"reply\""),
        ("drain", r#"{"stream":true}"#, "takes no \"stream\""),
        ("drain", r#"{"id":7}"#, "field \"id\": got a number, wanted a string"),
        ("drain", r#"{"id":"a/b"}"#, "id contains '/'"),
        ("drain", r#"{"ref":1}"#, "field \"ref\": got a number, wanted a string"),
        ("drain", r#"{"reply_to":1}"#, "field \"reply_to\": got a number, wanted a string"),
        ("drain", r#"{"id":"7","id":"8"}"#, "the key \"id\" occurs twice"),
        ("drain", "[1]", "the payload is JSON but no object"),
        ("drain", "now", "the payload is not valid JSON"),
        ("drain", "\0", "the payload is not valid JSON"),
    ] {
        let (code, message) = reject(verb, payload);
        assert!(code == ErrorCode::InvalidRequest && message.contains(text), "{verb} {payload}: {message}");
    }
    let payload = json!({ "x_big": "y".repeat(2048) }).to_string();
    assert!(reject("drain", payload).1.starts_with("fields starting with x_"));
}

#[test]
fn other_refusals_have_their_own_codes() {
    assert_eq!(reject("drain", " ".repeat(4097)).0, ErrorCode::TooLarge);
    let retained = InboundMessage { retain: true, ..message(r#"{"id":"7"}"#) };
    let rejected = read("drain", &retained).unwrap_err();
    assert_eq!((rejected.error.code, rejected.id.as_str()), (ErrorCode::Retained, "7"));
    for topic in ["other/1", "promptd/gw1/control/drain", "promptd/gw1/response/cam/7"] {
        let elsewhere = InboundMessage { response_topic: Some(topic.to_owned()), ..message("") };
        let rejected = read("drain", &elsewhere).unwrap_err();
        assert_eq!(rejected.error.code, ErrorCode::ReplyForbidden);
        assert_eq!(rejected.reply.topic, "promptd/gw1/response/control/made", "{topic}");
    }
}

#[test]
fn errors_find_their_way_and_stay_short() {
    for (payload, id, topic) in [
        (r#"{"id":"7","model":1}"#, "7", "promptd/gw1/response/control/7"),
        (r#"{"id":"7","reply_to":"alarms/1","a":1,"a":2}"#, "7", "alarms/1"),
        (r#"{"reply_to":"alarms/1","id":"7","model":"unfinished"#, "7", "alarms/1"),
        (r#"{"id":"7","reply":"text","model":1}"#, "7", "promptd/gw1/response/control/7"),
    ] {
        let rejected = read("load", &message(payload)).unwrap_err();
        assert_eq!((rejected.id.as_str(), rejected.reply.topic.as_str()), (id, topic), "{payload}");
        assert_eq!(rejected.reply.format, ReplyFormat::Json);
    }
    assert!(reject(&"x".repeat(60_000), "").1.len() < 300);
    let long = json!({ "y".repeat(4000): 1 }).to_string();
    assert!(reject("drain", long).1.len() < 300);
}

proptest! {
    #[test]
    fn never_panics(verb in "load|drain|\\PC{0,9}", payload in proptest::collection::vec(any::<u8>(), 0..48)) {
        let _ = read(&verb, &message(payload));
    }
}
