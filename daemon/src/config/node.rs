//! `[node]`: who this daemon is.

use std::collections::BTreeMap;

use crate::job::NodeName;

use super::machine::Machine;
use super::section::Section;
use super::value;

/// They travel in one retained document, which stays under 4 KiB with everything else in it.
const LABELS_BYTES_MAX: usize = 2048;
const LABELS_MAX: usize = 32;
const LABEL_BYTES_MAX: usize = 128;

/// Who this daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name among the nodes of one broker.
    pub name: NodeName,
    /// What the operator says about it, for whoever looks at a fleet.
    pub labels: BTreeMap<String, String>,
}

impl Node {
    pub(super) fn read(section: &mut Section<'_, '_, '_>, machine: &Machine) -> Self {
        let name =
            section.optional("name", |name| NodeName::new(value::text(name)?).map_err(|error| error.to_string()));
        Self { name: name.unwrap_or_else(|| machine.node_name()), labels: labels(section) }
    }
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
