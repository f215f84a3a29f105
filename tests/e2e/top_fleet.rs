//! `promptd top` on a terminal, with 200 nodes on one broker.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{
    Broker, Crowd, Relay, Terminal, crowd_name, picture, processor_seconds, promptd, signal_pid, until,
};

const NODES: usize = 200;
const HEARTBEAT: Duration = Duration::from_mins(1);
const ENTER: &str = "\r";
const ESCAPE: &str = "\u{1b}";
const HOME: &str = "\u{1b}[H";

fn url(port: u16) -> String {
    format!("mqtt://127.0.0.1:{port}")
}

#[tokio::test]
async fn two_hundred_nodes_chatter_and_keys_are_answered() {
    let mut broker = Broker::start().await;
    let mut crowd = Crowd::start(&broker, NODES, HEARTBEAT).await;
    let output = promptd().args(["top", "--broker", &url(broker.port), "--once"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), NODES + 1, "one line each");

    crowd.chatter(&broker, Duration::from_secs(1)).await;
    let relay = Relay::start(&broker, None);
    let mut top = Terminal::start(&["top", "--broker", &url(relay.port)], 132, 28);
    let text = top.shows("everybody", |text| text.contains("195/200 online") && text.contains("178 ready")).await;
    let second = text.lines().nth(2).unwrap();
    assert!(second.contains(" offline "), "the worst stand on top:\n{text}");

    measure(&top, &relay, &crowd).await;
    // For the README.
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/top.svg"), picture::svg(&top.screen())).unwrap();

    let last = crowd_name(117);
    top.press(&format!("/{last}"));
    top.press(ENTER);
    top.shows("the one node", |text| text.contains(&last) && !text.contains(&crowd_name(7))).await;
    top.press(ENTER);
    let text = top.shows("its sensors", |text| text.contains("heat tj-thermal") && text.contains('█')).await;
    assert!(text.contains("not gpu:f16 (needs 9.0 GiB of 5.0 GiB): needs more memory than there is"), "{text}");
    top.press(ESCAPE);
    top.shows("the list", |text| text.contains("filter") && text.contains("STRATEGY")).await;
    top.press(ESCAPE);
    top.shows("no filter", |text| !text.contains("filter")).await;
    top.press(HOME);
    top.shows("everybody again", |text| text.contains(&crowd_name(7))).await;
    top.press("n");
    top.shows("the order of names", |text| text.lines().nth(2).is_some_and(|line| line.starts_with("paint-001"))).await;
    top.press("?");
    top.shows("the keys", |text| text.contains("c heat")).await;

    // The broker goes with all that it had kept, and comes again; half of the nodes do, too.
    broker.kill();
    let text = top.shows("the trouble", |text| text.contains("NOT CONNECTED")).await;
    assert!(text.contains("paint-001"), "what was known stays:\n{text}");
    broker.up().await;
    let _rest = Crowd::start(&broker, NODES / 2, HEARTBEAT).await;
    top.shows("the rest of the fleet", |text| text.contains("97/")).await;
    top.press("q");
    assert_eq!(top.ended().await, 0);
}

/// Prints what it costs, and claims nothing.
async fn measure(top: &Terminal, relay: &Relay, crowd: &Crowd) {
    let pid = top.pid().await;
    let moment = || (processor_seconds(pid), relay.received(), top.bytes(), Instant::now(), crowd.rounds());
    let before = moment();
    until("ten rounds", || (crowd.rounds() >= before.4 + 10).then_some(())).await;
    let after = moment();
    let seconds = (after.3 - before.3).as_secs_f64();
    eprintln!(
        "{NODES} nodes, {:.1} rounds of telemetry in 10 s: {:.1} % of a core, {:.0} kB/s from the broker, {:.1} kB/s to the terminal, {} MiB",
        (after.4 - before.4) as f64 * 10.0 / seconds,
        (after.0 - before.0) / seconds * 100.0,
        (after.1 - before.1) as f64 / seconds / 1000.0,
        (after.2 - before.2) as f64 / seconds / 1000.0,
        crate::harness::process_status(pid, "VmRSS").unwrap_or_default() >> 20,
    );
}

#[tokio::test]
async fn a_slow_link_brings_the_fleet_and_keys_do_not_wait_for_it() {
    const RATE: u32 = 16 * 1024;
    let broker = Broker::start().await;
    // They are not silent while the first of them are on their way.
    let _crowd = Crowd::start(&broker, NODES, Duration::from_hours(1)).await;
    let relay = Relay::start(&broker, Some(RATE));
    let mut top = Terminal::start(&["top", "--broker", &url(relay.port)], 80, 24);
    top.shows("the first nodes", |text| text.contains(" online") && !text.contains("0/0")).await;
    let asked = relay.received();
    top.press("?");
    top.shows("the keys", |text| text.contains("PgDn move")).await;
    let answered = relay.received();
    let text = top.shows("everybody", |text| text.contains("195/200 online") && text.contains("gpu:int8")).await;
    assert!(text.contains("1 misconfigured"), "{text}");
    let all = relay.received();
    eprintln!("slow link: keys asked at {asked} and answered at {answered} of {all} bytes");
    assert!(answered < all, "the answer waited for the whole fleet");
    signal_pid(top.pid().await, Signal::TERM);
    assert_eq!(top.ended().await, 0);
}

#[tokio::test]
async fn a_broker_that_is_away_is_told_before_the_screen_is_taken() {
    let broker = Broker::absent("");
    let top = Terminal::start(&["top", "--broker", &url(broker.port)], 100, 24);
    let text = top.shows("the end", |text| text.contains("done")).await;
    assert!(text.contains("cannot be reached"), "{text}");
    assert_eq!(top.ended().await, 69);
}
