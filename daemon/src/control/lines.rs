//! Lines from a peer that may send anything, or nothing.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::time::timeout;

use super::limits::Limits;

/// The lines of one connection.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    limits: Limits,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line without its end.
    Whole(Vec<u8>),
    /// It was longer than allowed, and has been skipped.
    TooLong,
    /// It did not end in time.
    Late,
    /// Nothing more, or nothing for too long.
    End,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub fn new(reader: R, limits: Limits) -> Self {
        Self { reader: BufReader::new(reader), limits }
    }

    /// The next line. A last one without an end counts.
    pub async fn next(&mut self) -> Line {
        match timeout(self.limits.idle, self.reader.fill_buf()).await {
            Ok(Ok(bytes)) if !bytes.is_empty() => {}
            _ => return Line::End,
        }
        match timeout(self.limits.line_time, self.read()).await {
            Ok(Ok(line)) => line,
            Ok(Err(_)) => Line::End,
            Err(_) => Line::Late,
        }
    }

    async fn read(&mut self) -> io::Result<Line> {
        let mut line = Vec::new();
        let mut too_long = false;
        loop {
            let bytes = self.reader.fill_buf().await?;
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            too_long |= line.len() + part.len() > self.limits.line;
            if !too_long {
                line.extend_from_slice(part);
            }
            let (taken, ended) = (part.len() + usize::from(end.is_some()), end.is_some() || bytes.is_empty());
            self.reader.consume(taken);
            if ended {
                return Ok(if too_long { Line::TooLong } else { Line::Whole(line) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    const LIMITS: Limits = Limits {
        connections: 1,
        line: 8,
        line_time: Duration::from_millis(50),
        idle: Duration::from_millis(50),
        write_time: Duration::from_millis(50),
    };

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn skips_what_is_too_long_and_goes_on() {
        let bytes = format!("12345678\n123456789\n\n{}\nlast", "x".repeat(100_000));
        let mut lines = Lines::new(bytes.as_bytes(), LIMITS);
        for expected in [whole("12345678"), Line::TooLong, whole(""), Line::TooLong, whole("last"), Line::End] {
            assert_eq!(lines.next().await, expected);
        }
    }

    #[tokio::test]
    async fn waits_no_longer_than_allowed() {
        let (mut peer, ours) = duplex(64);
        let mut lines = Lines::new(ours, LIMITS);
        peer.write_all(b"half").await.unwrap();
        assert_eq!(lines.next().await, Line::Late);
        assert_eq!(lines.next().await, Line::End, "idle");
    }

    proptest! {
        #[test]
        fn however_it_is_cut_it_is_the_same(text in "[a\n]{0,40}", cut in 1_usize..9) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let found = runtime.block_on(async {
                let mut lines = Lines { reader: BufReader::with_capacity(cut, text.as_bytes()), limits: LIMITS };
                let mut found = Vec::new();
                loop {
                    match lines.next().await {
                        Line::End => return found,
                        line => found.push(line),
                    }
                }
            });
            let expected: Vec<Line> =
                text.lines().map(|line| if line.len() > LIMITS.line { Line::TooLong } else { whole(line) }).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
