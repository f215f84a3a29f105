//! `packaging/tls` and `packaging/mosquitto/tls.conf` with mosquitto's own clients.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use promptd::config::{ClientCertificate, Tls};
use promptd::mqtt::LinkConfig;

use crate::broker::free_port;
use crate::fleet::{FleetBroker, Users, here, packaging};
use crate::node::{Node, config};

/// A broker with TLS, and the folder of certificates.
struct Secure {
    fleet: FleetBroker,
    port: u16,
    certificates: tempfile::TempDir,
}

impl Secure {
    /// With passwords, or with certificates instead.
    fn start(users: &[&str], with_certificates: bool) -> Self {
        let certificates = tempfile::tempdir().unwrap();
        make(certificates.path(), &["ca"]);
        make(certificates.path(), &["server", "localhost", "127.0.0.1"]);
        let users = Users::new(users);
        for (from, to) in [
            ("ca.crt", "ca_certificates/promptd-ca.crt"),
            ("server-localhost.crt", "certs/promptd.crt"),
            ("server-localhost.key", "certs/promptd.key"),
        ] {
            std::fs::create_dir_all(users.path(to).parent().unwrap()).unwrap();
            std::fs::copy(certificates.path().join(from), users.path(to)).unwrap();
        }
        let port = free_port();
        let mut settings = here(&std::fs::read_to_string(packaging("mosquitto/tls.conf")).unwrap(), 8883, port);
        if with_certificates {
            for line in ["require_certificate true", "use_identity_as_username true"] {
                settings = settings.replace(&format!("#{line}"), line);
                assert!(settings.lines().any(|set| set == line), "{line} is not in tls.conf");
            }
        }
        Self { fleet: users.broker(&settings), port, certificates }
    }

    /// Publishes at QoS 1 with these further options.
    fn publish(&self, topic: &str, options: &[&str]) -> Output {
        let port = self.port.to_string();
        let mut command = Command::new("mosquitto_pub");
        command.args(["-V", "mqttv5", "-p", &port, "-q", "1", "-m", "x", "-t", topic]).args(options);
        command.output().unwrap()
    }

    fn file(&self, name: &str) -> String {
        self.certificates.path().join(name).display().to_string()
    }
}

#[test]
fn passwords_over_tls_work_for_who_trusts_the_authority() {
    let secure = Secure::start(&["operator op"], false);
    let (ca, password) = (secure.file("ca.crt"), secure.fleet.password("op"));
    let topic = "promptd/gw1/control/drain";
    for host in ["localhost", "127.0.0.1"] {
        let output = secure.publish(topic, &["-h", host, "--cafile", &ca, "-u", "op", "-P", &password]);
        assert!(output.status.success() && output.stderr.is_empty(), "{host}: {output:?}");
    }
    // Another authority of the same name, a host that the certificate is not for, a wrong password, none at all.
    let others = tempfile::tempdir().unwrap();
    make(others.path(), &["ca"]);
    let other = others.path().join("ca.crt").display().to_string();
    for (options, reason) in [
        (&["-h", "localhost", "--cafile", &other, "-u", "op", "-P", &password][..], "TLS error"),
        (&["-h", "127.0.0.2", "--cafile", &ca, "-u", "op", "-P", &password], "TLS error"),
        (&["-h", "localhost", "--cafile", &ca, "-u", "op", "-P", "wrong"], "ot authori"),
        (&["-h", "localhost", "--cafile", &ca], "ot authori"),
        (&["-h", "localhost", "-u", "op", "-P", &password], "Error"),
    ] {
        let output = secure.publish(topic, options);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success() && said.contains(reason), "{options:?}: {output:?}");
    }
}

#[tokio::test]
async fn with_certificates_the_common_name_is_the_user_and_has_its_rights() {
    let secure = Secure::start(&["device admin", "--no-password operator op"], true);
    make(secure.certificates.path(), &["client", "op", "dev", "control"]);
    let identity =
        |user: &str| [secure.file(&format!("client-{user}.crt")), secure.file(&format!("client-{user}.key"))];
    let ca = secure.file("ca.crt");
    let publish = |user: &str, topic: &str| {
        let [certificate, key] = identity(user);
        secure.publish(topic, &["-h", "localhost", "--cafile", &ca, "--cert", &certificate, "--key", &key])
    };
    for (user, topic, allowed) in [
        ("op", "promptd/gw1/control/drain", true),
        ("op", "promptd/gw1/request/chat/op", false),
        // Nobody has told the broker of it: a certificate is enough to be a device.
        ("dev", "promptd/gw1/request/chat/dev", true),
        ("dev", "promptd/gw1/request/chat/op", false),
        ("dev", "promptd/gw1/control/drain", false),
        ("control", "promptd/gw1/request/chat/control", false),
    ] {
        let output = publish(user, topic);
        let refused = String::from_utf8_lossy(&output.stderr).contains("Not authorized");
        assert_eq!(!refused, allowed, "{user} writes {topic}: {output:?}");
    }
    // A certificate of nobody's authority, and none.
    let others = tempfile::tempdir().unwrap();
    make(others.path(), &["ca"]);
    make(others.path(), &["client", "op"]);
    let [certificate, key] =
        ["client-op.crt", "client-op.key"].map(|name| others.path().join(name).display().to_string());
    for options in [
        &["-h", "localhost", "--cafile", &ca, "--cert", &certificate, "--key", &key][..],
        &["-h", "localhost", "--cafile", &ca, "-u", "admin", "-P", &secure.fleet.password("admin")],
    ] {
        assert!(!secure.publish("promptd/gw1/control/drain", options).status.success(), "{options:?}");
    }
    // What is for this machine only still asks for a password.
    let mut admin = secure.fleet.log_in("admin").await;
    admin.publish("promptd/gw1/request/chat/admin", "x").await;
}

