//! Words and numbers as a narrow table has room for them. What comes from the network has its control characters taken.

use std::time::Duration;

use serde_json::Value;

/// What stands for a value that is not known.
pub const UNKNOWN: &str = "–";

/// Longest text that is kept, in characters: the longest reason in a document has 400 bytes.
const TEXT_MAX: usize = 400;

/// A text without anything that a terminal would obey or that would hide or turn what stands beside it, and not too long.
pub fn plain(text: &str) -> String {
    text.chars().take(TEXT_MAX).map(|c| if is_drawn(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// Unicode's separators of lines, marks of direction, and characters without a width or a meaning of their own.
fn is_drawn(c: char) -> bool {
    let hidden = matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    !c.is_control() && !hidden
}

/// A text in a document.
pub fn word(value: &Value) -> Option<String> {
    value.as_str().map(plain)
}

/// The number, or the sign for what is not known.
pub fn or_unknown(text: Option<String>) -> String {
    text.unwrap_or_else(|| UNKNOWN.to_owned())
}

/// A size in three digits or fewer, such as `950M` or `7.5G`, in powers of 1024.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    let mut number = bytes as f64;
    let mut unit = "";
    for next in UNITS {
        if number < 999.5 {
            break;
        }
        number /= 1024.0;
        unit = next;
    }
    if number < 9.95 && !unit.is_empty() { format!("{number:.1}{unit}") } else { format!("{number:.0}{unit}") }
}

/// A time in its largest unit, such as `42s`, `3h` or `12d`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(plain("a\u{1b}[2J\u{9b}31m\r\n\u{7f}b"), "a\u{fffd}[2J\u{fffd}31m\u{fffd}\u{fffd}\u{fffd}b");
        assert_eq!(plain("\u{202e}evil\u{200b}\u{2028}"), "\u{fffd}evil\u{fffd}\u{fffd}");
        assert_eq!(plain("pump 3: 81 °C, größer, 漢字"), "pump 3: 81 °C, größer, 漢字");
        assert_eq!(plain(&"ü".repeat(10_000)).chars().count(), TEXT_MAX);
    }

    #[test]
    fn sizes_have_three_digits_at_most() {
        for (bytes, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.0K"),
            (10 << 10, "10K"),
            (950 << 20, "950M"),
            (8_589_934_592, "8.0G"),
            (1 << 40, "1.0T"),
            (u64::MAX, "16384P"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn times_are_in_their_largest_unit() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (86_400 * 3, "3d")] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }
}
