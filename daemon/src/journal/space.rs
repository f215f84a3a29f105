//! How much of the file there is to give away.
//!
//! SQLite counts pages, so that is what is counted here: an upper bound for each job of what its row can take. As long as the
//! bounds fit, the file does. A job that was accepted has its bounds for two rows, the request and its largest outcome, and
//! so its outcome always has room.
//!
//! Rows that are removed leave pages that SQLite gives to the next ones; the file keeps its size. To shrink it would mean
//! to write pages for nothing, and what it may have is bounded anyway.

use crate::plan::Bytes;

/// Bytes of a page: SQLite's default and a file system's block.
pub(super) const PAGE: u64 = 4096;

/// What the write-ahead log may take, out of `journal.size_max`: a half until its pages are moved to the file, and as much
/// again for what is written at once.
pub(super) const LOG: u64 = 8 << 20;

/// So many pages of the log are moved to the file: few enough that nobody waits long for it, and enough that a page that
/// changes often is moved once. It takes no more than the commit that finds them, on the journal's own thread.
pub(super) const CHECKPOINT: u64 = LOG / 2 / PAGE;

/// What a page of a long row holds (SQLite's file format, "Cell Payload Overflow Pages").
const OVERFLOW: u64 = PAGE - 4;

/// The columns of a row besides the texts: names, a hash, numbers and their header.
const COLUMNS: u64 = 256;

/// So many pages of rows for one that leads to them, which have 14 bytes for each: 200 at the least.
const FAN_OUT: u64 = 200;

/// Schema, the node's row and the roots.
const FIXED: u64 = 16;

/// Pages that are taken, and how many there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Space {
    pub used: u64,
    pub max: u64,
}

impl Space {
    pub fn new(size_max: Bytes) -> Self {
        let pages = size_max.0.saturating_sub(LOG) / PAGE;
        Self { used: 0, max: pages.saturating_sub(FIXED) * FAN_OUT / (FAN_OUT + 1) }
    }

    pub fn fits(self, pages: u64) -> bool {
        self.used.saturating_add(pages) <= self.max
    }
}

/// Most pages of the file.
pub(super) fn pages_max(size_max: Bytes) -> u64 {
    (size_max.0.saturating_sub(LOG) / PAGE).max(FIXED)
}

/// Most pages that a row with so many bytes of text can take. One at least, which also bounds the number of rows.
pub(super) fn pages(text: u64) -> u64 {
    text.saturating_add(COLUMNS) / OVERFLOW + 1
}

/// The same in bytes.
pub(super) fn bytes(pages: u64) -> Bytes {
    Bytes(pages.saturating_mul(PAGE))
}
