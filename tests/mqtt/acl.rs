//! Who may do what: `packaging/mosquitto` at a real broker, by its acknowledgements and by what is delivered.

use std::collections::BTreeSet;
use std::process::Output;

use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, PubAckReason};

use crate::client::{Client, text};
use crate::fleet::{FleetBroker, Users};

const USERS: [&str; 7] = [
    "device dev",
    "monitor mon",
    "operator op",
    "node gw1",
    "node node-site gw2 gw3",
    "binding plc plant/plc/text plant/plc/answer gw1",
    "device admin",
];

/// What the operator has added: one who sees and sends everything.
const OWN: &str = "user admin\ntopic readwrite #\n";

/// The columns of [`TABLE`].
const COLUMNS: [&str; 6] = ["dev", "mon", "op", "gw1", "node-site", "plc"];

/// What each user may do on a topic: read, write, both, or neither.
#[rustfmt::skip]
const TABLE: [(&str, [&str; 6]); 55] = [
    //                                        dev  mon  op   gw1   site  plc
    ("promptd/gw1/request/generate/dev",     ["w", "-", "-", "rw", "-",  "-"]),
    ("promptd/gw2/request/embed/dev",        ["w", "-", "-", "-",  "rw", "-"]),
    ("promptd/gw9/request/embed/dev",        ["w", "-", "-", "-",  "-",  "-"]),
    ("promptd/gw1/request/generate/other",   ["-", "-", "-", "rw", "-",  "-"]),
    ("promptd/gw1/request/generate",         ["-", "-", "-", "rw", "-",  "-"]),
    ("promptd/gw1/request/generate/dev/x",   ["-", "-", "-", "rw", "-",  "-"]),
    ("promptd/gw9/request/generate/mon",     ["-", "-", "-", "-",  "-",  "-"]),
    ("promptd/gw9/request/generate/op",      ["-", "-", "-", "-",  "-",  "-"]),
    ("promptd/gw9/request/generate/gw1",     ["-", "-", "-", "-",  "-",  "-"]),
    ("promptd/gw9/request/generate/node-site", ["-", "-", "-", "-", "-", "-"]),
    ("promptd/gw9/request/generate/plc",     ["-", "-", "-", "-",  "-",  "-"]),
    ("promptd/gw1/request/generate/control", ["-", "-", "-", "rw", "-",  "-"]),
    ("promptd/gw1/request/generate/doctor",  ["-", "-", "-", "rw", "-",  "-"]),
    ("promptd/group/all/request/chat/dev",   ["w", "-", "-", "r",  "r",  "-"]),
    ("promptd/group/all/request/chat/other", ["-", "-", "-", "r",  "r",  "-"]),
    ("promptd/group/all/request/chat/mon",   ["-", "-", "-", "r",  "r",  "-"]),
    ("promptd/group/all/request/chat/gw1",   ["-", "-", "-", "-",  "r",  "-"]),
    ("promptd/gw1/cancel/dev",               ["w", "-", "-", "rw", "-",  "-"]),
    ("promptd/gw1/cancel/other",             ["-", "-", "-", "rw", "-",  "-"]),
    ("promptd/gw9/cancel/op",                ["-", "-", "-", "-",  "-",  "-"]),
    ("promptd/gw9/cancel/gw1",               ["-", "-", "-", "-",  "-",  "-"]),
    ("promptd/gw1/control/drain",            ["-", "-", "w", "rw", "-",  "-"]),
    ("promptd/gw2/control/drain",            ["-", "-", "w", "-",  "rw", "-"]),
    ("promptd/group/all/control/drain",      ["-", "-", "w", "r",  "r",  "-"]),
    ("promptd/gw1/response/dev/1",           ["r", "-", "-", "rw", "-",  "-"]),
    ("promptd/gw1/response/dev/deep/er",     ["r", "-", "-", "rw", "-",  "-"]),
    ("promptd/gw1/response/other/1",         ["-", "-", "-", "rw", "-",  "-"]),
    ("promptd/gw1/response/control/1",       ["-", "-", "r", "rw", "-",  "-"]),
    ("promptd/gw9/response/control/1",       ["-", "-", "r", "-",  "-",  "-"]),
    ("promptd/gw1/response/doctor/1",        ["-", "-", "-", "rw", "-",  "-"]),
    ("promptd/gw9/response/doctor/1",        ["-", "-", "-", "-",  "-",  "-"]),
    ("promptd/gw1/response/mon/1",           ["-", "-", "-", "rw", "-",  "-"]),
    ("promptd/gw9/response/mon/1",           ["-", "-", "-", "-",  "-",  "-"]),
    ("promptd/gw9/response/gw1/1",           ["-", "-", "-", "-",  "-",  "-"]),
    ("promptd/gw1/jobs/dev/1",               ["r", "-", "-", "rw", "-",  "-"]),
    ("promptd/gw1/jobs/other/1",             ["-", "-", "-", "rw", "-",  "-"]),
    ("promptd/gw9/jobs/mon/1",               ["-", "-", "-", "-",  "-",  "-"]),
    ("promptd/gw1/availability",             ["-", "r", "r", "rw", "-",  "-"]),
    ("promptd/gw3/availability",             ["-", "r", "r", "-",  "rw", "-"]),
    ("promptd/gw1/status",                   ["-", "r", "r", "rw", "-",  "-"]),
    ("promptd/gw1/info",                     ["-", "r", "r", "rw", "-",  "-"]),
    ("promptd/gw1/model/main",               ["-", "r", "r", "rw", "-",  "-"]),
    ("promptd/gw1/health",                   ["-", "r", "r", "rw", "-",  "-"]),
    ("promptd/gw1/telemetry",                ["-", "r", "r", "rw", "-",  "-"]),
    ("promptd/gw1/event",                    ["-", "r", "r", "rw", "-",  "-"]),
    ("promptd/gw1/anything",                 ["-", "-", "-", "rw", "-",  "-"]),
    ("promptd/gw10/status",                  ["-", "r", "r", "-",  "-",  "-"]),
    ("promptd/mon/status",                   ["-", "r", "r", "-",  "-",  "-"]),
    ("plant/plc/text",                       ["-", "-", "-", "r",  "-",  "w"]),
    ("plant/plc/answer",                     ["-", "-", "-", "w",  "-",  "r"]),
    ("plant/other/text",                     ["-", "-", "-", "-",  "-",  "-"]),
    ("homeassistant/device/gw1/config",      ["-", "-", "-", "-",  "-",  "-"]),
    ("$SYS/broker/uptime",                   ["-", "-", "-", "-",  "-",  "-"]),
    ("anything/else",                        ["-", "-", "-", "-",  "-",  "-"]),
    ("promptd",                              ["-", "-", "-", "-",  "-",  "-"]),
];

