//! Why there is no connection: rumqttc's errors in our words.

mod tls;

use std::io;
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError};
use thiserror::Error;

/// Why a connection was lost or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// Nobody answers at that address.
    #[error("the broker cannot be reached: {0}")]
    Unreachable(String),
    /// The broker answered with a refusal.
    #[error("the broker refuses the connection: {reason}; {remedy}")]
    Refused {
        /// The broker's reason.
        reason: String,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// The broker speaks only the version of MQTT before ours.
    #[error("the broker speaks MQTT 3.1.1 only; promptd needs MQTT 5")]
    OldVersion,
    /// The broker refuses a will that is retained.
    #[error("the broker takes no retained messages: status documents are lost on whoever subscribes later")]
    NoRetained,
    /// The password could not be read.
    #[error("the MQTT password cannot be read: {0}")]
    Password(String),
    /// The files for TLS cannot be used.
    #[error("the files for TLS cannot be used: {0}")]
    Certificates(String),
    /// The broker's certificate is for later, or our clock is behind.
    #[error(
        "the broker's certificate is not valid before {0}: the clock of this machine is behind, or it was made for later"
    )]
    NotYetValid(String),
    /// The two sides could not agree on TLS.
    #[error("no secure connection to the broker: {reason}; {remedy}")]
    Tls {
        /// What is wrong.
        reason: String,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// Another client connected with our client id.
    #[error("another client took over the client id")]
    TakenOver,
    /// The broker ended the connection and said why.
    #[error("the broker ended the connection: {0}")]
    Ended(String),
    /// The broker closed the connection and did not say why.
    #[error("the broker closed the connection")]
    Closed,
    /// The network failed.
    #[error("the connection failed: {0}")]
    Lost(String),
    /// Nothing came for too long.
    #[error("the broker has been silent for {} s", .0.as_secs())]
    Silent(Duration),
    /// The broker sent something that MQTT does not allow, or rumqttc cannot read.
    #[error("the broker broke the protocol: {0}")]
    Protocol(String),
    /// rumqttc panicked.
    #[error("the MQTT client crashed")]
    Crashed,
}

/// The reason of a broker that gives none.
const MUTE: &str = "closed without an answer";

/// What is said of a broker that takes too long.
const LATE: &str = "no answer to the connect in time";

/// Whether a fault is a reason to suspect what was in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The network or the broker went away.
    None,
    /// The broker closed the connection, or its answer cannot be read: perhaps because of what we sent.
    Perhaps,
    /// The broker said that something we sent was wrong.
    Certain,
}

impl Fault {
    pub(super) fn blame(&self) -> Blame {
        match self {
            Fault::Ended(_) => Blame::Certain,
            Fault::Closed | Fault::Protocol(_) => Blame::Perhaps,
            _ => Blame::None,
        }
    }

    /// Whether a message that waits in the broker's session may be what breaks each connection.
    pub(super) fn is_our_reader(&self) -> bool {
        matches!(self, Fault::Protocol(_) | Fault::Crashed)
    }

    /// Whether the broker gave no answer to the connect that could be understood.
    pub(super) fn is_mute(&self) -> bool {
        match self {
            Fault::Refused { reason, .. } => reason == MUTE,
            Fault::Unreachable(reason) => reason == LATE,
            Fault::Protocol(_) => true,
            _ => false,
        }
    }

    /// `was_up`: the broker had accepted the connection.
    pub(super) fn from_rumqttc(error: ConnectionError, was_up: bool) -> Self {
        match error {
            ConnectionError::MqttState(error) => Self::from_state(error, was_up),
            ConnectionError::Tls(error) => tls::of_connect(&error),
            ConnectionError::Timeout(_) => Fault::Unreachable(LATE.to_owned()),
            ConnectionError::Io(error) => Self::network(&error, was_up),
            ConnectionError::ConnectionRefused(ConnectReturnCode::RetainNotSupported) => Fault::NoRetained,
            ConnectionError::ConnectionRefused(
                ConnectReturnCode::RefusedProtocolVersion | ConnectReturnCode::UnsupportedProtocolVersion,
            ) => Fault::OldVersion,
            ConnectionError::ConnectionRefused(code) => {
                Fault::Refused { reason: words(&format!("{code:?}")), remedy: remedy(code) }
            }
            ConnectionError::NotConnAck(_) => Fault::Protocol("the first packet was no CONNACK".to_owned()),
            ConnectionError::RequestsDone => Fault::Crashed,
        }
    }

