//! Why there is no TLS: rustls's errors in words that an operator can act on.

use std::fmt::Debug;
use std::io;

use jiff::Timestamp;
use rumqttc::TlsError;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use super::{Fault, words};

/// What to do about a certificate that the broker should not present.
const NEW_CERTIFICATE: &str = "the broker needs another certificate";
/// What to do about one for another host.
const NAME_REMEDY: &str = "mqtt.url must name the broker as its certificate does";

/// Most names of a certificate that are told; who knows how many a stranger's has.
const NAMES_MAX: usize = 8;

/// From an error that came before the broker was asked to accept us.
pub(super) fn of_connect(error: &TlsError) -> Fault {
    match error {
        TlsError::TLS(error) => of_rustls(error),
        TlsError::Io(error) => of_io(error).unwrap_or_else(|| Fault::Tls {
            reason: format!("the connection ended in the middle of the handshake ({error})"),
            remedy: "the broker must speak TLS on this port; its log says more",
        }),
        other => Fault::Tls { reason: other.to_string(), remedy: "mqtt.url must name the broker's host" },
    }
}

/// rustls's error in one of the network, if there is one.
pub(super) fn of_io(error: &io::Error) -> Option<Fault> {
    error.get_ref()?.downcast_ref().map(of_rustls)
}

fn of_rustls(error: &Error) -> Fault {
    let (reason, remedy) = match error {
        Error::InvalidCertificate(error) => return of_certificate(error),
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            ("what answers there does not speak TLS".to_owned(), "use the broker's port for TLS, or mqtt://")
        }
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => ("the broker speaks only versions of TLS that are broken".to_owned(), "it must offer TLS 1.2 or 1.3"),
        Error::PeerIncompatible(error) => {
            (format!("the broker has no kind of TLS in common with us ({})", name(error)), "its log says more")
        }
        other => (other.to_string(), "the broker's log says more"),
    };
    Fault::Tls { reason, remedy }
}

/// What is wrong with the broker's certificate.
fn of_certificate(error: &CertificateError) -> Fault {
    use CertificateError as E;
    let (reason, remedy) = match error {
        E::NotValidYetContext { not_before, .. } => return Fault::NotYetValid(date(*not_before)),
        E::NotValidYet => return Fault::NotYetValid("a later time".to_owned()),
        E::ExpiredContext { not_after, .. } => {
            (format!("the broker's certificate has expired on {}", date(*not_after)), "the broker needs a new one")
        }
        E::Expired => ("the broker's certificate has expired".to_owned(), "the broker needs a new one"),
        E::UnknownIssuer => (
            "the broker's certificate comes from an authority that is not trusted".to_owned(),
            "mqtt.ca_file must hold the certificate of that authority",
        ),
        E::NotValidForNameContext { expected, presented } => {
            let names = if presented.is_empty() {
                "no host, for only subject alternative names count".to_owned()
            } else {
                presented.iter().take(NAMES_MAX).map(|name| plain(name)).collect::<Vec<_>>().join(", ")
            };
            let host = expected.to_str();
            (format!("the broker's certificate is not for {host}: it names {names}"), NAME_REMEDY)
        }
        E::NotValidForName => ("the broker's certificate is for another host".to_owned(), NAME_REMEDY),
        E::Revoked => ("the broker's certificate has been revoked".to_owned(), NEW_CERTIFICATE),
        E::BadSignature => (
            "the signature of the broker's certificate is wrong".to_owned(),
            "mqtt.ca_file may hold an authority of the same name with another key",
        ),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            ("the broker's certificate is not made for servers".to_owned(), NEW_CERTIFICATE)
        }
        E::BadEncoding => ("the broker's certificate cannot be read".to_owned(), NEW_CERTIFICATE),
        E::Other(error) => (of_webpki(&error.to_string()), NEW_CERTIFICATE),
        other => (format!("the broker's certificate is not acceptable ({})", name(other)), NEW_CERTIFICATE),
    };
    Fault::Tls { reason, remedy }
}

