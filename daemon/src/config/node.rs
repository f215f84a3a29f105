//! `[node]`: who this daemon is.

use std::collections::BTreeMap;

use crate::job::{GroupName, NodeName};

use super::machine::Machine;
use super::section::Section;
use super::tree::Value;
use super::value;

/// They travel in one retained document, which stays under 4 KiB with everything else in it.
const LABELS_BYTES_MAX: usize = 2048;
const LABELS_MAX: usize = 32;
const LABEL_BYTES_MAX: usize = 128;

const GROUPS_MAX: usize = 8;

/// The first level of groups' topics, so that no node can have it.
const GROUP: &str = "group";

/// Who this daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name among the nodes of one broker.
    pub name: NodeName,
    /// The groups whose work it shares with others.
    pub groups: Vec<GroupName>,
    /// What the operator says about it, for whoever looks at a fleet.
    pub labels: BTreeMap<String, String>,
}

impl Node {
    pub(super) fn read(section: &mut Section<'_, '_, '_>, machine: &Machine) -> Self {
        let groups =
            section.list("groups", GROUPS_MAX, |name| GroupName::new(value::text(name)?).map_err(|e| e.to_string()));
        let name = section.optional("name", name);
        Self { name: name.unwrap_or_else(|| machine.node_name()), groups, labels: labels(section) }
    }
}

fn name(written: &Value) -> Result<NodeName, String> {
    let name = NodeName::new(value::text(written)?).map_err(|error| error.to_string())?;
    if name.as_str() == GROUP { Err("is kept for groups: their topics begin with it".to_owned()) } else { Ok(name) }
}

fn labels(section: &mut Section<'_, '_, '_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let entries = section.entries("labels");
    for entry in entries {
        let key = format!("labels.{}", entry.quote_key());
        // A label's name has a node's alphabet, so that any dashboard can use it as a key.
        if let Err(error) = NodeName::new(entry.key.as_str()) {
            section.blame(&key, &entry.item, error.to_string().replacen("node", "the label's name", 1));
        }
        match value::line(&entry.item.value, LABEL_BYTES_MAX) {
            Ok(text) => _ = labels.insert(entry.key.clone(), text.to_owned()),
            Err(reason) => section.blame(&key, &entry.item, reason),
        }
    }
    if entries.len() > LABELS_MAX {
        section.blame_key("labels", format!("has {} entries; allowed are 0 to {LABELS_MAX}", entries.len()));
    }
    let bytes: usize = labels.iter().map(|(name, text): (&String, &String)| name.len() + text.len()).sum();
    if bytes > LABELS_BYTES_MAX {
        section.blame_key("labels", format!("have {bytes} bytes together; allowed are 0 to {LABELS_BYTES_MAX}"));
    }
    labels
}
