//! A broker that wants TLS, a certificate and a password.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::harness::authority::{Authority, Identity, SETTINGS, write};
use crate::harness::{Broker, CAPITAL, Device, Node, Setup, promptd, until};

/// Devices use the plain port of the broker, the node its port for TLS.
struct Secured {
    broker: Broker,
    port: u16,
    /// The files of the node.
    files: tempfile::TempDir,
}

impl Secured {
    async fn start(authority: &Authority, client: &Identity, password: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut secured = Self { broker: Broker::absent(""), port, files: tempfile::tempdir().unwrap() };
        secured.hand_out(authority, client, password);
        let folder = secured.broker.folder().display().to_string();
        let tls = SETTINGS.replace("{folder}", &folder);
        secured.broker.settings(&format!(
            "allow_anonymous true\npassword_file {folder}/passwords\nlistener {port} 127.0.0.1\n{tls}require_certificate true\n"
        ));
        secured.broker.up().await;
        secured
    }

    /// New certificates and a new password for both sides. The broker takes them up at its next start.
    fn hand_out(&self, authority: &Authority, client: &Identity, password: &str) {
        authority.equip_broker(self.broker.folder(), &authority.sign(&["127.0.0.1"]));
        self.broker.password_file("gw", password);
        let files = [
            ("ca.pem", &*authority.pem),
            ("client.pem", &*client.cert),
            ("client.key", &*client.key),
            ("password", password),
        ];
        write(self.files.path(), &files);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn url(&self) -> String {
        format!("mqtts://127.0.0.1:{}", self.port)
    }

    fn setup(&self) -> Setup {
        let folder = self.files.path().display();
        let mqtt = format!(
            "username = \"gw\"\npassword_credential = \"{folder}/password\"\nca_file = \"{folder}/ca.pem\"\n\
             cert_file = \"{folder}/client.pem\"\nkey_credential = \"{folder}/client.key\""
        );
        Setup { sequences: 1, url: Some(self.url()), mqtt, ..Setup::default() }
    }
}

fn ask(arguments: &[&str]) -> Output {
    promptd().arg("ask").args(arguments).args(["--max-tokens", "3", "Hi"]).output().unwrap()
}

fn check(config: &Path) -> Output {
    promptd().args(["check", "--config"]).arg(config).output().unwrap()
}

/// When the certificates end, as the node says.
async fn dates(device: &mut Device, expected: &Value) {
    while device.next().await.json["tls"] != *expected {}
}

#[tokio::test]
async fn a_rotation_of_everything_leaves_the_model_where_it_is() {
    let old = Authority::until("old", 2090, 1, 1);
    let mut secured = Secured::start(&old, &until_2080(&old), "first").await;
    let node = Node::ready(&secured.broker, secured.setup()).await;
    let mut device = Device::connect(&secured.broker, "dev").await;
    let reply = device.answer("generate", json!({ "id": "1", "prompt": CAPITAL, "max_tokens": 10 })).await;
    assert!(reply["output"].as_str().unwrap().contains("Paris"), "{reply}");
    let mut watcher = Device::connect(&secured.broker, "watcher").await;
    watcher.subscribe("promptd/gw/info").await;
    let ends = json!({ "client_cert_expires": "2080-02-03T00:00:00Z", "ca_expires": "2090-01-01T00:00:00Z" });
    dates(&mut watcher, &ends).await;
    let engines = node.engines();
    assert_eq!(engines.len(), 1);

    let new = Authority::until("new", 2095, 1, 1);
    secured.hand_out(&new, &until_2080(&new), "second");
    secured.broker.kill();
    until("the node notices", || node.log().contains("WARN").then_some(())).await;
    secured.broker.up().await;
    until("the node is back", || (node.log().matches("connected to the broker").count() == 2).then_some(())).await;
    let mut device = Device::connect(&secured.broker, "dev2").await;
    let reply = device.answer("generate", json!({ "id": "2", "prompt": CAPITAL, "max_tokens": 10 })).await;
    assert!(reply["output"].as_str().unwrap().contains("Paris"), "{reply}");
    assert_eq!(node.engines(), engines, "the same process");
    assert_eq!(node.operator_json(&["info"])["tls"]["ca_expires"], "2095-01-01T00:00:00Z");
    assert!(!node.log().contains("first") && !node.log().contains("second"), "no password in the log");
}

fn until_2080(authority: &Authority) -> Identity {
    authority.sign_with(&["gw"], |params| params.not_after = rcgen::date_time_ymd(2080, 2, 3))
}

#[tokio::test]
async fn commands_use_the_files_of_the_configuration_or_their_own() {
    let authority = Authority::new("ours");
    let secured = Secured::start(&authority, &authority.sign(&["gw"]), "word").await;
    let node = Node::ready(&secured.broker, secured.setup()).await;
    let config = node.config();
    let config = config.to_str().unwrap();
    let output = check(&node.config());
    assert!(output.status.success(), "{output:?}");
    assert!(ask(&["--config", config]).status.success());
    let output = promptd().args(["bench", "--mqtt", "--requests", "2", "--config", config]).output().unwrap();
    assert!(output.status.success(), "{output:?}");

    // From elsewhere, without a configuration.
    let url = secured.url();
    let [ca, cert, key, password] =
        ["ca.pem", "client.pem", "client.key", "password"].map(|name| secured.path(name).display().to_string());
    let target = ["--url", &url, "--node", "gw"];
    let login = ["--username", "gw", "--password-file", &password];
    let own = ["--ca-file", &ca, "--cert-file", &cert, "--key-file", &key];
    let output = ask(&[&target[..], &login, &own].concat());
    assert!(output.status.success(), "{output:?}");
    let said = |arguments: &[&[&str]], code: i32| {
        let output = ask(&arguments.concat());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let text = said(&[&target, &login, &own[..2]], 69);
    assert!(text.contains("the broker wants a client certificate"), "{text}");
    let text = said(&[&target, &own[..4]], 2);
    assert!(text.contains("--key-file"), "{text}");
    let plain = ["--url", "mqtt://127.0.0.1:1", "--ca-file", &ca];
    let text = said(&[&plain], 69);
    assert!(text.contains("--ca-file, --cert-file and --key-file are for brokers at mqtts://"), "{text}");

    // Without a file of authorities it is the system's that count, which OpenSSL's variable names.
    let system = |file: &Path| {
        let mut command = promptd();
        command.env("SSL_CERT_FILE", file).arg("ask").args(target).args(login).args(&own[2..]);
        command.args(["--max-tokens", "3", "Hi"]).output().unwrap()
    };
    let output = system(Path::new(&ca));
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(system(Path::new("/dev/null")).stderr).unwrap();
    assert!(text.contains("this system trusts no authority: install ca-certificates, or set mqtt.ca_file"), "{text}");

    // What check says of files that are not in order.
    std::fs::write(secured.path("client.pem"), "").unwrap();
    std::fs::remove_file(secured.path("password")).unwrap();
    let output = check(&node.config());
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8(output.stderr).unwrap();
    for part in
        ["mqtt.cert_file: ", "client.pem holds no certificate in PEM form", "mqtt.password_credential: cannot read"]
    {
        assert_eq!(text.matches(part).count(), 1, "{part}: {text}");
    }
}

#[tokio::test]
async fn certificates_that_end_soon_are_told_once() {
    let authority = Authority::new("ours");
    let soon = authority.sign_with(&["gw"], |params| {
        params.not_after = (std::time::SystemTime::now() + std::time::Duration::from_hours(20 * 24)).into();
    });
    let mut secured = Secured::start(&authority, &soon, "word").await;
    let node = Node::start(&secured.broker, &Setup { with_model: false, ..secured.setup() });
    node.wait_for_state(&secured.broker, "no_model").await;
    let warning = "a certificate of mqtt.cert_file expires in 19 days";
    assert_eq!(node.log().matches(warning).count(), 1, "{}", node.log());
    secured.broker.kill();
    secured.broker.up().await;
    until("the node is back", || (node.log().matches("connected to the broker").count() == 2).then_some(())).await;
    assert_eq!(node.log().matches(warning).count(), 1, "{}", node.log());
}
