//! The loop that the driver lives in: it waits for whatever comes first and hands it over.

use std::time::Instant;

use bytes::Bytes;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::ServiceError;
use super::cooling::HealthReport;
use super::deriving::{DerivedReport, clean_folder};
use super::driver::{Doors, Driver, Phase};
use super::models::{Prepared, Ticket};
use super::opening::Opened;
use super::operator::Operator;
use super::self_test::Findings;
use super::startup::Startup;
use super::wiring::{control_server, link_config, next_call};
use crate::control::ControlCall;
use crate::engine::{EngineReport, backends_folder};
use crate::journal;
use crate::mqtt::{Link, LinkEvent, LinkHandle, Slot, Topics};

/// Reports that may wait for the driver, of all engines together.
const REPORTS: usize = 256;

/// Looks at models' files that may wait for it.
const PREPARATIONS: usize = 16;

/// What the availability topic says while we are there.
const ONLINE: &[u8] = b"online";

enum Wake {
    Link(Slot, LinkEvent),
    Groups(Slot, LinkEvent),
    Engine(EngineReport),
    Prepared(Ticket, Prepared),
    Derived(DerivedReport),
    Health(HealthReport),
    SelfTested(Findings),
    Control(ControlCall),
    Journal(journal::Event),
    Reopened(Box<Opened>),
    Deadline,
    Signal,
    Hangup,
    LinkGone,
}

/// Runs the daemon until a signal ends it. Must be called on the main thread, within a runtime of that thread: the engine
/// children die with it.
pub async fn run(startup: Startup) -> Result<(), ServiceError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let config = &startup.loaded.config;
    let topics = Topics::new(&config.mqtt.root, &config.node.name)?;
    let backends = backends_folder()?;
    let mut control = control_server(config).await;
    let journal = Opened::of(config).await?;
    let mut link_config = link_config(config, &topics);
    link_config.outbox_max += journal.places();
    let (recorder, recovery) = journal.split();
    let (link, mut link_events) = Link::spawn(link_config);
    let (reports, mut engine_reports) = mpsc::channel(REPORTS);
    let (prepared, mut preparations) = mpsc::channel(PREPARATIONS);
    // One derivation at a time; one that was stopped may have ended before.
    let (derived, mut derivations) = mpsc::channel(4);
    let (opened, mut journals) = mpsc::channel(1);
    // They are read one after the other.
    let (health, mut readings) = mpsc::channel(1);
    let (tested, mut self_tests) = mpsc::channel(1);
    let doors = Doors { link, recorder, opened, reports, prepared, derived, health, tested };
    let mut driver = Driver::new(startup, topics, backends, doors)?;
    driver.look_at_itself();
    clean_folder(&driver.derived_folder());
    driver.remove_unwanted_prefixes();
    driver.link.set_retained(driver.topics.availability(), Bytes::from_static(ONLINE));
    driver.look_at_certificates();
    driver.board.publish_info(&driver.link, &driver.topics, &driver.config);
    driver.tell_durability();
    driver.publish_status();
    driver.recover(recovery);
    for index in 0..driver.models.len() {
        driver.prepare(index);
    }
    let mut outcome = Ok(());
    loop {
        let deadline = driver.next_deadline();
        let wake = tokio::select! {
            wake = next_link_event(&driver.link, &mut link_events) => wake,
            (slot, event) = driver.groups.next(&driver.link) => Wake::Groups(slot, event),
            Some(report) = engine_reports.recv() => Wake::Engine(report),
            Some((ticket, prepared)) = preparations.recv() => Wake::Prepared(ticket, prepared),
            Some(report) = derivations.recv() => Wake::Derived(report),
            Some(report) = readings.recv() => Wake::Health(report),
            Some(findings) = self_tests.recv() => Wake::SelfTested(findings),
            Some(call) = next_call(&mut control) => Wake::Control(call),
            Some(journal) = journals.recv() => Wake::Reopened(Box::new(journal)),
            event = driver.recorder.journal.next_event() => Wake::Journal(event),
            () = sleep_until(deadline.into()) => Wake::Deadline,
            () = next_signal(&mut terminate, &mut interrupt) => Wake::Signal,
            _ = hangup.recv() => Wake::Hangup,
        };
        match wake {
            Wake::Link(slot, event) => driver.on_link(slot, event),
            Wake::Groups(slot, event) => driver.on_groups(slot, event),
            Wake::Engine(report) => {
                if let Err(error) = driver.on_engine(report) {
                    outcome = Err(error);
                    break;
                }
            }
            Wake::Prepared(ticket, prepared) => driver.on_prepared(ticket, prepared),
            Wake::Derived(report) => driver.on_derived(report),
            Wake::Health(report) => driver.on_health(report),
            Wake::SelfTested(findings) => driver.on_self_tested(findings),
            Wake::Control(call) => driver.on_control(call.control, Operator::Socket(call.reply)),
            Wake::Reopened(journal) => driver.on_reopened(*journal),
            Wake::Journal(event) => driver.on_journal(event),
            Wake::Deadline => driver.on_deadline(),
            Wake::Signal => driver.on_signal(),
            Wake::Hangup => driver.on_hangup(),
            Wake::LinkGone => break,
        }
        if driver.steps_wait {
            driver.dispatch();
        }
        if let Some(watchdog) = &mut driver.watchdog {
            watchdog.turned(Instant::now());
        }
        if let Phase::Draining { .. } = driver.phase {
            driver.stop_time.turned(Instant::now());
        }
        if driver.is_drained() {
            break;
        }
    }
    driver.say_goodbye(link_events).await;
    outcome
}

/// A message is taken only when its answer has a place in the outbox. Both waits can be given up without loss.
async fn next_link_event(link: &LinkHandle, events: &mut mpsc::Receiver<LinkEvent>) -> Wake {
    let slot = link.reserve().await;
    match events.recv().await {
        Some(event) => Wake::Link(slot, event),
        None => Wake::LinkGone,
    }
}

async fn next_signal(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