/// What webpki alone knows, by its name; certificates that people make themselves often have the first two.
fn of_webpki(name: &str) -> String {
    match name {
        "CaUsedAsEndEntity" => "the broker's certificate is that of an authority".to_owned(),
        "UnsupportedCertVersion" => {
            "the broker's certificate is of version 1, which has no subject alternative names".to_owned()
        }
        _ => format!("the broker's certificate is not acceptable ({})", words(name)),
    }
}

/// The name of a variant, without what it holds, as words.
fn name(error: &impl Debug) -> String {
    let text = format!("{error:?}");
    words(text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default())
}

/// Certificates list their names as `DnsName("broker.local")`.
fn plain(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"').escape_debug().to_string()
}

/// What the broker says against us.
fn of_alert(alert: AlertDescription) -> (String, &'static str) {
    use AlertDescription as A;
    let named = words(&format!("{alert:?}"));
    match alert {
        A::CertificateRequired => {
            ("the broker wants a client certificate".to_owned(), "set mqtt.cert_file and mqtt.key_credential")
        }
        A::CertificateExpired => {
            ("the broker says that our client certificate has expired".to_owned(), "mqtt.cert_file needs a new one")
        }
        A::UnknownCA => (
            "the broker does not know the authority of our client certificate".to_owned(),
            "mqtt.cert_file must come from an authority that the broker trusts",
        ),
        A::CertificateRevoked => (
            "the broker says that our client certificate has been revoked".to_owned(),
            "mqtt.cert_file needs a new one",
        ),
        A::BadCertificate | A::UnsupportedCertificate | A::CertificateUnknown | A::AccessDenied | A::DecryptError => (
            format!("the broker refuses our client certificate ({named})"),
            "check mqtt.cert_file; the broker's log says more",
        ),
        A::HandshakeFailure => (
            "the broker refuses the handshake".to_owned(),
            "it may want a client certificate (mqtt.cert_file), or have no cipher in common with us",
        ),
        A::ProtocolVersion => {
            ("the broker speaks only versions of TLS that are broken".to_owned(), "it must offer TLS 1.2 or 1.3")
        }
        A::UnrecognisedName => ("the broker serves no host of this name".to_owned(), NAME_REMEDY),
        _ => (format!("the broker refuses TLS ({named})"), "its log says more"),
    }
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{InconsistentKeys, OtherError, PeerMisbehaved};

    use super::*;

    /// As webpki's, whose own is not among our dependencies.
    #[derive(Debug, thiserror::Error)]
    #[error("UnsupportedCertVersion")]
    struct UnsupportedCertVersion;

    #[test]
    fn what_brokers_of_the_tests_do_not_do_has_words_too() {
        let other = CertificateError::Other(OtherError(Arc::new(UnsupportedCertVersion)));
        for (error, part) in [
            (Error::InvalidCertificate(other), "version 1"),
            (Error::InvalidCertificate(CertificateError::UnhandledCriticalExtension), "unhandled critical extension"),
            (Error::InvalidCertificate(CertificateError::Revoked), "revoked"),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "does not speak TLS"),
            (Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13), "TLS 1.2 or 1.3"),
            (Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon), "no cipher suites in common"),
            (Error::AlertReceived(AlertDescription::BadCertificate), "our client certificate (bad certificate)"),
            (Error::AlertReceived(AlertDescription::UnrecognisedName), "mqtt.url"),
            (Error::AlertReceived(AlertDescription::InternalError), "refuses TLS (internal error)"),
            (Error::DecryptError, "cannot decrypt peer's message"),
            (Error::PeerMisbehaved(PeerMisbehaved::MissingKeyShare), "misbehaved"),
            (Error::InconsistentKeys(InconsistentKeys::Unknown), "keys"),
        ] {
            let wrapped = io::Error::new(io::ErrorKind::InvalidData, error);
            let text = of_io(&wrapped).unwrap().to_string();
            assert!(text.contains(part) && text.contains("; ") && !text.contains(['{', '"']), "{text}");
        }
        assert_eq!(of_io(&io::Error::other("x")), None, "no word of TLS");
        let early = Error::InvalidCertificate(CertificateError::NotValidYet);
        assert!(matches!(of_rustls(&early), Fault::NotYetValid(_)));
    }
}
