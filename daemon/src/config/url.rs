//! The address of a broker.

use std::fmt;
use std::net::Ipv6Addr;

const PORT: u16 = 1883;
const HOST_MAX: usize = 253;

/// `mqtt://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl Default for BrokerUrl {
    fn default() -> Self {
        Self { host: "127.0.0.1".to_owned(), port: PORT }
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "mqtt://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "mqtt://{}:{}", self.host, self.port)
        }
    }
}

impl BrokerUrl {
    /// Reads `mqtt://host`, `mqtt://host:port` or `mqtt://[IPv6]:port`; the error says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let address = match text.split_once("://") {
            Some(("mqtt", address)) => address,
            Some(("mqtts" | "ssl" | "tls", _)) => return Err("TLS comes with a later version; use mqtt://".to_owned()),
            _ => return Err("write mqtt://host or mqtt://host:port".to_owned()),
        };
        if address.contains('@') {
            let reason = "no user or password in the URL: use mqtt.username and mqtt.password_credential";
            return Err(reason.to_owned());
        }
        let (host, port) = split(address.strip_suffix('/').unwrap_or(address))?;
        let port = match port {
            None => PORT,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port != 0).ok_or("the port must be 1 to 65535")?
            }
            Some(_) => return Err("only a port may follow the host: write mqtt://host:port".to_owned()),
        };
        Ok(Self { host, port })
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
        for (text, host, port) in [
            ("mqtt://127.0.0.1:1883", "127.0.0.1", 1883),
            ("mqtt://broker", "broker", 1883),
            ("mqtt://broker/", "broker", 1883),
            ("mqtt://my_broker-1.local:65535", "my_broker-1.local", 65535),
            ("mqtt://[::1]", "::1", 1883),
            ("mqtt://[fe80::1]:1884/", "fe80::1", 1884),
        ] {
            let url = BrokerUrl::parse(text).unwrap();
            assert_eq!((url.host.as_str(), url.port), (host, port), "{text}");
            assert_eq!(BrokerUrl::parse(&url.to_string()), Ok(url));
        }
    }

    #[test]
    fn says_what_would_be_right() {
        for (text, reason) in [
            ("mqtts://broker:8883", "TLS comes with a later version"),
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
        fn never_panics(text in "(mqtt://)?\\PC*") {
            let _ = BrokerUrl::parse(&text);
        }
    }
}
