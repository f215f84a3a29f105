//! Cuts a text into parts of a size, where it has borders.

use std::ops::Range;

/// What ends a part best, and what does worse. Ends of sentences are followed by a space, so that no number is cut.
const BORDERS: [&[&str]; 4] =
    [&["\n\n", "\r\n\r\n"], &["\n"], &[". ", "! ", "? ", "; ", "。", "！", "？", "।"], &[" ", "\t", "\u{3000}"]];

/// A border that would make a part shorter than this share of its size is not taken: parts would become many.
const LEAST: usize = 2;

/// The parts of a text, of at most so many bytes each, in their order and without gaps: cut between paragraphs, else between
/// sentences, else between words, else between characters. A part is larger only if a single character is.
pub(super) fn cut(text: &str, most: usize) -> Vec<Range<usize>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    while start < text.len() {
        let end = start + next(&text[start..], most);
        parts.push(start..end);
        start = end;
    }
    parts
}

/// Bytes of the next part.
fn next(text: &str, most: usize) -> usize {
    if text.len() <= most {
        return text.len();
    }
    let window = &text[..text.floor_char_boundary(most)];
    let border = |borders: &&[&str]| {
        let ends = borders.iter().filter_map(|border| window.rfind(border).map(|at| at + border.len()));
        ends.max().filter(|end| *end >= most / LEAST)
    };
    let end = BORDERS.iter().find_map(border).unwrap_or(window.len());
    if end > 0 { end } else { text.chars().next().map_or(text.len(), char::len_utf8) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(text: &str, most: usize) -> Vec<&str> {
        cut(text, most).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn the_best_border_is_taken_that_is_far_enough() {
        assert_eq!(parts("One two.\n\nThree four. Five six.", 22), ["One two.\n\nThree four. ", "Five six."]);
        assert_eq!(parts("One two, three.\n\nFour. Five six.", 20), ["One two, three.\n\n", "Four. Five six."]);
        assert_eq!(parts("one two three four", 9), ["one two ", "three ", "four"]);
        assert_eq!(parts("π = 3.14159", 100), ["π = 3.14159"]);
        assert_eq!(parts("äöü", 3), ["ä", "ö", "ü"]);
        assert_eq!(parts("😀😀", 1), ["😀", "😀"], "no character is cut");
        assert!(parts("", 5).is_empty());
    }

    proptest! {
        #[test]
        fn parts_are_the_text_and_none_is_too_long(text in any::<String>(), most in 4_usize..200) {
            let parts = parts(&text, most);
            prop_assert_eq!(parts.concat(), text.clone());
            prop_assert!(parts.iter().all(|part| !part.is_empty() && part.len() <= most));
        }
    }
}
