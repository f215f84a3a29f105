//! Retained messages outlive what they tell. What is not wanted any more is taken back, even if another run of the daemon has
//! said it: a file in the state folder remembers the topics.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::mqtt::LinkHandle;

/// Longest file that is read.
const FILE_MAX: u64 = 64 * 1024;

/// What was announced, in this run or an earlier one.
#[derive(Debug)]
pub(super) struct Announcements {
    path: PathBuf,
    topics: BTreeSet<String>,
    withdrawn: BTreeSet<String>,
}

impl Announcements {
    /// Reads from a file what an earlier run has announced. One that can't be read is as good as none.
    pub(super) fn load(path: PathBuf) -> Self {
        let topics = match read(&path) {
            Ok(topics) => topics,
            Err(e) if e.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(e) => {
                tracing::warn!("{} is not used: {e}", path.display());
                BTreeSet::new()
            }
        };
        Self { path, topics, withdrawn: BTreeSet::new() }
    }

    /// Announces this and nothing else.
    pub(super) fn set(&mut self, link: &LinkHandle, wanted: Vec<(String, Vec<u8>)>) {
        self.keep_only(link, wanted.iter().map(|(topic, _)| topic.clone()).collect());
        for (topic, payload) in wanted {
            link.set_retained(topic, payload);
        }
    }

    /// Others publish these topics; whatever else was announced is taken back.
    pub(super) fn keep_only(&mut self, link: &LinkHandle, topics: BTreeSet<String>) {
        let before = self.topics.len();
        self.withdrawn.retain(|topic| !topics.contains(topic));
        for topic in self.topics.difference(&topics) {
            if self.withdrawn.insert(topic.clone()) {
                link.set_retained(topic.clone(), Vec::new());
            }
        }
        self.topics.extend(topics);
        if self.topics.len() != before {
            self.save();
        }
    }

    /// The broker has taken everything: what was withdrawn need not be again.
    pub(super) fn settled(&mut self) {
        let withdrawn = std::mem::take(&mut self.withdrawn);
        if !withdrawn.is_empty() {
            self.topics.retain(|topic| !withdrawn.contains(topic));
            self.save();
        }
    }

    fn save(&self) {
        let written = serde_json::to_vec(&self.topics).map_err(io::Error::from).and_then(|text| {
            let fresh = self.path.with_extension("json.new");
            fs::write(&fresh, text)?;
            fs::rename(&fresh, &self.path)
        });
        if let Err(e) = written {
            tracing::warn!("what was announced may stay at the broker: cannot write {}: {e}", self.path.display());
        }
    }
}

fn read(path: &Path) -> io::Result<BTreeSet<String>> {
    let size = fs::metadata(path)?.len();
    if size > FILE_MAX {
        return Err(io::Error::other(format!("it has {size} bytes; the limit is {FILE_MAX}")));
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}