fn fleet() -> FleetBroker {
    let users = Users::new(&USERS);
    users.own(OWN);
    users.broker("")
}

#[tokio::test]
async fn each_role_reads_what_it_may_and_nothing_else() {
    let fleet = fleet();
    let mut admin = fleet.log_in("admin").await;
    for (column, user) in COLUMNS.iter().enumerate() {
        let mut client = fleet.log_in(user).await;
        // Accepted whatever the rules are; they are applied when something is delivered.
        client.subscribe("#").await;
        for (topic, _) in TABLE {
            admin.publish(topic, "from admin").await;
        }
        let expected = TABLE.iter().filter(|(_, access)| access[column].contains('r')).map(|(topic, _)| *topic);
        assert_eq!(received(&mut client).await, set(expected), "what {user} reads");
    }
}

#[tokio::test]
async fn each_role_writes_what_it_may_and_nothing_else() {
    let fleet = fleet();
    let mut admin = fleet.log_in("admin").await;
    admin.subscribe("#").await;
    for (column, user) in COLUMNS.iter().enumerate() {
        let mut client = fleet.log_in(user).await;
        for (topic, access) in TABLE {
            let reason = client.try_publish(topic, "x").await;
            let expected =
                if access[column].contains('w') { PubAckReason::Success } else { PubAckReason::NotAuthorized };
            assert_eq!(reason, expected, "{user} writes {topic}");
        }
        let expected = TABLE.iter().filter(|(_, access)| access[column].contains('w')).map(|(topic, _)| *topic);
        assert_eq!(received(&mut admin).await, set(expected), "what came of {user}");
    }
}

