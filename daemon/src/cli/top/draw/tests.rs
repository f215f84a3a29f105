//! What stands on screens of many sizes.

use std::time::Instant;

use promptd::mqtt::NodeTopic;
use serde_json::json;

use super::super::example::{fleet, tell, tell_all};
use super::super::fleet::Fleet;
use super::*;

fn at(width: u16, height: u16, view: &mut View) -> Grid {
    let now = Instant::now();
    draw(&fleet(now), view, None, now, (width, height))
}

fn list(width: u16, height: u16) -> Vec<String> {
    at(width, height, &mut View::new(None)).lines()
}

#[test]
fn a_terminal_of_80_columns_has_the_numbers_and_the_reason_below() {
    let lines = list(80, 24);
    assert_eq!(
        lines[..6],
        [
            "2/4 online  35 tok/s  jobs 3+2  1 offline  1 throttled  1 –  1 ready",
            "NODE             STATE         STRATEGY      TOK/S    JOBS    MEMORY    °C THR",
            "dead             offline       gpu:int4          –       –         –     – –",
            "hot              throttled     gpu:int4        4.0       – 4.0G/8.0G  91.0 yes",
            "mute             –             –                 –       –         –     – –",
            "ready            ready         gpu:int4       31.2     3+2 2.0G/8.0G  61.5 no",
        ]
    );
    assert_eq!(lines[22..], ["dead", "q quit  ? keys  by state"]);
    let mut view = View::new(None);
    let now = Instant::now();
    let rows = fleet(now);
    view.key(crossterm::event::KeyCode::Down.into(), &rows.rows(now), 18);
    let grid = at(80, 24, &mut view);
    assert_eq!(grid.lines()[22], "hot cpu-thermal is at 91.0 °C, above its limit");
    assert_eq!(grid.style(0, 3).weight, Weight::Reversed);
    assert_eq!((grid.style(17, 2).tint, grid.style(17, 5).tint), (Tint::Red, Tint::Green));
}

#[test]
fn a_wide_terminal_has_every_column() {
    let lines = list(140, 10);
    assert!(lines[1].contains(" MODEL ") && lines[1].ends_with("UP REASON"), "{}", lines[1]);
    assert!(lines[3].ends_with("yes    – cpu-thermal is at 91.0 °C, above its limit"), "{}", lines[3]);
    assert!(lines[5].ends_with(" no    1d"), "{}", lines[5]);
}

#[test]
fn every_size_shows_what_it_can() {
    for width in [0, 1, 2, 5, 10, 16, 17, 30, 40, 79, 80, 81, 200, 5000] {
        for height in [0, 1, 2, 3, 4, 5, 7, 8, 24, 100] {
            let mut views =
                [View::new(None), View::new(None), View::new("hot".parse().ok()), View::new("x".parse().ok())];
            views[1].filter = "no such node".to_owned();
            for mut view in views {
                view.help = width % 2 == 0;
                let grid = at(width, height, &mut view);
                assert_eq!(grid.lines().len(), usize::from(height).min(1000));
            }
        }
    }
    assert_eq!(list(9, 2), ["2/4 onlin", "q quit  ?"]);
    assert_eq!(list(20, 4), ["2/4 online  35 tok/s", "NODE", "dead", "q quit  ? keys  by s"]);
    assert_eq!(list(20, 3)[1], "dead");
}

#[test]
fn the_page_of_a_node_tells_everything() {
    let now = Instant::now();
    let mut fleet = fleet(now);
    let health = json!({"temperatures": [{"zone": "cpu-thermal", "celsius": 91.0, "passive": 85.0}]});
    tell(&mut fleet, "hot", NodeTopic::Health, &health.to_string(), now);
    tell(&mut fleet, "hot", NodeTopic::Telemetry, r#"{"tokens_per_s":8.0}"#, now);
    let mut view = View::new("hot".parse().ok());
    let text = draw(&fleet, &mut view, None, now, (60, 30)).lines().join("\n");
    for part in [
        "hot throttled\ncpu-thermal is at 91.0 °C, above its limit\n",
        "tokens/s            8.0\n",
        "tokens/s, curve     ▅█\n",
        "model main ready  gpu:int4\n",
        "  not gpu:f16 (needs 8.4 GiB of 4.7 GiB): too large\n",
        "heat cpu-thermal    91.0 °C, passive at 85 °C\n",
        "\nq quit  ? keys  Esc list",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    // The end of the page is as far as it goes.
    view.page = Page::Node { name: "hot".parse().unwrap(), first: usize::MAX };
    let lines = draw(&fleet, &mut view, None, now, (60, 6)).lines();
    assert!(lines[4].starts_with("heat cpu-thermal"), "{lines:?}");
    assert!(matches!(view.page, Page::Node { first, .. } if first < 30));
    let lines = draw(&fleet, &mut View::new("later".parse().ok()), None, now, (60, 6)).lines();
    assert_eq!(lines[1], "later has told nothing");
}

#[test]
fn a_broken_connection_is_told_and_what_was_known_stays() {
    let now = Instant::now();
    let mut fleet = fleet(now);
    fleet.disconnected("the broker closed\u{1b}[2J the connection".to_owned());
    let grid = draw(&fleet, &mut View::new(None), Some("the broker refuses promptd/+/status"), now, (120, 10));
    let lines = grid.lines();
    let expected = "NOT CONNECTED, trying again; this is what was known. the broker closed\u{fffd}[2J the connection";
    assert_eq!((lines[0].as_str(), grid.style(0, 0).tint), (expected, Tint::Red));
    assert!(lines[5].starts_with("ready            ready"), "{lines:?}");
    assert_eq!(lines[9], "the broker refuses promptd/+/status");
}

#[test]
fn what_the_network_says_stays_in_its_place() {
    let now = Instant::now();
    let mut fleet = Fleet::new(now);
    let long = "n".repeat(64);
    let evil = "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\r\n\u{202e}漢字";
    let status = json!({"state": evil, "reasons": [evil.repeat(50)], "since": evil});
    tell_all(
        &mut fleet,
        &long,
        &status,
        &json!({"tokens_per_s": 1e300, "jobs_running": u64::MAX, "uptime_s": u64::MAX,
        "jobs_waiting": u64::MAX, "memory_total_bytes": u64::MAX, "memory_available_bytes": u64::MAX,
        "temperature_max_celsius": -1e300}),
        now,
    );
    for page in [None, long.parse().ok()] {
        for width in [20, 80, 200] {
            let mut view = View::new(page.clone());
            let lines = draw(&fleet, &mut view, None, now, (width, 20)).lines();
            let text = lines.concat();
            assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
            assert!(lines.iter().all(|line| super::super::grid::width(line) <= width.into()));
        }
    }
    let lines = draw(&fleet, &mut View::new(None), None, now, (80, 8)).lines();
    assert!(lines[2].starts_with("nnnnnnnnnnnnnnn… \u{fffd}[2J\u{fffd}]0;titl… "), "{}", lines[2]);
}
