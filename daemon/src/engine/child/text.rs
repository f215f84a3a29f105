//! From token bytes to text that may be shown: whole characters only, and nothing that may turn out to be a stop text.

/// What one more token means for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Text that is certain now; may be empty.
    Text(String),
    /// A stop text was met: the last text before it.
    Stopped(String),
}

/// Decodes one answer.
pub struct TextStream {
    /// Bytes of a character that is not complete.
    partial: Vec<u8>,
    /// Characters that may begin a stop text.
    held: String,
    stops: Vec<String>,
}

impl TextStream {
    /// A stream that ends before the first of these texts.
    pub fn new(stops: Vec<String>) -> Self {
        Self { partial: Vec::new(), held: String::new(), stops }
    }

    /// Takes the bytes of one token.
    pub fn push(&mut self, bytes: &[u8]) -> Step {
        self.partial.extend_from_slice(bytes);
        let text = take_characters(&mut self.partial);
        self.held.push_str(&text);
        if let Some(at) = self.first_stop() {
            self.held.truncate(at);
            return Step::Stopped(std::mem::take(&mut self.held));
        }
        let keep = self.undecided();
        let rest = self.held.split_off(self.held.len() - keep);
        Step::Text(std::mem::replace(&mut self.held, rest))
    }

    /// Ends the answer: what was held back is text after all, and an incomplete character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        let mut text = std::mem::take(&mut self.held);
        text.push_str(&String::from_utf8_lossy(&std::mem::take(&mut self.partial)));
        text
    }

    fn first_stop(&self) -> Option<usize> {
        self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min()
    }

    /// Length of the longest end of the held text that is a proper beginning of a stop text.
    fn undecided(&self) -> usize {
        self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0)
    }
}

fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len() - 1);
    (1..=longest)
        .rev()
        .find(|&n| stop.is_char_boundary(n) && text.as_bytes().ends_with(&stop.as_bytes()[..n]))
        .unwrap_or(0)
}

/// Takes the complete characters; invalid bytes become U+FFFD, an incomplete end stays.
fn take_characters(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    loop {
        match std::str::from_utf8(bytes) {
            Ok(valid) => {
                text.push_str(valid);
                bytes.clear();
                return text;
            }
            Err(e) => {
                let valid = e.valid_up_to();
                text.push_str(&String::from_utf8_lossy(&bytes[..valid]));
                let Some(invalid) = e.error_len() else {
                    bytes.drain(..valid);
                    return text;
                };
                text.push(char::REPLACEMENT_CHARACTER);
                bytes.drain(..valid + invalid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(stops: &[&str]) -> TextStream {
        TextStream::new(stops.iter().map(|s| (*s).to_owned()).collect())
    }

    fn text(text: &str) -> Step {
        Step::Text(text.to_owned())
    }

    #[test]
    fn an_emoji_split_across_tokens_comes_out_whole() {
        let mut stream = stream(&[]);
        let emoji = "🦀".as_bytes();
        assert_eq!(stream.push(&emoji[..1]), text(""));
        assert_eq!(stream.push(&emoji[1..3]), text(""));
        assert_eq!(stream.push(&emoji[3..]), text("🦀"));
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn a_stop_text_across_token_borders_ends_the_answer_before_it() {
        let mut stream = stream(&["</end>"]);
        assert_eq!(stream.push(b"yes<"), text("yes"));
        assert_eq!(stream.push(b"/e"), text(""));
        assert_eq!(stream.push(b"nd> and more"), Step::Stopped(String::new()));
    }

    #[test]
    fn what_only_looked_like_a_stop_text_is_shown_later() {
        let mut stream = stream(&["\n\n"]);
        assert_eq!(stream.push(b"a\n"), text("a"));
        assert_eq!(stream.push(b"b"), text("\nb"));
        assert_eq!(stream.push(b"\n"), text(""));
        assert_eq!(stream.finish(), "\n");
    }

    #[test]
    fn the_first_of_several_stop_texts_counts() {
        let mut stream = stream(&["later", "END"]);
        assert_eq!(stream.push(b"x END later"), Step::Stopped("x ".to_owned()));
    }

    #[test]
    fn broken_and_incomplete_characters_become_one_mark_each() {
        let mut stream = stream(&[]);
        assert_eq!(stream.push(&[b'a', 0xff, b'b', 0xf0]), text("a\u{fffd}b"));
        assert_eq!(stream.finish(), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_split_of_any_text_gives_the_same_answer(text in ".{0,40}", stop in "[ab]{1,3}", cut in 1usize..4) {
            let mut stream = TextStream::new(vec![stop.clone()]);
            let mut seen = String::new();
            let mut stopped = false;
            for bytes in text.as_bytes().chunks(cut) {
                match stream.push(bytes) {
                    Step::Text(more) => seen.push_str(&more),
                    Step::Stopped(more) => { seen.push_str(&more); stopped = true; break; }
                }
            }
            if !stopped { seen.push_str(&stream.finish()); }
            prop_assert_eq!(seen, text.split(&stop).next().unwrap());
        }
    }
}
