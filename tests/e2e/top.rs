//! `promptd top` at a real node: what it prints, and what it says when it can't.

use serde_json::Value;

use crate::harness::{Broker, Node, Setup, promptd};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn prints_a_node_with_the_rights_of_a_monitor() {
    let broker = Broker::of_fleet(&["node gw", "device spy", "monitor watcher"]).await;
    let password = broker.password_of("gw");
    let mqtt = format!("username = \"gw\"\npassword_credential = {password:?}\n");
    let tables = "[telemetry]\ninterval = \"2s\"\n".to_owned();
    let node = Node::ready(&broker, Setup { tables, mqtt, ..Setup::default() }).await;
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    let top = |user: &str, arguments: &[&str]| {
        let mut command = promptd();
        command.args(["top", "--broker", &url, "--username", user, "--password-file"]).arg(broker.password_of(user));
        command.args(arguments).output().unwrap()
    };

    // Standard output is no terminal.
    let output = top("watcher", &[]);
    assert!(output.status.success(), "{output:?}");
    let table = text(&output.stdout);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("NODE  STATE  MODEL  STRATEGY"), "{table}");
    assert!(lines.len() == 2 && lines[1].starts_with("gw    ready  main   cpu:"), "{table}");

    let json = |output: std::process::Output| -> Value {
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let told = json(top("watcher", &["--json", "--wait", "120", "--node", "gw"]));
    let gw = &told["nodes"][0];
    assert_eq!((&gw["node"], &gw["state"], &gw["online"]), (&"gw".into(), &"ready".into(), &true.into()), "{told}");
    assert_eq!((&gw["tokens_per_s"], &gw["jobs_running"]), (&0.0.into(), &0.into()), "{told}");
    assert_eq!((&gw["models"][0]["name"], &gw["models"][0]["state"]), (&"main".into(), &"ready".into()), "{told}");
    assert!(gw["memory_available_bytes"].as_u64() > Some(0) && gw["uptime_s"].is_u64(), "{told}");
    assert_eq!((&told["summary"]["online"], &told["summary"]["states"]["ready"]), (&1.into(), &1.into()), "{told}");

    // As the node's own user, which its configuration names.
    let own = node.operator(&["top", "--once"]);
    assert!(own.status.success() && text(&own.stdout).contains("\ngw    ready"), "{own:?}");

    // A device may not read what nodes tell, and the broker does not say so.
    let output = top("spy", &["--once"]);
    assert!(output.status.success() && text(&output.stderr).contains("may this user read its topics?"), "{output:?}");
    let output = top("watcher", &["--node", "nobody"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("nobody has told nothing"), "{output:?}");
}

#[tokio::test]
async fn says_what_is_wrong_with_the_broker() {
    let broker = Broker::of_fleet(&["monitor watcher"]).await;
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    for arguments in [["--once"], ["--json"]] {
        let output = promptd().args(["top", "--broker", &url]).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(69), "{output:?}");
        assert!(text(&output.stderr).contains("the broker refuses the connection"), "{output:?}");
    }
    let port = broker.port;
    drop(broker);
    let output = promptd().args(["top", "--url", &url, "--once"]).output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains(&format!("127.0.0.1:{port}")) && said.contains("cannot be reached"), "{said}");
    assert_eq!(promptd().args(["top", "--node", "a b"]).output().unwrap().status.code(), Some(2));
}
