//! Keys and names, and the memory that may be kept of a header.

use super::GgufError;
use super::error::excerpt;
use super::source::Cursor;

/// Most bytes of keys, texts, small arrays and tensor names that are kept of one file. Real models need about 200 KiB.
const KEPT_MAX: u64 = 4 * 1024 * 1024;

/// One name that is to be read.
pub(super) struct Text {
    /// What it names, for messages.
    pub(super) what: &'static str,
    /// Its position in the file.
    pub(super) index: u64,
    /// Most bytes.
    pub(super) longest: u64,
}

/// Reads names and counts what is kept.
#[derive(Default)]
pub(super) struct Names {
    kept: u64,
}

impl Names {
    /// Counts `bytes` that the caller is about to keep.
    pub(super) fn keep(&mut self, bytes: u64) -> Result<(), GgufError> {
        self.kept = self.kept.saturating_add(bytes);
        if self.kept > KEPT_MAX {
            return Err(GgufError::TooMany { what: "bytes of metadata to keep", found: self.kept, limit: KEPT_MAX });
        }
        Ok(())
    }

    /// Reads a name: not empty, not too long, and without control characters. llama.cpp compares names as C strings, so
    /// that a zero byte would make one name look like another.
    pub(super) fn read(&mut self, cursor: &mut Cursor<'_>, text: &Text) -> Result<String, GgufError> {
        let error = |problem: String| GgufError::Name { what: text.what, index: text.index, problem };
        let length = cursor.u64()?;
        if length == 0 || length > text.longest {
            return Err(error(format!("has {length} bytes; allowed are 1 to {}", text.longest)));
        }
        self.keep(length + size_of::<String>() as u64)?;
        let name = String::from_utf8(cursor.bytes(length)?)
            .map_err(|bad| error(format!("'{}' is not UTF-8", excerpt(bad.as_bytes()))))?;
        if name.contains(char::is_control) {
            return Err(error(format!("'{}' contains a control character", excerpt(name.as_bytes()))));
        }
        Ok(name)
    }
}
