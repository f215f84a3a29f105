//! A wire between a broker and a node, which can be cut: what is sent is lost, and nobody is told.

use std::path::PathBuf;
use std::process::Command;

use super::Broker;

/// A network namespace for the node with a wire to this one; both go when it is dropped.
///
/// It stands in 198.18.0.0/15, which is set aside for tests of networks (RFC 2544), so that it is no real network's.
pub struct Wire {
    namespace: String,
    /// Its end on the broker's side.
    end: String,
    network: String,
}

impl Wire {
    /// Lays one. Panics with what to do if this user may make no namespace.
    pub fn lay() -> Self {
        let number = fastrand::u16(..);
        let end = format!("pd{number}");
        let wire = Self { namespace: format!("promptd-e2e-{number}"), network: network(number), end };
        let (namespace, end) = (wire.namespace.as_str(), wire.end.as_str());
        ip(&["netns", "add", namespace]);
        ip(&["link", "add", end, "type", "veth", "peer", "name", "uplink", "netns", namespace]);
        ip(&["addr", "add", &format!("{}.1/30", wire.network), "dev", end]);
        ip(&["link", "set", end, "up"]);
        ip(&["-n", namespace, "addr", "add", &format!("{}.2/30", wire.network), "dev", "uplink"]);
        ip(&["-n", namespace, "link", "set", "uplink", "up"]);
        wire
    }

    /// A broker that is reached over the wire, too, and that forgets everything when it stops.
    pub async fn broker(&self) -> Broker {
        let mut broker = Broker::absent("");
        let listener = format!("listener {} {}.1", broker.port, self.network);
        broker.settings(&format!("allow_anonymous true\npersistence false\n{listener}\n"));
        broker.up().await;
        broker
    }

    /// The broker's address for the node.
    pub fn url(&self, broker: &Broker) -> String {
        format!("mqtt://{}.1:{}", self.network, broker.port)
    }

    /// The namespace, for a process to start in.
    pub fn namespace(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.namespace)
    }

    /// Cuts it. The node's end keeps its address and its routes: connections stay open, and nothing comes through.
    pub fn cut(&self) {
        ip(&["link", "set", &self.end, "down"]);
    }

    /// Joins it again.
    pub fn join(&self) {
        ip(&["link", "set", &self.end, "up"]);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Its end in there takes the other one along.
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}

/// The first three numbers of a network of its own.
fn network(number: u16) -> String {
    let [high, low] = number.to_be_bytes();
    format!("198.{}.{low}", 18 + high % 2)
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("ip: {e}; the Debian package iproute2 has it"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {error}: a wire that can be cut needs root", arguments.join(" "));
}
