//! Bounded, buffered reading of the header.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::GgufError;

/// Most bytes of metadata and tensor table. The largest vocabularies known need 16 MiB.
const HEADER_MAX: u64 = 256 * 1024 * 1024;

/// Bytes read at once.
const WINDOW: usize = 64 * 1024;

/// Something that can be read at any offset without moving a position.
pub trait ReadAt {
    /// Reads some bytes from `offset` into `buf` and returns how many; 0 at the end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buf, offset)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(buf, offset)
    }
}

/// A position in the header. Nothing is read, skipped or allocated that lies beyond the end of the file.
pub(super) struct Cursor<'a> {
    source: &'a dyn ReadAt,
    file_size: u64,
    position: u64,
    /// What is being read, for messages.
    section: &'static str,
    window: Box<[u8]>,
    window_start: u64,
    window_len: usize,
}

impl<'a> Cursor<'a> {
    /// At the start of a file of `file_size` bytes.
    pub(super) fn new(source: &'a dyn ReadAt, file_size: u64) -> Self {
        let window = vec![0; WINDOW.min(usize::try_from(file_size).unwrap_or(WINDOW))].into_boxed_slice();
        Self { source, file_size, position: 0, section: "the header", window, window_start: 0, window_len: 0 }
    }

    /// Names what comes next in messages.
    pub(super) fn enter(&mut self, section: &'static str) {
        self.section = section;
    }

    /// Offset of the next byte.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Fails unless `count` more things of at least `size` bytes each can follow.
    pub(super) fn claim(&self, count: u64, size: u64) -> Result<(), GgufError> {
        let needed = self.position.saturating_add(count.saturating_mul(size));
        if needed > self.file_size {
            return Err(self.truncated(needed, self.file_size));
        }
        if needed > HEADER_MAX {
            return Err(GgufError::HeaderTooLarge { limit: HEADER_MAX });
        }
        Ok(())
    }

    /// Passes over `count` bytes.
    pub(super) fn skip(&mut self, count: u64) -> Result<(), GgufError> {
        self.claim(count, 1)?;
        self.position += count;
        Ok(())
    }

    /// Hands the next `count` bytes to `take`, piece by piece.
    pub(super) fn each(&mut self, count: u64, mut take: impl FnMut(&[u8])) -> Result<(), GgufError> {
        self.claim(count, 1)?;
        let end = self.position + count;
        while self.position < end {
            if self.buffered().is_empty() {
                self.refill(end)?;
            }
            let rest = usize::try_from(end - self.position).unwrap_or(usize::MAX);
            let buffered = self.buffered();
            let piece = &buffered[..buffered.len().min(rest)];
            take(piece);
            self.position += piece.len() as u64;
        }
        Ok(())
    }

    /// The next `count` bytes. The caller has bounded `count`.
    pub(super) fn bytes(&mut self, count: u64) -> Result<Vec<u8>, GgufError> {
        self.claim(count, 1)?;
        let mut bytes = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
        self.each(count, |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut array = [0; N];
        let mut filled = 0;
        self.each(N as u64, |piece| {
            array[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
        })?;
        Ok(array)
    }

    /// The next four bytes as a number.
    pub(super) fn u32(&mut self) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// The next eight bytes as a number.
    pub(super) fn u64(&mut self) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// What is in the window from the position on.
    fn buffered(&self) -> &[u8] {
        let skipped = self.position.checked_sub(self.window_start).and_then(|skipped| usize::try_from(skipped).ok());
        skipped.and_then(|skipped| self.window[..self.window_len].get(skipped..)).unwrap_or_default()
    }

    fn refill(&mut self, needed: u64) -> Result<(), GgufError> {
        let rest = usize::try_from(self.file_size - self.position).unwrap_or(usize::MAX);
        let wanted = self.window.len().min(rest);
        self.window_start = self.position;
        self.window_len = loop {
            match self.source.read_at(&mut self.window[..wanted], self.position) {
                // The file has become shorter than its owner said.
                Ok(0) => return Err(self.truncated(needed, self.position)),
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(GgufError::Read { offset: self.position, source }),
            }
        };
        Ok(())
    }

    fn truncated(&self, needed: u64, present: u64) -> GgufError {
        GgufError::Truncated { what: self.section.to_owned(), needed, present }
    }
}