#[tokio::test]
async fn nodes_share_the_requests_of_their_group_and_devices_cannot_join_in() {
    let fleet = fleet();
    let mut node = fleet.log_in("gw1").await;
    let mut device = fleet.log_in("dev").await;
    node.subscribe("$share/promptd/promptd/group/all/request/+/+").await;
    device.publish("promptd/group/all/request/chat/dev", "hello").await;
    assert_eq!(node.next_text().await, ("promptd/group/all/request/chat/dev".to_owned(), "hello".to_owned()));

    // Not even in a share of its own, in which nobody else would take it.
    device.subscribe("$share/theirs/promptd/group/all/request/+/+").await;
    device.subscribe("$share/theirs/promptd/+/response/+/+").await;
    let mut admin = fleet.log_in("admin").await;
    admin.publish("promptd/group/all/request/chat/other", "secret").await;
    admin.publish("promptd/gw1/response/other/1", "secret").await;
    assert_eq!(received(&mut device).await, set([]));
}

#[tokio::test]
async fn nobody_reads_or_forges_by_what_is_retained_or_left_as_a_will() {
    let fleet = fleet();
    let mut admin = fleet.log_in("admin").await;
    admin.publish_retained("promptd/gw1/response/other/1", "secret").await;
    admin.publish_retained("promptd/gw1/response/dev/1", "own").await;
    let mut options = MqttOptions::new("dev", "127.0.0.1", fleet.broker.port());
    options.set_credentials("dev", fleet.password("dev"));
    options.set_last_will(LastWill::new("promptd/gw1/availability", "offline", QoS::AtLeastOnce, true, None));
    let mut device = Client::connect_with(options).await;
    device.subscribe("promptd/+/response/+/#").await;
    assert_eq!(received(&mut device).await, set(["promptd/gw1/response/dev/1"]));

    admin.subscribe("promptd/+/availability").await;
    // A new connection of the same id ends the old one, and its will speaks, before it is answered.
    let _again = fleet.log_in("dev").await;
    assert_eq!(received(&mut admin).await, set([]));
}

#[tokio::test]
async fn names_of_promptds_own_have_no_rights_even_with_a_password() {
    let users = Users::new(&["device admin"]);
    for name in ["control", "doctor", "cli", "anonymous"] {
        let refused = said(&users.script(&["device", name]));
        assert!(refused.contains(&format!("the name {name} is promptd's own")), "{refused}");
        // Somebody gets past the script.
        let password = std::fs::read_to_string(users.path("passwords")).unwrap();
        let copy = password.lines().find(|line| line.starts_with("admin:")).unwrap().replacen("admin", name, 1);
        std::fs::write(users.path("passwords"), format!("{password}{copy}\n")).unwrap();
        std::fs::copy(users.path("secrets/admin"), users.path("secrets").join(name)).unwrap();
    }
    users.own(OWN);
    let fleet = users.broker("");
    let mut admin = fleet.log_in("admin").await;
    for name in ["control", "doctor", "cli", "anonymous"] {
        let mut client = fleet.log_in(name).await;
        for topic in [format!("promptd/gw1/request/chat/{name}"), format!("promptd/gw1/cancel/{name}")] {
            assert_eq!(client.try_publish(&topic, "x").await, PubAckReason::NotAuthorized, "{topic}");
        }
        client.subscribe("#").await;
        admin.publish(&format!("promptd/gw1/response/{name}/1"), "secret").await;
        admin.publish(&format!("promptd/gw1/jobs/{name}/1"), "secret").await;
        assert_eq!(received(&mut client).await, set([]), "{name}");
    }
}

