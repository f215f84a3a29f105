//! How far an import is.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressStyle};
use promptd::plan::Bytes;

/// Between two lines of progress where there is no terminal.
const PERCENT: u64 = 10;

/// A bar on a terminal, else a line now and then.
pub struct Meter {
    bar: ProgressBar,
    size: Option<u64>,
    next_line: u64,
}

impl Meter {
    /// Nothing has come of `size` bytes, if that is known.
    pub fn new(size: Option<u64>) -> Self {
        let (bar, form) = match size {
            Some(size) => {
                let form = "{bar:30} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} to go";
                (ProgressBar::new(size), form)
            }
            None => (ProgressBar::no_length(), "{spinner} {bytes}, {binary_bytes_per_sec}"),
        };
        let style = ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { bar: bar.with_style(style), size, next_line: PERCENT }
    }

    /// So many bytes have come.
    pub fn show(&mut self, bytes: u64) {
        self.bar.set_position(bytes);
        let Some(percent) = self.size.map(|size| bytes.saturating_mul(100) / size.max(1)) else { return };
        if percent >= self.next_line && !stderr().is_terminal() {
            eprintln!("promptd: {percent} %, {}", Bytes(bytes));
            self.next_line = percent + PERCENT;
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
