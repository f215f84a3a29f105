//! A child's log becomes the daemon's.

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// Longest line that is read at once.
const LINE_MAX: u64 = 4096;

/// Writes a child's log to the daemon's, line by line; lines without a priority come from a dying library.
pub(super) async fn forward_log(log: impl AsyncRead + Unpin, model: String) {
    let mut log = BufReader::new(log);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut log).take(LINE_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        let (priority, text) = split_priority(text);
        match priority {
            0..=3 => tracing::error!(target: "promptd::engine", %model, "{text}"),
            4 => tracing::warn!(target: "promptd::engine", %model, "{text}"),
            5 | 6 => tracing::info!(target: "promptd::engine", %model, "{text}"),
            _ => tracing::debug!(target: "promptd::engine", %model, "{text}"),
        }
    }
}

fn split_priority(line: &str) -> (u8, &str) {
    let prefixed = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    match prefixed.and_then(|(digit, rest)| digit.parse().ok().map(|priority| (priority, rest))) {
        Some(found) => found,
        None => (3, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_carry_their_priority_and_others_are_errors() {
        assert_eq!(split_priority("<6>text"), (6, "text"));
        assert_eq!(split_priority("GGML_ASSERT(x) failed"), (3, "GGML_ASSERT(x) failed"));
        assert_eq!(split_priority("<x>text"), (3, "<x>text"));
    }
}