#[test]
fn the_script_changes_nothing_twice_and_keeps_what_is_the_operators() {
    let users = Users::new(&USERS);
    users.own(OWN);
    let before = (users.read("acl"), users.read("passwords"), users.read("secrets/dev"));
    for user in USERS {
        assert!(users.script(&user.split(' ').collect::<Vec<_>>()).status.success());
    }
    assert_eq!((users.read("acl"), users.read("passwords"), users.read("secrets/dev")), before);
    let listed = String::from_utf8(users.script(&["list"]).stdout).unwrap();
    let listed: BTreeSet<&str> = listed.lines().collect();
    let expected: BTreeSet<&str> =
        USERS.iter().map(|user| if *user == "node gw1" { "node gw1 gw1" } else { user }).collect();
    assert_eq!(listed, expected);

    // Another role replaces the old one; a user that goes is gone from both files, and the others' lines stay.
    assert!(users.script(&["monitor", "op"]).status.success());
    assert!(!users.read("acl").contains("topic write promptd/+/control/+"));
    assert!(users.script(&["remove", "mon"]).status.success());
    assert!(!users.read("acl").contains("user mon\n") && !users.read("passwords").contains("mon:"));
    assert!(users.read("acl").ends_with(OWN) && users.read("passwords").contains("gw1:"));

    // A password is replaced when that is asked for, and one that was put there is taken.
    let old = users.read("passwords");
    std::fs::write(users.path("secrets/dev"), "chosen\n").unwrap();
    assert!(users.script(&["--new-password", "device", "dev"]).status.success());
    assert_ne!(users.read("passwords"), old);
    assert!(!users.read("passwords").contains("chosen"), "it is hashed");
    assert!(users.script(&["--no-password", "device", "dev"]).status.success());
    assert!(!users.read("passwords").contains("\ndev:"));
}

#[test]
fn the_script_refuses_what_would_give_more_rights_than_meant() {
    let users = Users::new(&[]);
    let long = "x".repeat(65);
    for (arguments, reason) in [
        (&["device", "a+b"][..], "user \"a+b\""),
        (&["device", "#"], "user \"#\""),
        (&["device", "a/b"], "user \"a/b\""),
        (&["device", "two words"], "user \"two words\""),
        (&["device", ""], "user \"\""),
        (&["device", &long], "1 to 64"),
        (&["device", "a\nuser b"], "1 to 64"),
        (&["device"], "needs a user"),
        (&["device", "a", "b"], "needs a user and no more"),
        (&["node", "gw1", "group"], "promptd/group"),
        (&["node", "gw1", "+"], "node \"+\""),
        (&["node", "control"], "promptd's own"),
        (&["binding", "plc", "#", "plant/a", "gw1"], "beyond the device's own"),
        (&["binding", "plc", "plant/a", "promptd/gw1/control/drain", "gw1"], "beyond the device's own"),
        (&["binding", "plc", "+/gw1/control/+", "plant/a", "gw1"], "beyond the device's own"),
        (&["binding", "plc", "plant/a\ntopic #", "plant/a", "gw1"], "white space"),
        (&["binding", "plc", "plant/a", "plant/b"], "binding needs"),
        (&["king", "arthur"], "unknown role \"king\""),
        (&["remove"], "remove needs a user"),
        (&["--acls", "x"], "unknown option --acls"),
        (&[], "no role"),
    ] {
        let output = users.script(arguments);
        assert!(!output.status.success() && said(&output).contains(reason), "{arguments:?}: {}", said(&output));
    }
    for name in ["acl", "passwords", "secrets"] {
        assert!(!users.path(name).exists(), "{name} was written all the same");
    }
}

/// The topics of what the broker has sent to a client so far: it comes before the answer to what the client sends now.
async fn received(client: &mut Client) -> BTreeSet<String> {
    const END: &str = "end/of/what/was/received";
    client.try_publish(END, "x").await;
    std::iter::from_fn(|| client.now()).map(|message| text(&message.topic)).filter(|topic| topic != END).collect()
}

fn set<'a>(topics: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    topics.into_iter().map(str::to_owned).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
