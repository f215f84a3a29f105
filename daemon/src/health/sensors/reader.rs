//! Reads the files that were found.

use std::path::Path;

use super::super::file::{Content, number, signed};

/// Reads values and notices whether one of their files is gone.
#[derive(Debug, Default)]
pub(super) struct Reader {
    vanished: bool,
}

impl Reader {
    /// A whole number from zero.
    pub(super) fn number(&mut self, path: &Path) -> Option<u64> {
        number(&self.text(path)?)
    }

    /// A whole number.
    pub(super) fn signed(&mut self, path: &Path) -> Option<i64> {
        signed(&self.text(path)?)
    }

    /// A text. A sensor that answers with an error, such as EAGAIN of one that is switched off, is unknown this time.
    pub(super) fn text(&mut self, path: &Path) -> Option<String> {
        match Content::of(path) {
            Content::Text(text) => Some(text),
            Content::Unreadable => None,
            Content::Absent => {
                self.vanished = true;
                None
            }
        }
    }

    /// Whether a file was gone: its driver was unloaded, or has another number now.
    pub(super) fn has_missed(&self) -> bool {
        self.vanished
    }
}
