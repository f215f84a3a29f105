//! A loss of power: what was accepted is on the disk, and so is what was answered.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use promptd::config::Durability;
use promptd::job::{ClientName, RequestId};
use promptd::journal::{Journal, Moment, Settings};
use promptd::plan::Bytes;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Broker, Device, Disk, Node, Setup};

/// How often the power is lost.
const CUTS: usize = 8;

fn request(id: &str) -> Value {
    json!({ "id": id, "prompt": "Count.", "max_tokens": 12, "ignore_eos": true, "ack": true })
}

/// The journal as the next run would find it.
fn open(folder: PathBuf) -> Journal {
    let settings =
        Settings { folder, durability: Durability::Full, commit_window: Duration::ZERO, size_max: Bytes(256 << 20) };
    let clock = || Moment { running: Duration::ZERO, wall: None };
    Journal::open(&settings, Box::new(clock)).unwrap().0
}

#[tokio::test]
async fn what_was_accepted_and_what_was_answered_outlive_a_loss_of_power() {
    let Some(disk) = Disk::mount(64) else { return };
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 2, state_dir: Some(disk.path()), ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let client = ClientName::new("dev").unwrap();
    let (mut accepted, mut answered) = (BTreeSet::new(), BTreeSet::new());
    let mut random = fastrand::Rng::new();
    let mut asked = 0;
    for cut in 0..CUTS {
        let jobs = random.usize(1..6);
        asked += jobs;
        for job in 0..jobs {
            device.ask("generate", &request(&format!("{cut}-{job}"))).await;
        }
        // Each job is accepted and answered. The power is lost somewhere on this way, and at last when all of it is done.
        let left = 2 * asked - accepted.len() - answered.len();
        let heard = if cut + 1 == CUTS { left } else { random.usize(1..=left) };
        for _ in 0..heard {
            let reply = device.next().await.json;
            let id = reply["id"].as_str().unwrap().to_owned();
            match reply["event"].as_str() {
                Some("accepted") => accepted.insert(id),
                _ => answered.insert(id),
            };
        }
        node.signal(Signal::STOP);
        let after = disk.after_power_loss();
        node.signal(Signal::CONT);
        let journal = open(after.path());
        for id in &accepted {
            assert!(journal.find(&client, &RequestId::new(id.as_str()).unwrap()).is_some(), "{id} was accepted");
        }
        for id in &answered {
            let known = journal.find(&client, &RequestId::new(id.as_str()).unwrap());
            assert!(known.is_some_and(|known| known.ended.is_some()), "{id} was answered");
        }
        drop(journal);
    }
    assert_eq!((accepted.len(), answered.len()), (asked, asked));
}
