//! The whole interface, asked by clients that know nothing of this program: tests/conformance.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::harness::{Broker, Heat, Node, Setup, files, until};

const USERS: [&str; 7] = [
    "node gw",
    "node gw2",
    "device dev",
    "device spy",
    "monitor mon",
    "operator alice",
    "binding plc plant/plc/text plant/plc/answer gw",
];

/// Python with paho-mqtt, as `tests/conformance/setup.sh` makes it.
fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_promptd")).ancestors().nth(2).expect("target/<profile>/promptd");
    let python = folder.join("conformance/bin/python");
    assert!(python.is_file(), "no {}; run `make conformance-clients`", python.display());
    python
}

#[tokio::test]
async fn plain_clients_get_what_the_interface_promises() {
    // Larger than the node's own documents, so that an answer may be larger than the broker takes.
    let mut broker = Broker::of_fleet(&USERS).await;
    broker.kill();
    broker.replace("max_packet_size 1048576", "max_packet_size 12000");
    broker.up().await;
    let machine = Heat::without_trips(40.0);
    machine.sets_the_clock();
    let embedder = files::embedder();
    let tables = format!(
        "[telemetry]\ninterval = \"1s\"\n\
         [[model]]\nname = \"embedder\"\nfiles = [{{ path = {embedder:?} }}]\nthreads = 1\n\
         [[binding]]\nname = \"plc\"\nsubscribe = \"plant/plc/text\"\ntask = \"generate\"\n\
         params = {{ max_tokens = 3 }}\npublish = \"plant/plc/answer\"\n"
    );
    let setup = Setup {
        node_lines: "groups = [\"hall\"]",
        mqtt: format!("username = \"gw\"\npassword_credential = {:?}\n", broker.password_of("gw")),
        model: "default = true".to_owned(),
        sequences: 2,
        context: 2048,
        tables,
        ..Setup::default()
    };
    let node = Node::start(&broker, &machine.setup(setup));
    until("both models serve", || node.log().contains("the node is ready").then_some(())).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/conformance.py");
    let mut command = Command::new(python());
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
        .arg(script)
        .args(["--port", &broker.port.to_string()])
        .arg("--secrets")
        .arg(broker.folder().join("secrets"));
    let output = command.output().await.unwrap();
    let (told, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}{wrong}");
    eprintln!("{told}");
    assert!(!node.log().contains("authorized"), "the broker denied the node something:\n{}", node.log());
}
