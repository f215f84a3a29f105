//! The address of a broker.

use std::fmt;
use std::net::Ipv6Addr;

const HOST_MAX: usize = 253;

/// How the broker is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// MQTT over TCP, for everybody on the way to read.
    Mqtt,
    /// MQTT over TLS.
    Mqtts,
}

/// `mqtt://host:port` or `mqtts://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// What stands in front.
    pub scheme: Scheme,
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
        }
    }

    /// The port that IANA has registered for it.
    fn port(self) -> u16 {
        match self {
            Self::Mqtt => 1883,
            Self::Mqtts => 8883,
        }
    }
}

impl Default for BrokerUrl {
    fn default() -> Self {
        Self { scheme: Scheme::Mqtt, host: "127.0.0.1".to_owned(), port: Scheme::Mqtt.port() }
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme.name();
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl BrokerUrl {
    /// Reads `mqtt://host`, `mqtt://host:port` or `mqtt://[IPv6]:port`, or the same with `mqtts`; the error says what would
    /// be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, address) = match text.split_once("://") {
            Some(("mqtt", address)) => (Scheme::Mqtt, address),
            Some(("mqtts", address)) => (Scheme::Mqtts, address),
            Some(("ssl" | "tls", _)) => return Err("for TLS write mqtts://host or mqtts://host:port".to_owned()),
            _ => return Err("write mqtt://host or mqtt://host:port, with TLS mqtts://host".to_owned()),
        };
        if address.contains('@') {
            let reason = "no user or password in the URL: use mqtt.username and mqtt.password_credential";
            return Err(reason.to_owned());
        }
        let (host, port) = split(address.strip_suffix('/').unwrap_or(address))?;
        let port = match port {
            None => scheme.port(),
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port != 0).ok_or("the port must be 1 to 65535")?
            }
            Some(_) => return Err("only a port may follow the host: write mqtt://host:port".to_owned()),
        };
        Ok(Self { scheme, host, port })
    }
}

fn split(address: &str) -> Result<(String, Option<&str>), String> {
    if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("the ']' of the IPv6 address is missing")?;
        host.parse::<Ipv6Addr>().map_err(|_| "between '[' and ']' stands no IPv6 address")?;
        return match rest.strip_prefix(':') {
            None if rest.is_empty() => Ok((host.to_owned(), None)),
            None => Err("only a port may follow the host: write mqtt://[address]:port".to_owned()),
            port => Ok((host.to_owned(), port)),
        };
    }
    if address.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("an IPv6 address stands in brackets: write mqtt://[{address}]"));
    }
    let (host, port) = address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port)));
    let allowed = |character: char| character.is_ascii_alphanumeric() || ".-_".contains(character);
    if host.is_empty() || host.len() > HOST_MAX || !host.chars().all(allowed) {
        return Err("the host must be a name or an address, without a path behind it".to_owned());
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_hosts_and_ports() {
        for (text, scheme, host, port) in [
            ("mqtt://127.0.0.1:1883", Scheme::Mqtt, "127.0.0.1", 1883),
            ("mqtt://broker", Scheme::Mqtt, "broker", 1883),
            ("mqtt://broker/", Scheme::Mqtt, "broker", 1883),
            ("mqtt://my_broker-1.local:65535", Scheme::Mqtt, "my_broker-1.local", 65535),
            ("mqtt://[::1]", Scheme::Mqtt, "::1", 1883),
            ("mqtt://[fe80::1]:1884/", Scheme::Mqtt, "fe80::1", 1884),
            ("mqtts://broker", Scheme::Mqtts, "broker", 8883),
            ("mqtts://[::1]:8884", Scheme::Mqtts, "::1", 8884),
        ] {
            let url = BrokerUrl::parse(text).unwrap();
            assert_eq!((url.scheme, url.host.as_str(), url.port), (scheme, host, port), "{text}");
            assert_eq!(BrokerUrl::parse(&url.to_string()), Ok(url));
        }
    }

    #[test]
    fn says_what_would_be_right() {
        for (text, reason) in [
            ("ssl://broker:8883", "for TLS write mqtts://host"),
            ("mqtts://user:word@broker", "use mqtt.username and mqtt.password_credential"),
            ("mqtt://user:word@broker", "use mqtt.username and mqtt.password_credential"),
            ("broker:1883", "write mqtt://host"),
            ("tcp://broker", "write mqtt://host"),
            ("", "write mqtt://host"),
            ("mqtt://", "the host must be"),
            ("mqtt://:1883", "the host must be"),
            ("mqtt://broker/path", "without a path"),
            ("mqtt://broker:1883/path", "only a port may follow"),
            ("mqtt://brök", "the host must be"),
            ("mqtt://broker:0", "1 to 65535"),
            ("mqtt://broker:65536", "1 to 65535"),
            ("mqtt://broker:", "1 to 65535"),
            ("mqtt://broker:+1", "only a port"),
            ("mqtt://[::1", "']'"),
            ("mqtt://[broker]", "no IPv6 address"),
            ("mqtt://[::1]x", "only a port"),
            ("mqtt://::1", "in brackets: write mqtt://[::1]"),
        ] {
            let error = BrokerUrl::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "(mqtts?://)?\\PC*") {
            let _ = BrokerUrl::parse(&text);
        }
    }
}