    fn from_state(error: StateError, was_up: bool) -> Self {
        match error {
            StateError::ServerDisconnect { reason_code, reason_string } => ended(reason_code, reason_string),
            StateError::Io(error) | StateError::Deserialization(rumqttc::v5::mqttbytes::Error::Io(error)) => {
                Self::network(&error, was_up)
            }
            // A PUBACK or DISCONNECT with a reason that rumqttc does not know, such as mosquitto's 0x95 for a message above
            // its message_size_limit.
            StateError::Deserialization(rumqttc::v5::mqttbytes::Error::InvalidConnectReturnCode(code)) if was_up => {
                Fault::Ended(format!("reason code 0x{code:02x}"))
            }
            StateError::AwaitPingResp => Fault::Lost("a ping was not answered".to_owned()),
            StateError::ConnectionAborted if was_up => Fault::Closed,
            StateError::ConnectionAborted => Self::unanswered(),
            other => Fault::Protocol(other.to_string()),
        }
    }

    fn network(error: &io::Error, was_up: bool) -> Self {
        match tls::of_io(error) {
            // With TLS 1.3 the broker looks at our certificate after we have looked at its own.
            Some(fault) if !was_up => fault,
            Some(fault) => Fault::Lost(fault.to_string()),
            None => match error.kind() {
                // TLS tells a connection that was closed in order from one that was not; the broker's reasons are the same.
                io::ErrorKind::UnexpectedEof if was_up => Fault::Closed,
                _ if was_up => Fault::Lost(error.to_string()),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                    Self::unanswered()
                }
                _ => Fault::Unreachable(error.to_string()),
            },
        }
    }

    fn unanswered() -> Self {
        Fault::Refused {
            reason: MUTE.to_owned(),
            remedy: "the broker must speak MQTT 5 on this port, with TLS for mqtts:// and without for mqtt://; its log says more",
        }
    }
}

fn ended(code: DisconnectReasonCode, reason: Option<String>) -> Fault {
    use DisconnectReasonCode as Code;
    let text = match reason {
        Some(reason) => format!("{} ({})", words(&format!("{code:?}")), reason.escape_debug()),
        None => words(&format!("{code:?}")),
    };
    match code {
        Code::SessionTakenOver => Fault::TakenOver,
        // The broker's own business: nothing that we sent is to blame.
        Code::NormalDisconnection
        | Code::ServerBusy
        | Code::ServerShuttingDown
        | Code::KeepAliveTimeout
        | Code::AdministrativeAction
        | Code::UseAnotherServer
        | Code::ServerMoved
        | Code::ConnectionRateExceeded
        | Code::MaximumConnectTime => Fault::Lost(format!("the broker ended it: {text}")),
        _ => Fault::Ended(text),
    }
}

fn remedy(code: ConnectReturnCode) -> &'static str {
    use ConnectReturnCode as Code;
    match code {
        Code::BadUserNamePassword | Code::NotAuthorized => {
            "check mqtt.username and mqtt.password_credential, and the broker's list of users"
        }
        Code::ClientIdentifierNotValid | Code::BadClientId => "check mqtt.client_id",
        Code::Banned => "the broker's operator has banned this client",
        Code::QoSNotSupported => "the broker must allow QoS 1",
        Code::PacketTooLarge => "the broker's maximum packet size is too small for the connect itself",
        _ => "the broker's log says more",
    }
}

/// `NotAuthorized` as `not authorized`.
pub(super) fn words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    for c in name.replace("QoS", "Qos").chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(error: StateError, was_up: bool) -> Fault {
        Fault::from_rumqttc(ConnectionError::MqttState(error), was_up)
    }

    #[test]
    fn names_the_remedy() {
        let fault = Fault::from_rumqttc(ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized), false);
        assert_eq!(
            fault.to_string(),
            "the broker refuses the connection: not authorized; check mqtt.username and mqtt.password_credential, \
             and the broker's list of users"
        );
    }

    #[test]
    fn writes_names_as_words() {
        assert_eq!(words("NotAuthorized"), "not authorized");
        assert_eq!(words("QoSNotSupported"), "qos not supported");
    }

    #[test]
    fn tells_takeovers_and_blame() {
        let disconnect = |code| StateError::ServerDisconnect { reason_code: code, reason_string: None };
        assert_eq!(state(disconnect(DisconnectReasonCode::SessionTakenOver), true), Fault::TakenOver);
        assert_eq!(state(disconnect(DisconnectReasonCode::MalformedPacket), true).blame(), Blame::Certain);
        assert_eq!(state(disconnect(DisconnectReasonCode::ServerShuttingDown), true).blame(), Blame::None);
        assert_eq!(state(StateError::ConnectionAborted, true).blame(), Blame::Perhaps);
        assert_eq!(state(StateError::AwaitPingResp, true).blame(), Blame::None);
        assert!(matches!(state(StateError::ConnectionAborted, false), Fault::Refused { .. }));
    }
}
