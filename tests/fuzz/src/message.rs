//! Messages as files of a corpus have them.

use std::time::{Duration, Instant};

use promptd::mqtt::InboundMessage;

/// Reads a message: the topic (below the node's if it does not begin with `/`), a line for each property, an empty line, and the
/// payload.
pub fn message(bytes: &[u8], base: &str) -> InboundMessage {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (head, payload) = end.map_or((bytes, &[][..]), |end| (&bytes[..end], &bytes[end + 2..]));
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let topic = lines.next().unwrap_or_default();
    let topic = topic.strip_prefix('/').map_or_else(|| format!("{base}/{topic}"), str::to_owned);
    let mut message = InboundMessage {
        topic,
        payload: payload.to_vec().into(),
        qos: 1,
        retain: false,
        response_topic: None,
        correlation: None,
        expiry: None,
        received: Instant::now(),
        ack: None,
    };
    for line in lines {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("retain", _) => message.retain = true,
            ("response", topic) => message.response_topic = Some(topic.to_owned()),
            ("correlation", data) => message.correlation = Some(data.as_bytes().to_vec().into()),
            ("expiry", seconds) => {
                message.expiry = seconds.parse().ok().map(|seconds: u32| Duration::from_secs(seconds.into()))
            }
            _ => {}
        }
    }
    message
}