#[tokio::test]
async fn a_node_has_its_rights_by_its_certificate() {
    let secure = Secure::start(&["--no-password node gw1", "device admin"], true);
    make(secure.certificates.path(), &["client", "gw1"]);
    let path = |name: &str| secure.certificates.path().join(name);
    let client = ClientCertificate { cert_file: path("client-gw1.crt"), key_credential: path("client-gw1.key") };
    let node = Node::connected(LinkConfig {
        host: "localhost".to_owned(),
        tls: Some(Tls { ca_file: Some(path("ca.crt")), client: Some(client) }),
        subscriptions: vec!["promptd/gw1/request/+/+".to_owned()],
        ..config(secure.port)
    });
    let mut node = node.await;
    let mut admin = secure.fleet.log_in("admin").await;
    admin.publish("promptd/gw1/request/chat/admin", "hello").await;
    assert_eq!(node.take().await, "hello");
    admin.subscribe("promptd/gw1/response/admin/#").await;
    node.publish("promptd/gw1/response/admin/1", "answer");
    assert_eq!(admin.next_text().await.1, "answer");
}

#[test]
fn keys_are_private_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let run = |arguments: &[&str]| script(folder.path(), arguments);
    let refuses = |arguments: &[&str], reason: &str| {
        let output = run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(reason), "{arguments:?}: {said}");
    };
    refuses(&["server", "broker"], "no ca.crt");
    let rounds = [1, 2].map(|_| {
        make(folder.path(), &["ca"]);
        make(folder.path(), &["server", "broker.example.org", "*.site.example.org", "10.0.0.1", "::1"]);
        make(folder.path(), &["client", "gw1", "dev"]);
        let mut names: Vec<String> =
            folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names.into_iter().map(|name| (std::fs::read(path(&name)).unwrap(), name)).collect::<Vec<_>>()
    });
    assert_eq!(rounds[0].len(), 8, "four pairs and nothing else");
    assert_eq!(rounds[0], rounds[1], "the second time changes nothing");
    for (_, name) in &rounds[0] {
        let mode = path(name).metadata().unwrap().permissions().mode() & 0o777;
        let private = path(name).extension().is_some_and(|extension| extension == "key");
        assert_eq!(mode, if private { 0o600 } else { 0o644 }, "{name}");
    }
    // openssl's own word that each is good for what it is for, and for nothing else.
    let verify = |purpose: &str, name: &str| {
        let mut command = Command::new("openssl");
        command.args(["verify", "-CAfile"]).arg(path("ca.crt")).args(["-purpose", purpose]).arg(path(name));
        command.output().unwrap().status.success()
    };
    for (name, server) in [("server-broker.example.org.crt", true), ("client-gw1.crt", false)] {
        assert_eq!((verify("sslserver", name), verify("sslclient", name)), (server, !server), "{name}");
    }

    refuses(&["server", "broker.example.org", "elsewhere.example.org"], "not for elsewhere.example.org");
    refuses(&["client", "a/b"], "user \"a/b\"");
    refuses(&["client", ""], "user \"\"");
    refuses(&["server", "broker,DNS:evil"], "neither");
    refuses(&["--days", "0", "client", "new"], "--days is \"0\"");
    refuses(&["client"], "at least one user");
    refuses(&["everything"], "ca, server or client?");
    std::fs::remove_file(path("client-dev.key")).unwrap();
    refuses(&["client", "dev"], "one is missing");
    assert!(path("client-dev.crt").exists());
    std::fs::remove_file(path("ca.key")).unwrap();
    refuses(&["ca"], "one is missing");
}

fn script(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(packaging("tls/make-certs.sh")).arg("--folder").arg(folder).args(arguments).output().unwrap()
}

fn make(folder: &Path, arguments: &[&str]) {
    let output = script(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}
